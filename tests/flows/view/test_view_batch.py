"""The rows of a step that the explorer draws again are those that the run was trained on."""

from __future__ import annotations

import json
import re

import pytest

from trainer.data import Source, Stream
from trainer.run import MixtureConfig, NotReplayed, RunConfig, TrainingSettings, replay_batch, run

STEPS = 3


@pytest.fixture(scope="module")
def trained(place):
    """The batches of a real run, by step."""
    batches, batch = {}, Stream.batch

    def recorded(stream, step):
        batches[step] = batch(stream, step)
        return batches[step]

    config = RunConfig(
        run=place.folder / "real",
        store=str(place.folder / "store"),
        reference=place.folder / "reference",
        reference_policy="reference",
        training=TrainingSettings(steps=STEPS, gate_nats=1.0),
        mixture=MixtureConfig(batch_sequences=4),
        source=[Source(name="all", weight=1.0, where="j.split = 'train'")],
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stream, "batch", recorded)
        run(config)
    return {step: [row.trajectory_id for row in rows] for step, rows in batches.items()}


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
