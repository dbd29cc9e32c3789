"""Rows of a few problems without reading a table: a local copy of it in sorted runs, beside the store.

Parquet files lie in the order of arrival, so the programs of one problem are spread over all of them, and finding them there
means reading everything. The copy holds the same rows by problem, as uncompressed Arrow files that are mapped into memory: a
look-up touches the pages of the rows it gives. New rows come from the table's change feed as a run of their own, and runs of
like size are merged (log-structured merge tree, O'Neil et al. 1996).

The table is the record; the copy may be deleted at any time, and then the next use builds it again. It takes about 1.2 KB a
program for `program_signatures`, 0.2 KB for `duplicates`. A store that is no local folder has none, and is scanned.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.dedup.lexers import text_hashes
from pipeline.store import TABLES, Store, StoreError

FORMAT = 1
KEY = "problem_key"
# A run is merged no further once it has this many rows: merging two takes the memory of both.
LARGEST_RUN = 200_000
# More new rows than this are read from the files: the change feed comes into memory as a whole.
FOLLOWED_ROWS = 20_000
# Rows at a time where all of a problem are looked through.
BLOCK_ROWS = 8_192


@dataclass(frozen=True)
class State:
    """What the copy holds: `runs` of file name and rows, in order of age, up to a version of the table."""

    version: int = -1
    rows: int = 0
    runs: list[tuple[str, int]] = field(default_factory=list)
    format: int = FORMAT


class ProblemIndex:
    """Rows of one table by problem. For one process at a time."""

    def __init__(self, store: Store, table: str):
        self.store, self.table = store, table
        folder = index_folder(store)
        self.folder = folder / table if folder else None
        self._state = self._read_state()
        self._checked = False

    def rows(
        self, problem_ids: list[str], columns: list[str] | None = None, *, only: pl.Series | None = None
    ) -> pl.DataFrame:
        """All rows of these problems, as the table has them now, or some columns of them; in no order. With `only` those of
        these trajectories: of the others nothing but the id is read."""
        wanted = columns or TABLES[self.table].empty.columns
        mine = pl.col("problem_id").is_in(problem_ids)
        if only is not None:
            mine &= pl.col("trajectory_id").is_in(only.implode())
        if self.folder is None:
            return self.store.snapshot(self.table).scan().filter(mine).select(wanted).collect()
        ids = None if only is None else only.to_arrow(compat_level=pl.CompatLevel.oldest())
        read = list(dict.fromkeys(["problem_id", "trajectory_id", *wanted]))
        parts = []
        for run, places in self._found(problem_ids):
            if ids is not None:
                places = places[pc.is_in(run["trajectory_id"].take(places), ids).to_numpy()]
            if len(places):
                parts.append(run.select(read).take(places))
        if not parts:
            return TABLES[self.table].empty.select(wanted)
        # Different problems may share a key.
        return pl.DataFrame(pa.concat_tables(parts)).filter(mine).select(wanted)

    def blocks(self, problem_ids: list[str], columns: list[str]) -> Iterator[pa.Table]:
        """Some columns of all rows of these problems, and a few more where two of them share a key, BLOCK_ROWS at a time."""
        for run, places in self._found(problem_ids):
            chosen = run.select(columns)
            for begin in range(0, len(places), BLOCK_ROWS):
                yield chosen.take(places[begin : begin + BLOCK_ROWS])

    def _found(self, problem_ids: list[str]) -> Iterator[tuple[pa.Table, np.ndarray]]:
        """Each run of the copy with the places in it of the rows that have the keys of these problems."""
        self.catch_up()
        assert self.folder is not None
        keys = np.unique(keys_of(problem_ids))
        for name, _ in self._state.runs:
            run = mapped(self.folder / name)
            held = run[KEY].to_numpy()
            begins = np.searchsorted(held, keys)
            counts = np.searchsorted(held, keys, side="right") - begins
            if counts.any():
                yield run, np.repeat(begins - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum())

    def counts(self, problem_ids: list[str]) -> dict[str, int]:
        """How many rows of each of these problems there are."""
        if self.folder is None:
            sizes = self.rows(problem_ids).group_by("problem_id").len()
            return dict(sizes.iter_rows())
        self.catch_up()
        keys = keys_of(problem_ids)
        total = np.zeros(len(keys), dtype=np.int64)
        for name, _ in self._state.runs:
            held = mapped(self.folder / name)[KEY].to_numpy()
            total += np.searchsorted(held, keys, side="right") - np.searchsorted(held, keys)
        return dict(zip(problem_ids, total.tolist(), strict=True))

    def catch_up(self) -> None:
        """Bring the copy to the table's present version."""
        if self.folder is None:
            return
        version = self.store.version(self.table)
        if self._checked and version == self._state.version:
            return
        self._checked = True
        if (version, self.store.statistics(self.table).rows) == (self._state.version, self._state.rows):
            return
        added = few_added(self.store, self.table, self._state.version, self._state.rows)
        if added is None:
            self._build(version)
        else:
            self._add(added, version)

    def _build(self, version: int) -> None:
        self._state = State()
        runs, rows = [], 0
        for part in self._portions(version):
            runs.append((self._write(sorted_run(part)), part.height))
            rows += part.height
        self._replace(State(version, rows, runs))

    def _portions(self, version: int) -> Iterator[pl.DataFrame]:
        """The table in portions of at most LARGEST_RUN rows, small files together."""
        held: list[pl.DataFrame] = []
        for batch in (
            self.store.snapshot(self.table, version).scan().collect_batches(chunk_size=LARGEST_RUN // 4)
        ):
            held.append(batch)
            if sum(part.height for part in held) >= LARGEST_RUN // 2:
                yield pl.concat(held)
                held = []
        if held:
            yield pl.concat(held)

    def _add(self, added: pl.DataFrame, version: int) -> None:
        assert self.folder is not None
        runs, rows = list(self._state.runs), self._state.rows + added.height
        if added.height:
            run = sorted_run(added)
            while runs and runs[-1][1] < 2 * run.num_rows and runs[-1][1] + run.num_rows <= LARGEST_RUN:
                older = mapped(self.folder / runs.pop()[0])
                run = pa.concat_tables([older, run]).sort_by(KEY)
            runs.append((self._write(run), run.num_rows))
        self._replace(State(version, rows, runs))

    def _write(self, run: pa.Table) -> str:
        assert self.folder is not None
        self.folder.mkdir(parents=True, exist_ok=True)
        name = f"{uuid.uuid4().hex}.arrow"
        with (
            pa.OSFile(str(self.folder / name), "wb") as target,
            pa.ipc.new_file(target, run.schema) as writer,
        ):
            writer.write_table(run.combine_chunks())
        return name

    def _replace(self, state: State) -> None:
        assert self.folder is not None
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self.folder / "state.partial"
        partial.write_text(json.dumps(asdict(state)))
        os.replace(partial, self.folder / "state.json")
        self._state = state
        kept = {name for name, _ in state.runs}
        for path in self.folder.glob("*.arrow"):
            if path.name not in kept:
                path.unlink(missing_ok=True)

    def _read_state(self) -> State:
        """The state on disk; an empty one where it is missing, damaged, of another format, or names a file that is gone."""
        try:
            values = json.loads((self.folder / "state.json").read_text()) if self.folder else {}
            state = State(**values)
            runs = [(name, rows) for name, rows in state.runs]
        except (OSError, ValueError, TypeError):
            return State()
        if state.format != FORMAT or any(
            not (self.folder / name).is_file() for name, _ in runs if self.folder
        ):
            return State()
        return State(state.version, state.rows, runs)


def index_folder(store: Store) -> Path | None:
    """Where a store's local copies lie; None where it is no local folder."""
    return None if "://" in store.location else Path(store.location) / "_index"


def few_added(store: Store, table: str, version: int, rows: int) -> pl.DataFrame | None:
    """The rows added after a version, at which there were so many; None if they are many, or the change feed is gone."""
    now = store.statistics(table)
    if version < 0 or now.version < version or not 0 <= now.rows - rows <= FOLLOWED_ROWS:
        return None
    try:
        added, _ = store.tail(table, version)
    except StoreError:
        return None
    return added if added.height == now.rows - rows else None


def sorted_run(rows: pl.DataFrame) -> pa.Table:
    problems = rows["problem_id"].unique()
    keys = pl.Series(keys_of(problems.to_list()), dtype=pl.UInt64)
    keyed = rows.with_columns(
        rows["problem_id"].replace_strict(problems, keys, return_dtype=pl.UInt64).alias(KEY)
    )
    return keyed.sort(KEY).to_arrow(compat_level=pl.CompatLevel.oldest())


def keys_of(problem_ids: list[str]) -> np.ndarray:
    """What the rows of each problem are sorted by, uint64 [problem_ids]."""
    return np.fromiter(map(key_of, problem_ids), dtype=np.uint64, count=len(problem_ids))


@lru_cache(maxsize=1 << 16)
def key_of(problem_id: str) -> int:
    return int(text_hashes([problem_id])[0])


@lru_cache(maxsize=64)
def mapped(path: Path) -> pa.Table:
    """A run, mapped into memory. Runs are never changed, so one mapping serves as long as the process lives."""
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()
