"""Faults in the log of a table on a disk, from its first entry to its last: entries, their copies, and
checkpoints.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.later import later
from pipeline.store import log_entry
from pipeline.store.checking.data_paths import data_paths
from pipeline.store.data_files import content_hash
from pipeline.store.disk_log import DiskLog
from pipeline.store.log_files import (
    CHECKPOINT_HASH,
    ENTRY,
    HINT,
    checkpoint_hashes,
    checkpoint_name,
    entry_name,
    listed,
    version_in_hint,
    versions_of,
)

if TYPE_CHECKING:
    import polars as pl
else:
    pl = later("polars")

# The file, and what is wrong with it.
Fault = tuple[Path, str]
# A writer makes the copy of its entry right after the entry; a copy that still differs later is damaged.
COPY_DELAY_S = 0.05


def last_version(log: DiskLog) -> int:
    """The newest version that is there or is known to have been committed; -1 if there is none."""
    return max([*log.versions(), log.newest_copy()], default=-1)


def entry_faults(log: DiskLog) -> Iterator[Fault]:
    """Entries that are gone, damaged, or of another version or table."""
    last, table = last_version(log), table_identity(log)
    if last < 0 and next(data_paths(log), None):
        yield log.folder, "is gone, and the table has data files"
    for version in range(last + 1):
        path = log.folder / entry_name(version)
        if wrong := entry_fault(path, version, table):
            yield path, wrong


def copy_faults(log: DiskLog) -> Iterator[Fault]:
    """Damaged copies of entries. Nothing is lost by that while the entry is whole.

    Copies are not flushed, so a power cut leaves some incomplete, which is no fault: a repair completes them.
    """
    for version in versions_of(log.copies, ENTRY):
        if copy_fault(log, version) and not is_incomplete(log, version):
            time.sleep(COPY_DELAY_S)
            if wrong := copy_fault(log, version):
                yield log.copies / entry_name(version), wrong


def copy_fault(log: DiskLog, version: int) -> str | None:
    path, entry = log.copies / entry_name(version), log.folder / entry_name(version)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None  # deleted as old since it was listed
    if wrong := log_entry.fault(content, version):
        return wrong
    if entry_fault(entry, version) is None and entry.read_bytes() != content:
        return "differs from the entry that it is a copy of"
    return None


def is_incomplete(log: DiskLog, version: int) -> bool:
    """Whether a copy is the beginning of its entry, which is whole, with nothing or zeros after it."""
    try:
        copy, entry = (log.copies / entry_name(version)).read_bytes(), log.read(version)
    except FileNotFoundError:
        return False
    return log_entry.fault(entry, version) is None and entry.startswith(copy.rstrip(b"\0"))


def entry_fault(path: Path, version: int, table: str | None = None) -> str | None:
    try:
        return log_entry.fault(path.read_bytes(), version, table)
    except FileNotFoundError:
        return "is gone"


def table_identity(log: DiskLog) -> str | None:
    """The table's id, as most of its entries have it; None if no entry has one."""
    texts = [log.read(version) for version in log.versions()]
    ids = Counter(table for text in texts if (table := log_entry.table_of(text)))
    return ids.most_common(1)[0][0] if ids else None


def checkpoint_faults(log: DiskLog) -> Iterator[Fault]:
    """Checkpoints that are not what was written, and a `_last_checkpoint` that names no whole one."""
    for version in log.checkpoints():
        path = log.folder / checkpoint_name(version)
        hashes = checkpoint_hashes(log.copies, version)
        if hashes and content_hash(path) not in hashes:
            yield path, "is damaged: its content is not what was written"
        elif not hashes and not can_be_read(path):
            yield path, "is damaged: it cannot be read"
    if wrong := hint_fault(log):
        yield log.folder / HINT, wrong


def can_be_read(path: Path) -> bool:
    try:
        pl.read_parquet(path, glob=False)
        return True
    except (pl.exceptions.PolarsError, OSError):
        return False


def hint_fault(log: DiskLog) -> str | None:
    try:
        content = (log.folder / HINT).read_bytes()
    except FileNotFoundError:
        return None
    version = version_in_hint(content)
    if version not in log.checkpoints():
        return f"names version {version}, which has no checkpoint" if version >= 0 else "cannot be read"
    hints = original_hints(log, version)
    return "is not what was written" if hints and content not in hints else None


def original_hints(log: DiskLog, version: int) -> list[bytes]:
    """What `_last_checkpoint` said when the checkpoints of a version were made."""
    names = [
        name
        for name in listed(log.copies)
        if (match := CHECKPOINT_HASH.fullmatch(name)) and int(match[1]) == version
    ]
    return [(log.copies / name).read_bytes() for name in names]
