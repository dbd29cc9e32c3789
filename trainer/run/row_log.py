"""`rows.jsonl`: what was computed for each row of each batch, so that a spike leads to the rows behind it.

A line per step with the ids of the batch's rows, in the order of the batch, and a list of the same length per
column: source, reward, log-probabilities, and the columns of `StepRows` (loss, log_ratio, those of the
objective). A column with the same value everywhere is that value; null is a value that is not known. Numbers
have six digits. A step that a resumed run repeats has two lines, of which the later counts.

At PART_BYTES the file becomes `rows.1.jsonl`, in place of an older one: the newest steps stay.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import IO, Any

from trainer.data import rows_digest
from trainer.run.disk_full import full_disk_named
from trainer.run.metrics import StepRows

ROWS = "rows.jsonl"
ROWS_BEFORE = "rows.1.jsonl"
PART_BYTES = 1 << 27


class RowLog:
    """Appends lines to the files of a run. Nothing in a run reads them. `enabled` is False on all ranks but
    0.
    """

    def __init__(self, folder: Path, *, enabled: bool = True, part_bytes: int = PART_BYTES) -> None:
        self._folder, self._part_bytes = folder, part_bytes
        self._file = self._opened() if enabled else None

    def __enter__(self) -> RowLog:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file:
            self._file.close()

    def write(self, step: int, computed: StepRows) -> None:
        """Add the line of a step. Raises DiskFull."""
        if self._file is None:
            return
        line = json.dumps(_line(step, computed), separators=(",", ":")).encode() + b"\n"
        with full_disk_named(self._folder / ROWS):
            self._file.write(line)
            if self._file.tell() >= self._part_bytes:
                self._file.close()
                os.replace(self._folder / ROWS, self._folder / ROWS_BEFORE)
                self._file = self._opened()

    def _opened(self) -> IO[bytes]:
        """The file, at the beginning of a line: a killed process may have left half of one. Unbuffered: a
        line is one write.
        """
        file = open(self._folder / ROWS, "ab+", buffering=0)  # noqa: SIM115 (closed by __exit__)
        if end := file.seek(0, os.SEEK_END):
            file.seek(end - 1)
            if file.read(1) != b"\n":
                file.write(b"\n")
        return file


def _line(step: int, computed: StepRows) -> dict[str, Any]:
    order = sorted(range(len(computed.rows)), key=computed.places.__getitem__)
    rows = [computed.rows[i] for i in order]
    numbers: dict[str, list[float]] = {
        "reward": [row.reward for row in rows],
        "reference_logprob": [row.reference_logprob for row in rows],
        "behaviour_logprob": [row.behaviour_logprob for row in rows],
        "selection_weight": [row.selection_weight for row in rows],
    }
    for name, column in computed.columns.items():
        values = column.tolist()
        numbers[name] = [values[i] for i in order]
    return {
        "step": step,
        "rows_digest": rows_digest(rows),
        "trajectory_id": [row.trajectory_id for row in rows],
        "source": _shortest([row.source for row in rows]),
        **{name: _shortest([_rounded(value) for value in values]) for name, values in numbers.items()},
    }


def _shortest(values: list[Any]) -> Any:
    return values[0] if all(value == values[0] for value in values) else values


def _rounded(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None
