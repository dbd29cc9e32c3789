"""Exports a published corpus in a format of another tool, which `spo ingest FORMAT FOLDER` reads back.

Every format has its own fields for what it knows (prompt, answer, tokens, reward), and all columns of the
store in a part named `spo`. So each trajectory has the id that it had, if its problem is there. Lost are
lineage (batch, file, time of the append), verdicts and rewards, which a store makes again; claims are
retained.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from pipeline.corpora import atif_export, capture_export, nemo_gym_export, rollout_store_export
from pipeline.corpora.publication import Corpus, CorpusError, reward_column, verify
from pipeline.store import Store, connect, query

AT_ONCE = 2_000
LOST = ("created_at", "batch_id", "source_file", "source_line", "verdicts", "rewards")
NOT_RETAINED = {*LOST, "trajectory_id", "statement", "reward", "prompt", "completion"}
Row = dict[str, Any]


@dataclass(frozen=True)
class Interchange:
    """A format: what it is, and the function that writes rows into a new folder. Its adapter has its name."""

    what: str
    write: Callable[[Iterable[Row], Path], None]


def as_lines(name: str, document: Callable[[Row], Row]) -> Callable[[Iterable[Row], Path], None]:
    """Writes one document per line into a file of that name."""

    def write(rows: Iterable[Row], folder: Path) -> None:
        with (folder / name).open("w") as file:
            file.writelines(json.dumps(document(row), ensure_ascii=False) + "\n" for row in rows)

    return write


INTERCHANGE = {
    "atif": Interchange(
        "ATIF v1.8, one document per line", as_lines("trajectories.jsonl", atif_export.document)
    ),
    "nemo_gym": Interchange("rollouts of NeMo-Gym", as_lines("rollouts.jsonl", nemo_gym_export.document)),
    "tinker_capture": Interchange("capture store of tinker-cookbook", capture_export.write),
    "rollout_store": Interchange("RolloutStore of lance-context", rollout_store_export.write),
}


def export_as(store: Store, corpus: Corpus, folder: str | Path, form: str) -> Path:
    """Write a corpus into a new folder, rows sorted by trajectory_id; it appears when all is written.

    Raises CorpusError if the folder is not empty or cannot be written, or a package that writes the format is
    missing.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CorpusError(f"{folder} exists and is not an empty folder; name another one")
    unfinished = folder.with_name(f".{folder.name}.unfinished-{os.getpid()}")
    try:
        unfinished.mkdir(parents=True)
        INTERCHANGE[form].write(rows_of(store, corpus), unfinished)
        os.replace(unfinished, folder)
    except (OSError, ImportError) as error:
        raise CorpusError(f"cannot export to {folder}: {error}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def rows_of(store: Store, corpus: Corpus) -> Iterator[Row]:
    """Rows of `trajectories` at the pinned versions, with the statement of their problem, the corpus's
    reward, and the part `spo`.
    """
    with connect(store, corpus.pins) as connection:
        verify(connection, corpus)
        for ids in corpus.rows.sort().to_frame("trajectory_id").iter_slices(AT_ONCE):
            rows = query(connection, SELECT.format(reward=reward_column(corpus.reward)), {"ids": ids_of(ids)})
            for row in rows.to_dicts():
                yield row | {"spo": own_part(row)}


SELECT = """
SELECT t.*, p.statement, r.reward
FROM trajectories t LEFT JOIN problems p USING (problem_id)
LEFT JOIN (SELECT trajectory_id, {reward} FROM judged) r USING (trajectory_id)
WHERE t.trajectory_id IN (SELECT unnest($ids)) ORDER BY t.trajectory_id
"""


def ids_of(ids: pl.DataFrame) -> list[str]:
    return ids["trajectory_id"].to_list()


def own_part(row: Row) -> Row:
    """The columns that the store needs to read the row back; texts of prompt and answer are beside it."""
    retained = {name: value for name, value in row.items() if value is not None and name not in NOT_RETAINED}
    return retained | {
        "has_prompt": row["prompt"] is not None,
        "has_completion": row["completion"] is not None,
    }
