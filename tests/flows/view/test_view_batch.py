"""The rows of a step that the explorer shows are those that the run was trained on, with their losses."""

from __future__ import annotations

import json
import re
import shutil

import pytest

from flows.view.batches import logged_rows
from trainer.run import NotReplayed, replay_batch

STEPS = 3
ROW = r'<a href="/trajectory\?id=([0-9a-f]{32})'


def log_lines(place, name="metrics.jsonl"):
    return [json.loads(line) for line in (place.folder / "real" / name).read_text().splitlines()]


@pytest.fixture
def without_row_log(place):
    """The run as one that a version without a log of rows wrote."""
    log, aside = (place.folder / "real" / name for name in ("rows.jsonl", "aside-rows"))
    log.rename(aside)
    yield
    aside.rename(log)


@pytest.mark.parametrize("step", range(STEPS))
def test_a_step_opens_the_rows_it_was_trained_on(trained, client, visits, step):
    shown = visits.page(client, f"/step?run=real&step={step}&rows=1").split('id="rows"')[1]
    assert sorted(re.findall(ROW, shown)) == sorted(trained[step])


@pytest.mark.parametrize("step", range(STEPS))
def test_rows_are_drawn_again_where_none_are_logged(trained, without_row_log, client, visits, step):
    shown = visits.page(client, f"/step?run=real&step={step}&rows=1").split('id="rows"')[1]
    assert re.findall(ROW, shown) == trained[step]


@pytest.mark.parametrize("step", range(STEPS))
def test_the_losses_of_rows_have_the_mean_that_the_step_logged(trained, place, step):
    figures = log_lines(place)[step]
    batch = logged_rows(place.folder / "real", step, figures["rows_digest"])
    assert [one["trajectory_id"] for one in batch] == trained[step]
    assert sum(one["loss"] for one in batch) / len(batch) == pytest.approx(figures["loss"], rel=1e-4)
    # Q_T - (Q_T - r) is the reward of this row, and of no other.
    rewards = [one["terminal_q"] - one["residual"] for one in batch]
    assert rewards == pytest.approx([one["reward"] for one in batch], abs=1e-4)


def test_the_row_with_the_largest_loss_is_first(trained, place, client, visits):
    logged = log_lines(place, "rows.jsonl")[2]
    losses = dict(zip(logged["trajectory_id"], logged["loss"], strict=True))
    shown = visits.page(client, "/step?run=real&step=2&rows=1").split('id="rows"')[1]
    listed = [losses[one] for one in re.findall(ROW, shown)]
    assert listed == sorted(losses.values(), reverse=True)
    assert 'aria-sort="descending"><a' in shown
    shown = visits.page(client, "/step?run=real&step=2&rows=1&sort=loss").split('id="rows"')[1]
    assert [losses[one] for one in re.findall(ROW, shown)] == sorted(losses.values())


def test_logged_rows_of_another_batch_are_not_shown(trained, place):
    assert logged_rows(place.folder / "real", 1, "0" * 16) is None
    assert logged_rows(place.folder / "real", 99, "0" * 16) is None
    assert logged_rows(place.folder, 1, "0" * 16) is None


def test_a_log_of_rows_that_is_a_link_is_not_read(trained, place, tmp_path):
    (tmp_path / "rows.jsonl").symlink_to(place.folder / "real" / "rows.jsonl")
    assert logged_rows(tmp_path, 1, log_lines(place)[1]["rows_digest"]) is None


def test_a_point_of_a_curve_leads_to_its_step(trained, client, visits):
    shown = visits.page(client, "/run?run=real")
    assert re.search(r'<a href="/step\?run=real&amp;step=2&amp;at=', shown)


def test_other_rows_than_those_of_the_log_are_not_shown(trained, place):
    folder, lines = place.folder / "real", log_lines(place)
    lines[1]["rows_digest"] = "0" * 16
    with pytest.raises(NotReplayed, match="digests differ"):
        replay_batch(folder, place.store, lines, 1)
    with pytest.raises(NotReplayed, match="every step from 0 to 2"):
        replay_batch(folder, place.store, lines[1:], 2)


