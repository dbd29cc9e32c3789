"""The rows of a step that the explorer draws again are those that the run was trained on."""

from __future__ import annotations

import json
import re
import shutil

import pytest

from trainer.run import NotReplayed, replay_batch

STEPS = 3


@pytest.mark.parametrize("step", range(STEPS))
def test_a_step_opens_the_rows_it_was_trained_on(trained, client, visits, step):
    shown = visits.page(client, f"/step?run=real&step={step}&rows=1").split('id="rows"')[1]
    assert re.findall(r'<a href="/trajectory\?id=([0-9a-f]{32})', shown) == trained[step]


def test_a_point_of_a_curve_leads_to_its_step(trained, client, visits):
    shown = visits.page(client, "/run?run=real")
    assert re.search(r'<a href="/step\?run=real&amp;step=2&amp;at=', shown)


def test_other_rows_than_those_of_the_log_are_not_shown(trained, place):
    folder = place.folder / "real"
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
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
    assert re.findall(r'<a href="/trajectory\?id=([0-9a-f]{32})', rows) == trained[1]


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

    rows = [
        {"policy_id": policy, "problem_id": f"p/{i}", "settings": "{}", "run_id": "curve",
         "seed": 0, "step": step,
         "split": "test", "samples": 4, "correct": correct, "distinct_correct": correct, "judge_errors": 0,
         "evaluated_at": datetime(2026, 1, 1, tzinfo=UTC), "verdicts": None, "token_entropy": None}
        for policy, step, successes in (("curve@1", 1, (1, 0)), ("curve@2", 2, (4, 2)))
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
    assert titles == ["curve: pass@1: step 1: 0.125", "curve: pass@1: step 2: 0.75"]


def test_rows_are_counted_by_day(place, client, visits):
    shown = visits.page(client, "/growth?part=1")
    humans = sum(row["origin"] == "human" for row in place.trajectories)
    column = re.findall(r'<th scope="col" class="n">([^<]+)</th>', shown).index("trajectories: human")
    cells = [re.findall(r'<td class="n">([\d,]*)</td>', line) for line in shown.split("<tr>")[2:]]
    assert sum(int(line[column].replace(",", "") or 0) for line in cells) == humans
