"""Reads the rows of a few problems without reading the whole table: an index in sorted runs, in the folder of
the store.

Parquet files are in the order of arrival. The programs of one problem are spread over all of them, so a
look-up there reads everything. The index holds the same rows sorted by problem, as uncompressed Arrow files
that are mapped into memory: a look-up touches only the pages of its rows. New rows come from the table's
change feed as a new run, and runs of similar size are merged (log-structured merge tree, O'Neil et al. 1996).

The table is the record. The index may be deleted at any time; the next use builds it again. It takes about
1.2 KB per program for `program_signatures` and 0.2 KB for `duplicates`. A store that is not a local folder
has no index and is scanned.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterable, Iterator
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
# A run of this many rows is not merged again: merging two runs takes the memory of both.
LARGEST_RUN = 100_000
# More new rows than this are read from the files, because the whole change feed is held in memory.
FOLLOWED_ROWS = 20_000
# Rows per block when all rows of a problem are read.
BLOCK_ROWS = 8_192


@dataclass(frozen=True)
class State:
    """What the index holds: `runs` as (file name, rows), the oldest first, up to a version of the table."""

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
        """All current rows of these problems, or some of their columns, in no particular order.

        `only`: trajectory_ids to select; of other rows, only the id is read.
        """
        wanted = columns or TABLES[self.table].empty.columns
        mine = pl.col("problem_id").is_in(problem_ids)
        if only is not None:
            mine &= pl.col("trajectory_id").is_in(only.implode())
        if self.folder is None:
            return self.store.snapshot(self.table).scan().filter(mine).select(wanted).collect()
        ids = None if only is None else only.to_arrow(compat_level=pl.CompatLevel.oldest())
        read = list(dict.fromkeys(["problem_id", "trajectory_id", *wanted]))
        parts = []
        for run, indices in self._matching_rows(problem_ids):
            if ids is not None:
                indices = indices[pc.is_in(run["trajectory_id"].take(indices), ids).to_numpy()]
            if len(indices):
                parts.append(run.select(read).take(indices))
        if not parts:
            return TABLES[self.table].empty.select(wanted)
        # Different problems may share a key.
        return pl.DataFrame(pa.concat_tables(parts)).filter(mine).select(wanted)

    def blocks(self, problem_ids: list[str], columns: list[str]) -> Iterator[pa.Table]:
        """Some columns of all rows of these problems, in blocks of BLOCK_ROWS.

        May hold rows of other problems whose key collides with one of these.
        """
        for run, indices in self._matching_rows(problem_ids):
            chosen = run.select(columns)
            for begin in range(0, len(indices), BLOCK_ROWS):
                yield chosen.take(indices[begin : begin + BLOCK_ROWS])

    def _matching_rows(self, problem_ids: list[str]) -> Iterator[tuple[pa.Table, np.ndarray]]:
        """Each run of the index that has rows with the keys of these problems, and the indices of these rows
        in it."""
        self.catch_up()
        assert self.folder is not None
        keys = np.unique(_keys_of(problem_ids))
        for name, _ in self._state.runs:
            run = _map_run(self.folder / name)
            run_keys = run[KEY].to_numpy()
            begins = np.searchsorted(run_keys, keys)
            counts = np.searchsorted(run_keys, keys, side="right") - begins
            if counts.any():
                yield run, np.repeat(begins - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum())

    def counts(self, problem_ids: list[str]) -> dict[str, int]:
        """The number of rows of each of these problems."""
        if self.folder is None:
            sizes = self.rows(problem_ids).group_by("problem_id").len()
            return dict(sizes.iter_rows())
        self.catch_up()
        keys = _keys_of(problem_ids)
        total = np.zeros(len(keys), dtype=np.int64)
        for name, _ in self._state.runs:
            run_keys = _map_run(self.folder / name)[KEY].to_numpy()
            total += np.searchsorted(run_keys, keys, side="right") - np.searchsorted(run_keys, keys)
        return dict(zip(problem_ids, total.tolist(), strict=True))

    def all_counts(self) -> dict[str, int]:
        """The number of rows of each problem that has any, in the order of the index."""
        rows = self.store.snapshot(self.table).scan().group_by("problem_id").len()
        counts = dict(rows.collect(engine="streaming").iter_rows())
        return {name: counts[name] for name in self.in_order(counts)}

    @staticmethod
    def in_order(problem_ids: Iterable[str]) -> list[str]:
        """Problems in the order of the index: rows of neighbours share pages, so a pass over all problems in
        this order reads each page once.
        """
        return sorted(problem_ids, key=lambda name: (_key_of(name), name))

    def catch_up(self) -> None:
        """Update the index to the current version of the table."""
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
        """The table in portions of at most LARGEST_RUN rows; small files are read together."""
        batches: list[pl.DataFrame] = []
        for batch in (
            self.store.snapshot(self.table, version).scan().collect_batches(chunk_size=LARGEST_RUN // 4)
        ):
            batches.append(batch)
            if sum(part.height for part in batches) >= LARGEST_RUN // 2:
                yield pl.concat(batches)
                batches = []
        if batches:
            yield pl.concat(batches)

    def _add(self, added: pl.DataFrame, version: int) -> None:
        assert self.folder is not None
        runs, rows = list(self._state.runs), self._state.rows + added.height
        if added.height:
            run = sorted_run(added)
            while runs and runs[-1][1] < 2 * run.num_rows and runs[-1][1] + run.num_rows <= LARGEST_RUN:
                older = _map_run(self.folder / runs.pop()[0])
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
        run_names = {name for name, _ in state.runs}
        for path in self.folder.glob("*.arrow"):
            if path.name not in run_names:
                path.unlink(missing_ok=True)

    def _read_state(self) -> State:
        """The state on disk; an empty state if it is missing, damaged, of another format, or names a missing
        file."""
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
    """The folder of a store's indices; None if the store is not a local folder."""
    return store.index_folder


def few_added(store: Store, table: str, version: int, rows: int) -> pl.DataFrame | None:
    """The rows added after a version at which the table had `rows` rows.

    None if there are more than FOLLOWED_ROWS, or if the change feed no longer has them.
    """
    statistics = store.statistics(table)
    if version < 0 or statistics.version < version or not 0 <= statistics.rows - rows <= FOLLOWED_ROWS:
        return None
    try:
        added, _ = store.tail(table, version)
    except StoreError:
        return None
    return added if added.height == statistics.rows - rows else None


def sorted_run(rows: pl.DataFrame) -> pa.Table:
    problems = rows["problem_id"].unique()
    keys = pl.Series(_keys_of(problems.to_list()), dtype=pl.UInt64)
    keyed = rows.with_columns(
        rows["problem_id"].replace_strict(problems, keys, return_dtype=pl.UInt64).alias(KEY)
    )
    return keyed.sort(KEY).to_arrow(compat_level=pl.CompatLevel.oldest())


def _keys_of(problem_ids: list[str]) -> np.ndarray:
    """The sort key of each problem, uint64 [problem_ids]."""
    return np.fromiter(map(_key_of, problem_ids), dtype=np.uint64, count=len(problem_ids))


@lru_cache(maxsize=1 << 16)
def _key_of(problem_id: str) -> int:
    return int(text_hashes([problem_id])[0])


def _map_run(path: Path) -> pa.Table:
    """A run, mapped into memory. The pages that were read are given back with the table."""
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()