def test_the_rows_of_a_step_are_loaded_without_a_click(trained, client, visits):
    shown = visits.page(client, "/step?run=real&step=1")
    part = re.search(r'data-part="(/step\?[^"]*rows=1[^"]*)"', shown)[1].replace("&amp;", "&")
    rows = visits.page(client, part)
    assert "<html" not in rows
    assert sorted(re.findall(ROW, rows)) == sorted(trained[1])


def test_a_trajectory_leads_to_the_steps_that_drew_it(trained, client, visits):
    identity = trained[1][0]
    assert (
        "<option>real</option>"
        in visits.page(client, f"/trajectory?id={identity}").split('action="/drawn"')[1]
    )
    shown = visits.page(client, f"/drawn?run=real&id={identity}")
    wanted = [str(step) for step, rows in trained.items() if identity in rows]
    assert re.findall(r"/step\?run=real&amp;step=(\d+)", shown) == wanted
    assert "None of the 3 steps" in visits.page(client, f"/drawn?run=real&id={'0' * 32}")


def test_a_run_lists_the_policies_that_it_published(trained, client, visits):
    listed = visits.page(client, "/run?run=real").split("Published policies</h2>")[1]
    assert 'href="/policy?id=real' in listed


def test_pass_at_k_of_its_policies_is_a_curve(trained, place, client, visits):
    from datetime import UTC, datetime

    import polars as pl

    from pipeline.store import TABLES, Store

    few, many = (json.dumps({"judge": "9", "samples": samples}) for samples in (4, 400))
    rows = [
        {"policy_id": policy, "problem_id": f"p/{i}", "settings": settings, "run_id": "curve",
         "seed": 0, "step": step,
         "split": "test", "samples": 4, "correct": correct, "distinct_correct": correct, "judge_errors": 0,
         "evaluated_at": datetime(2026, 1, 1, tzinfo=UTC), "verdicts": None, "token_entropy": None}
        for policy, step, successes, settings in (
            ("curve@1", 1, (1, 0), few), ("curve@2", 2, (4, 2), few), ("curve@2", 2, (3, 3), many)
        )
        for i, correct in enumerate(successes)
    ]  # fmt: skip
    policies = [
        {"policy_id": name, "fingerprint": name, "folder": "", "run_id": "curve", "step": step,
         "parent_id": None,
         "details": "{}", "created_at": datetime(2026, 1, 1, tzinfo=UTC)}
        for name, step in (("curve@1", 1), ("curve@2", 2))
    ]  # fmt: skip
    store = Store(place.folder / "store")
    for table, values in (("evaluations", rows), ("policies", policies)):
        frame = pl.DataFrame(values, schema=TABLES[table].empty.schema)
        store.append(table, frame, producer="test-curve", sequence=0)
    folder = place.folder / "runs" / "curve"
    folder.mkdir()
    (folder / "metrics.jsonl").write_text('{"step": 0, "loss": 1.0}\n')
    shown = visits.page(client, "/run?run=runs/curve")
    shutil.rmtree(folder)
    chart = next(part for part in shown.split("<figure>") if "<figcaption>pass@k" in part)
    titles = re.findall(r"<title>([^<]+)</title>", chart)
    assert titles == [
        "curve: pass@1, samples 4: step 1: 0.125",
        "curve: pass@1, samples 4: step 2: 0.75",
        "curve: pass@1, samples 400: step 2: 0.75",
    ]


def test_rows_are_counted_by_day(place, client, visits):
    shown = visits.page(client, "/growth?part=1")
    humans = sum(row["origin"] == "human" for row in place.trajectories)
    column = re.findall(r'<th scope="col" class="n">([^<]+)</th>', shown).index("trajectories: human")
    cells = [re.findall(r'<td class="n">([\d,]*)</td>', line) for line in shown.split("<tr>")[2:]]
    assert sum(int(line[column].replace(",", "") or 0) for line in cells) == humans
