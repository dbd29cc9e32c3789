"""Appends to a table: data files first, then the commit, tried again on each newer version until it is in
or a twin is.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from pipeline.later import later
from pipeline.store import layout
from pipeline.store.data_files import DataFile
from pipeline.store.errors import StoreError
from pipeline.store.log_entry import MARK, Commit
from pipeline.store.parquet import COMMIT_KEY, PRODUCER_KEY, SEQUENCE_KEY, write_rows
from pipeline.store.tables import Table

if TYPE_CHECKING:
    import polars as pl

    from pipeline.store.bucket_log import BucketLog
    from pipeline.store.disk_log import DiskLog
else:
    pl = later("polars")

TableLog: TypeAlias = "DiskLog | BucketLog"
# Each failed attempt is another process's commit, so only very many writers come near this.
COMMIT_ATTEMPTS = 300
LONGEST_PAUSE_S = 0.05
CHECKPOINT_EVERY = 100


def append(
    log: TableLog, handle: DeltaTable, table: Table, rows: pl.DataFrame, producer: str, sequence: int
) -> bool:
    """Commit rows under (producer, sequence), unless that or a later sequence is in; True if this call did.

    The sequence is looked up in the very version that the commit follows on, so of twins one finds the
    other's.
    """
    commit = Commit("WRITE", transaction=(producer, sequence))
    metadata = {PRODUCER_KEY: producer, SEQUENCE_KEY: str(sequence), COMMIT_KEY: commit.identity}
    files: list[DataFile] | None = None
    for _ in attempts():
        if sequence_of(handle, producer) >= sequence:
            # The twin may have been killed before its commit was flushed, and "it is in" must hold after a
            # power cut.
            log.settle()
            discard(log, files)
            return False
        fields = layout.new_fields(handle, table)
        widening = log.widen(handle, fields) if fields else ()
        if files is None:
            files = write_rows(log.place, table, rows, metadata)
        if log.commit(handle, replace(commit, added=tuple(files), table_actions=widening)):
            checkpoint_if_due(log, handle)
            return True
        if swept_since(log, handle):
            discard(log, files)
            files = None
    raise StoreError(f"{COMMIT_ATTEMPTS} other commits came between; nothing was added, try again")


def attempts() -> Iterator[int]:
    """Numbers of attempts, with pauses that grow and differ, so that many writers do not meet again and
    again.
    """
    for number in range(COMMIT_ATTEMPTS):
        yield number
        time.sleep(random.uniform(0, min(0.001 * (number + 1), LONGEST_PAUSE_S)))


def swept_since(log: TableLog, handle: DeltaTable) -> bool:
    """Bring the handle to the newest version. True if files that were not committed may have been deleted
    meanwhile.

    Maintenance commits before it deletes them, so whoever wrote such files finds that commit before its own
    can be made.
    """
    before = handle.version()
    refresh(log, handle)
    return sweeps(log, before, handle.version())


def sweeps(log: TableLog, after: int, until: int) -> bool:
    """Whether maintenance announced between two versions that it deletes files."""
    return any(info.get(MARK, {}).get("sweep") for info in log.infos(after, until))


def refresh(log: TableLog, handle: DeltaTable) -> None:
    """Bring the handle to the newest version. Raises StoreError for entries that are damaged or gone."""
    known = log.newest_copy()
    if log.has_news(handle.version()):
        handle.update_incremental()
    log.compare_new(handle.version(), known)


def discard(log: TableLog, files: list[DataFile] | None) -> None:
    """Delete files of this process that no commit names."""
    log.place.delete([file.path for file in files or ()])


def checkpoint_if_due(log: TableLog, handle: DeltaTable) -> None:
    """Make a checkpoint if the commit after the handle's version, which was just made, is one of every
    hundred.
    """
    if (handle.version() + 1) % CHECKPOINT_EVERY == 0:
        # The rows are in, whatever becomes of the checkpoint; maintenance makes the next one, and says what
        # is wrong.
        with contextlib.suppress(DeltaError, OSError):
            handle.update_incremental()
            log.write_checkpoint(handle)


def sequence_of(handle: DeltaTable, producer: str) -> int:
    """Highest sequence of a producer in the version that the handle shows; -1 if it has none."""
    sequence = handle.transaction_version(producer)
    return -1 if sequence is None else sequence
