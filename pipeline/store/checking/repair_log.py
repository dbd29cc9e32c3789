"""Repair of a table's log: entries from their copies, checkpoints from the entries."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

from deltalake.exceptions import DeltaError

from pipeline.store import log_entry
from pipeline.store.checking import log_faults
from pipeline.store.checking.data_paths import readable_actions
from pipeline.store.checking.step import RepairStep, keep_damaged, set_aside
from pipeline.store.checkpoints import write_checkpoint
from pipeline.store.disk_log import DiskLog
from pipeline.store.errors import in_one_line
from pipeline.store.files import make_folder, write_whole
from pipeline.store.layout import creation_actions
from pipeline.store.log_entry import Commit
from pipeline.store.log_files import (
    HINT,
    checkpoint_hash_name,
    checkpoint_hashes,
    checkpoint_name,
    entry_name,
)
from pipeline.store.tables import Table

# The operation of an entry that replaced a lost one.
LOST = "LOST"


def repair_entries(log: DiskLog, table: Table, accept_loss: bool) -> Iterator[RepairStep]:
    """Restore entries from their copies, and damaged copies from their entries."""
    identity = log_faults.table_identity(log)
    make_folder(log.folder)
    for version in range(log_faults.last_version(log) + 1):
        path, copy = log.folder / entry_name(version), log.copies / entry_name(version)
        wrong = log_faults.entry_fault(path, version, identity)
        if not wrong:
            if fault := log_faults.copy_fault(log, version):
                write_whole(copy, path.read_bytes())
                yield RepairStep(table.name, f"{copy} {fault}: written again from its entry")
        elif log_faults.entry_fault(copy, version, identity) is None:
            keep_damaged(log, path)
            write_whole(path, copy.read_bytes())
            yield RepairStep(table.name, f"{path} {wrong}: restored from its copy")
        else:
            yield without_copy(log, table, version, wrong, identity, accept_loss)


def without_copy(
    log: DiskLog, table: Table, version: int, wrong: str, identity: str | None, accept_loss: bool
) -> RepairStep:
    """What becomes of a damaged entry that has no whole copy."""
    path = log.folder / entry_name(version)
    if newer := [number for number in log.checkpoints() if number >= version]:
        return RepairStep(
            table.name,
            f"{path} {wrong} and has no whole copy: its rows are in the checkpoint of version {newer[0]},"
            " older versions cannot be read any more",
            done=False,
        )
    if not accept_loss:
        return RepairStep(
            table.name,
            f"{path} {wrong} and has no whole copy: nothing can be read from this version on;"
            " with --accept-loss the table goes on without it, and appends whose files are whole are"
            " committed again",
            done=False,
            lost_rows=None,
        )
    replace_entry(log, table, version, identity or str(uuid.uuid4()))
    # The rows that version 0 committed are none: it created the table.
    return RepairStep(
        table.name,
        f"{path} {wrong} and has no whole copy: replaced by an entry without rows",
        lost_rows=None if version else 0,
    )


def replace_entry(log: DiskLog, table: Table, version: int, identity: str) -> None:
    """Put an entry that commits nothing in the place of a lost one, so that those after it can be read."""
    path, copy = log.folder / entry_name(version), log.copies / entry_name(version)
    keep_damaged(log, path)
    keep_damaged(log, copy)
    actions = creation_actions(table) if version == 0 else []
    for action in actions:
        if "metaData" in action:
            action["metaData"]["id"] = identity
    content = log_entry.entry(Commit(LOST, table_actions=tuple(actions)), version, identity)
    write_whole(path, content)
    write_whole(copy, content)


def has_lost_entries(log: DiskLog) -> bool:
    """Whether an entry was replaced by one without rows, now or by an earlier repair."""
    actions = (action for _, actions in readable_actions(log) for action in actions)
    return any(action.get("commitInfo", {}).get("operation") == LOST for action in actions)


def set_aside_checkpoints(log: DiskLog, table: Table) -> Iterator[RepairStep]:
    """Move damaged checkpoints away, and `_last_checkpoint` where it does not name a whole one: readers
    then list the log.
    """
    for path, wrong in list(log_faults.checkpoint_faults(log)):
        set_aside(log, path)
        yield RepairStep(table.name, f"{path} {wrong}: moved to _spo/set-aside")
    if log_faults.hint_fault(log):
        set_aside(log, log.folder / HINT)


def make_checkpoint(log: DiskLog, table: Table) -> RepairStep:
    """A new checkpoint of the newest version, in the place of damaged ones."""
    newest = max(log.versions())
    path = log.folder / checkpoint_name(newest)
    if not path.exists():
        for outdated in checkpoint_hashes(log.copies, newest):
            (log.copies / checkpoint_hash_name(newest, outdated)).unlink()
    try:
        write_checkpoint(log.folder, log.copies, newest)
    except (DeltaError, OSError) as error:
        return RepairStep(table.name, f"no new checkpoint: {in_one_line(error)}", done=False)
    return RepairStep(table.name, f"{path}: made again from the log")
