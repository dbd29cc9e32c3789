"""The rows of a step of a run: from the run's log of rows, or drawn again from the store.

`rows.jsonl` is written by `trainer/run/row_log.py`, which says what is in it.
"""

from __future__ import annotations

import json
import math
import mmap
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.view.connections import rows
from flows.view.runs import Metrics, run_folder
from pipeline.store import Store, StoreError, judged_of

if TYPE_CHECKING:
    from flows.view.visit import Visit

ROWS = ("rows.jsonl", "rows.1.jsonl")  # the newer first
MAX_LOG_BYTES = 512_000_000
MAX_LINE_BYTES = 32_000_000
BATCH_S = 25.0
SHOWN_ROWS = 500
FIRST = ["trajectory_id", "loss", "verdict", "reward", "problem_id", "source", "policy_id", "policy_step"]
TITLES = {
    "log_ratio": "log pi - log pi_ref",
    "reference_logprob": "log pi_ref",
    "behaviour_logprob": "log mu",
    "selection_weight": "selection weight",
    "importance_ratio": "pi / mu",
    "terminal_q": "Q_T",
}
# Parts of other columns, and what the mean over the batch is for.
LEFT_OUT = {"step", "rows_digest", "q_success", "q_failure", "q_above_zero"}
IN_STORE = f"""
SELECT t.trajectory_id, t.problem_id, t.policy_id, t.policy_step, j.verdict
FROM trajectories t LEFT JOIN {judged_of("list_contains($ids, trajectory_id)")} j USING (trajectory_id)
WHERE list_contains($ids, t.trajectory_id)
"""


@dataclass(frozen=True)
class BatchRows:
    """Rows of a batch in the order asked for, at most SHOWN_ROWS of `total`.

    `missing`: a sentence why there are none; `note`: where they come from.
    """

    columns: list[str]
    rows: list[dict[str, Any]]
    total: int
    sort: str
    note: str
    missing: str | None = None

    def title(self, column: str) -> str:
        return TITLES.get(column, column)


def batch_of(visit: Visit, metrics: Metrics, step: int, digest: str) -> BatchRows:
    """The rows of a step whose digest is that of the log, by the parameter `sort`: the largest loss first."""
    logged = logged_rows(run_folder(visit.explorer.runs, metrics.name), step, digest)
    if logged is not None:
        ids = [one["trajectory_id"] for one in logged]
        in_store = {one["trajectory_id"]: one for one in rows(visit.connection, IN_STORE, {"ids": ids})}
        batch = [in_store.get(one["trajectory_id"], {}) | one for one in logged]
        return _sorted(batch, visit.get("sort", "-loss"), "From the run's log of rows.")
    try:
        batch = _drawn_again(visit, metrics, step)
    except ValueError as error:
        return BatchRows([], [], 0, "", "", f"The rows cannot be drawn again: {error}")
    note = "Drawn again from the log, which has no losses of single rows; their digest is that of the log."
    return _sorted(batch, visit.get("sort"), note)


def logged_rows(folder: Path, step: int, digest: str) -> list[dict[str, Any]] | None:
    """What a run logged of each row of a step, in the order of the batch: `trajectory_id`, `loss` and others.
    None where it logged nothing, or other rows than those with this digest.
    """
    for name in ROWS:
        line = _last_line(folder / name, b'{"step":%d,' % step)
        if line is None:
            continue
        try:
            columns = json.loads(line)
            if columns.pop("rows_digest") != digest:
                return None
            ids = columns["trajectory_id"]
            whole = {
                key: value if isinstance(value, list) else [value] * len(ids)
                for key, value in columns.items()
                if key not in LEFT_OUT
            }
            names = list(whole)
            batch = [dict(zip(names, values, strict=True)) for values in zip(*whole.values(), strict=True)]
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return None
        return batch if all(isinstance(one, str) for one in ids) else None
    return None


def _last_line(path: Path, start: bytes) -> bytes | None:
    """The last whole line of a regular file that starts so; a step may be logged twice. Links are not
    followed.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    with os.fdopen(handle, "rb"):
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode) or not 0 < status.st_size <= MAX_LOG_BYTES:
            return None
        with mmap.mmap(handle, 0, access=mmap.ACCESS_READ) as content:
            place = content.rfind(b"\n" + start) + 1
            if content[place : place + len(start)] != start:
                return None
            end = content.find(b"\n", place)
            return content[place:end] if 0 < end - place <= MAX_LINE_BYTES else None


def _drawn_again(visit: Visit, metrics: Metrics, step: int) -> list[dict[str, Any]]:
    """The rows as every step until this one draws them, with what the stream knows of them. Raises ValueError
    with the reason why they cannot be.
    """
    from trainer.data import StreamError
    from trainer.run import NotReplayed, replay_batch

    folder, store = run_folder(visit.explorer.runs, metrics.name), Store(visit.explorer.location)
    try:
        replayed = replay_batch(folder, store, metrics.steps, step, limit_s=BATCH_S)
    except (NotReplayed, StreamError, StoreError, KeyError) as error:
        raise ValueError(str(error)) from error
    return [
        {
            "trajectory_id": row.trajectory_id,
            "source": row.source,
            "verdict": row.verdict,
            "reward": row.reward,
            "problem_id": row.problem_id,
            "tokens": len(row.completion_ids),
            "reference_logprob": _finite(row.reference_logprob),
            "behaviour_logprob": _finite(row.behaviour_logprob),
            "selection_weight": _finite(row.selection_weight),
        }
        for row in replayed
    ]


def _sorted(batch: list[dict[str, Any]], sort: str, note: str) -> BatchRows:
    """By a column, descending after `-`; rows without a value last, and the order of the batch where it has
    no such column.
    """
    names = dict.fromkeys(name for one in batch for name, value in one.items() if value is not None)
    columns = [*(name for name in FIRST if name in names), *(name for name in names if name not in FIRST)]
    column = sort.removeprefix("-")
    if column in names:
        known = [one for one in batch if one.get(column) is not None]
        text = any(isinstance(one[column], str) for one in known)
        known.sort(key=lambda one: str(one[column]) if text else one[column], reverse=sort.startswith("-"))
        batch = [*known, *(one for one in batch if one.get(column) is None)]
    shown = [{name: one.get(name) for name in columns} for one in batch[:SHOWN_ROWS]]
    return BatchRows(columns, shown, len(batch), sort if column in names else "", note)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
