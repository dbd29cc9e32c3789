"""Repair a damaged store as far as what is whole allows, and report every file and row that is lost.

Log entries are restored from their copies, checkpoints from the log, the rows of an entry without a copy from
its data files, and a damaged file that compaction wrote from the files that it was written from, while they
are there. Damaged files are not deleted: they are moved to `_spo/set-aside` of their table.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.store.checking import log_faults
from pipeline.store.checking.recover_appends import recover_appends
from pipeline.store.checking.repair_files import repair_files
from pipeline.store.checking.repair_log import (
    has_lost_entries,
    make_checkpoint,
    repair_entries,
    set_aside_checkpoints,
)
from pipeline.store.checking.step import RepairStep
from pipeline.store.disk_log import DiskLog
from pipeline.store.errors import StoreError
from pipeline.store.store import Store
from pipeline.store.tables import TABLES, Table


def repair_store(store: Store, *, accept_loss: bool = False) -> list[RepairStep]:
    """Repair every table of a store in a folder; what was done and what could not be done, in order.

    Where the last copy of something is damaged, reading it stays an error, unless `accept_loss`: then the
    table goes on without it. To be run while no other process uses the store. Raises StoreError for a store
    on object storage, and where another process commits to a damaged table meanwhile.
    """
    if "://" in store.location:
        raise StoreError(
            f"{store.location}: only a store in a folder can be repaired; copy it to a disk first"
        )
    steps: list[RepairStep] = []
    for name, table in TABLES.items():
        log = DiskLog(Path(store.location, name))
        if log_faults.last_version(log) >= 0:
            steps += repair_table(log, table, accept_loss)
    return steps


def repair_table(log: DiskLog, table: Table, accept_loss: bool) -> list[RepairStep]:
    checkpoints = list(set_aside_checkpoints(log, table))
    entries = list(repair_entries(log, table, accept_loss))
    steps = [*checkpoints, *entries]
    if checkpoints:
        steps.append(make_checkpoint(log, table))
    if accept_loss and all(step.done for step in entries) and has_lost_entries(log):
        steps += recover_appends(log, table)
    return [*steps, *repair_files(log, table, accept_loss)]
