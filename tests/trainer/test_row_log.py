"""The log of rows: in the order of the batch, bounded, and whole after a kill."""

from __future__ import annotations

import json
import math

import torch

from flows.view.batches import logged_rows
from trainer.data import Row, rows_digest
from trainer.run.metrics import StepRows
from trainer.run.row_log import RowLog


def computed(losses, places, names="abcd"):
    """What a step computed for rows whose place in the batch is that of their name."""
    rows = [Row(names[place], "p", "human", [1], [2], -3.0, math.nan, -1.0) for place in places]
    return StepRows(rows, {"loss": torch.tensor(losses)}, list(places))


def test_a_row_has_its_own_loss_whatever_the_micro_batches(tmp_path):
    step = computed([0.5, 7.25, 1.0], (2, 0, 1))
    with RowLog(tmp_path) as log:
        log.write(4, step)
    batch = logged_rows(tmp_path, 4, rows_digest([step.rows[1], step.rows[2], step.rows[0]]))
    losses = [(one["trajectory_id"], one["loss"]) for one in batch]
    assert losses == [("a", 7.25), ("b", 1.0), ("c", 0.5)]
    assert [one["behaviour_logprob"] for one in batch] == [None, None, None]


def test_a_step_that_is_repeated_counts_as_the_second_time(tmp_path):
    step = computed([1.0, 2.0], (0, 1))
    with RowLog(tmp_path) as log:
        log.write(0, step)
        log.write(1, step)
    with open(tmp_path / "rows.jsonl", "ab") as file:
        file.write(b'{"step":2,"rows_dig')  # killed here
    again = computed([5.0, 6.0], (0, 1))
    with RowLog(tmp_path) as log:
        log.write(1, again)
        log.write(2, again)
    for number, losses in ((0, [1.0, 2.0]), (1, [5.0, 6.0]), (2, [5.0, 6.0])):
        batch = logged_rows(tmp_path, number, rows_digest(step.rows))
        assert [one["loss"] for one in batch] == losses, number


def test_the_oldest_steps_go_when_the_files_are_full(tmp_path):
    step = computed([1.0, 2.0, 3.0], (0, 1, 2))
    with RowLog(tmp_path, part_bytes=1000) as log:
        for number in range(100):
            log.write(number, step)
    sizes = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert sizes < 2500
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rows.1.jsonl", "rows.jsonl"]
    digest = rows_digest(step.rows)
    assert logged_rows(tmp_path, 0, digest) is None
    lines = [
        json.loads(line)["step"]
        for name in ("rows.1.jsonl", "rows.jsonl")
        for line in (tmp_path / name).read_text().splitlines()
    ]
    assert lines == list(range(lines[0], 100))
    assert all(logged_rows(tmp_path, number, digest) for number in lines)


def test_only_the_first_rank_writes(tmp_path):
    with RowLog(tmp_path, enabled=False) as log:
        log.write(0, computed([1.0], (0,)))
    assert list(tmp_path.iterdir()) == []
