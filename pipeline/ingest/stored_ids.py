"""The ids of all stored trajectories, for asking which of some ids the store has.

Of a local store they are kept sorted in `_index/trajectory_ids`, 16 bytes per row, and brought up to date
from the files that were added: the cost depends on the new rows only. Elsewhere, or where that folder cannot
be written, all ids are read into memory.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl

from pipeline.store import ID_TYPE, IdSet, KeyRuns, PrivateFolderError, Store, StoreError, binary_ids

TABLE = "trajectories"
FIELDS = np.dtype([("key", ID_TYPE)])
FORM = "trajectory ids 1"


def stored_ids(store: Store) -> KeyRuns | IdSet:
    """The ids of all rows of `trajectories`, as they are now."""
    folder = store.index_folder
    if folder is None or not store.statistics(TABLE).rows:
        return IdSet(store.read(TABLE, ["trajectory_id"])["trajectory_id"])
    runs = KeyRuns(folder / "trajectory_ids", FIELDS, FORM)
    try:
        with runs.locked():
            catch_up(store, runs)
    except (OSError, PrivateFolderError):  # another user's store, or a full disk
        return IdSet(store.read(TABLE, ["trajectory_id"])["trajectory_id"])
    return runs


def catch_up(store: Store, runs: KeyRuns) -> None:
    """Bring the ids up to the current version of the table; from all of it where the index does not fit."""
    now = store.statistics(TABLE)
    before = (runs.note.get("version", -1), runs.note.get("rows", 0))
    if before == (now.version, now.rows):
        return
    if not (0 <= before[0] < now.version and add_new(store, runs, *before, now.version, now.rows)):
        runs.clear()
        for ids in batches(store.snapshot(TABLE, now.version).scan()):
            runs.add(ids)
    runs.note = {"version": now.version, "rows": now.rows}
    runs.save()


def add_new(store: Store, runs: KeyRuns, after: int, rows: int, until: int, total: int) -> bool:
    """Add the ids of rows that were added between two versions. False where they are not all there."""
    try:
        added = store.added(TABLE, after, until).scan()
        new = [ids for ids in batches(added)]
        count = int(added.select(pl.len()).collect().item())
    except (StoreError, OSError, pl.exceptions.PolarsError):
        return False
    if rows + count != total:
        return False
    for ids in new:
        runs.add(ids)
    return True


def batches(rows: pl.LazyFrame) -> Iterator[np.ndarray]:
    """The ids of some rows as records, in portions."""
    for part in rows.select("trajectory_id").collect_batches(chunk_size=500_000):
        ids = binary_ids(part["trajectory_id"])
        records = np.empty(len(ids), dtype=FIELDS)
        records["key"] = ids
        yield records
