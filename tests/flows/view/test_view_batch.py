"""The rows of a step that the explorer draws again are those that the run was trained on."""

from __future__ import annotations

import json
import re

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
