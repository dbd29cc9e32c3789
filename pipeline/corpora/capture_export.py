"""A corpus as a capture store of tinker-cookbook (0.6.1, `tinker_cookbook/capture/store/schema.py`): the
SQLite file that its daemon serves, `capture.sqlite`.

A row of `wire_rows` is a sample. The format has tokens and no texts, so prompt, answer and the part `spo` are
in its metadata; the reward is an annotation of kind `reward`.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

FILE = "capture.sqlite"
SCHEMA = """
CREATE TABLE seq (value INTEGER NOT NULL);
CREATE TABLE wire_rows (
    cursor INTEGER PRIMARY KEY, run_id TEXT NOT NULL, run_attempt INTEGER, split TEXT, iteration INTEGER,
    group_idx INTEGER, traj_idx INTEGER, purpose TEXT, sampling_session_id TEXT, seq_id INTEGER,
    sample_idx INTEGER, policy_version TEXT, created_at REAL, prompt_tokens TEXT, sampled_tokens TEXT,
    logprobs TEXT, metadata TEXT
);
CREATE UNIQUE INDEX wire_rows_dedupe ON wire_rows (sampling_session_id, seq_id, sample_idx);
CREATE INDEX wire_rows_run ON wire_rows (run_id, cursor);
CREATE TABLE annotations (
    cursor INTEGER PRIMARY KEY, event_id TEXT NOT NULL UNIQUE, run_id TEXT NOT NULL, kind TEXT, payload TEXT,
    created_at REAL
);
CREATE INDEX annotations_run ON annotations (run_id, cursor);
"""
WIRE = (
    "INSERT INTO wire_rows (cursor, run_id, iteration, traj_idx, purpose, sample_idx, policy_version,"
    " created_at, sampled_tokens, logprobs, metadata) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
ANNOTATION = "INSERT INTO annotations VALUES (?, ?, ?, 'reward', ?, ?)"
INT32 = 1 << 31


def write(rows: Iterable[dict[str, Any]], folder: Path) -> None:
    """Write `folder/capture.sqlite` from rows of `interchange.rows_of`."""
    cursor = 0
    with closing(sqlite3.connect(folder / FILE)) as database:
        database.executescript(SCHEMA)
        for number, row in enumerate(rows):
            run, seconds = row["run_id"] or row["policy_id"], row["created_at"].timestamp()
            tokens, logprobs = row["token_ids"], row["token_logprobs"]
            details = {
                "prompt": row["prompt"],
                "completion": row["completion"],
                "problem_id": row["problem_id"],
            }
            spo = {k: v for k, v in row["spo"].items() if k not in ("token_ids", "token_logprobs")}
            cursor += 1
            step = row["policy_step"] if (row["policy_step"] or 0) < INT32 else None
            database.execute(
                WIRE,
                (
                    cursor, run, step, number, row["origin"], row["sample_index"], row["policy_id"], seconds,
                    as_json(tokens), as_json(logprobs),
                    json.dumps(details | {"spo": spo}, ensure_ascii=False),
                ),
            )  # fmt: skip
            if row["reward"] is not None:
                cursor += 1
                payload = {"traj_idx": number, "trajectory_id": row["trajectory_id"], "reward": row["reward"]}
                event = f"reward/{row['trajectory_id']}"
                database.execute(ANNOTATION, (cursor, event, run, json.dumps(payload), seconds))
        database.execute("INSERT INTO seq VALUES (?)", (cursor,))
        database.commit()


def as_json(values: Any) -> str | None:
    return None if values is None else json.dumps(list(values))
