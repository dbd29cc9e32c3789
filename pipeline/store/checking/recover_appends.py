"""Appends whose log entry is lost without a copy: their files say which append they belong to, so they can
be committed again.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.later import later
from pipeline.store.appending import refresh, sequence_of
from pipeline.store.checking.data_paths import committed_paths, data_paths, readable_actions
from pipeline.store.checking.step import RepairStep
from pipeline.store.data_files import DataFile, committed_hash, content_hash
from pipeline.store.disk_log import DiskLog
from pipeline.store.errors import StoreError, as_store_errors
from pipeline.store.layout import open_table
from pipeline.store.log_entry import Commit
from pipeline.store.parquet import (
    COMMIT_KEY,
    FILE_BYTES,
    PARTITIONS_KEY,
    PRODUCER_KEY,
    SEQUENCE_KEY,
    statistics,
)
from pipeline.store.places import modification_ms
from pipeline.store.tables import Table

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq
else:
    pa = later("pyarrow")
    pq = later("pyarrow.parquet")

Append = tuple[str, int]


def recover_appends(log: DiskLog, table: Table) -> Iterator[RepairStep]:
    """Commit the files of appends that the log does not have, where all files of the append are whole.

    This includes an append that was killed just before its commit: its producer then finds it committed.
    """
    try:
        with as_store_errors(table.name, "commit appends again"):
            handle = open_table(str(log.place.folder), None)
    except StoreError:
        return  # repairing the files meets the same error, and reports it
    known = known_appends(log)
    for (producer, sequence, identity), files in uncommitted_appends(log).items():
        append: Append = (producer, int(sequence))
        if append in known:
            continue
        known.add(append)
        # A producer's sequence is never set back: what came after it would be appended a second time.
        transaction = append if sequence_of(handle, producer) < append[1] else None
        commit = Commit("REPAIR", tuple(files), transaction=transaction, identity=identity)
        if log.commit(handle, commit):
            what = f"append {sequence} of {producer}: committed again from its {len(files)} files"
            yield RepairStep(table.name, what)
        refresh(log, handle)


def known_appends(log: DiskLog) -> set[Append]:
    actions = (action for _, actions in readable_actions(log) for action in actions)
    return {(action["txn"]["appId"], action["txn"]["version"]) for action in actions if "txn" in action}


def uncommitted_appends(log: DiskLog) -> dict[tuple[str, str, str], list[DataFile]]:
    """Files that no version names, by producer, sequence and commit, where all files of it are whole."""
    named = committed_paths(log) or set()
    appends: dict[tuple[str, str, str], list[tuple[DataFile, int]]] = {}
    for path, relative in data_paths(log):
        if relative in named or committed_hash(path) is None or content_hash(path) != committed_hash(path):
            continue
        if (described_file := described(path, relative)) is not None:
            appends.setdefault(described_file[0], []).append(described_file[1:])
    return {
        append: [file for file, _ in files]
        for append, files in appends.items()
        # A partition with more than one file ends its files at FILE_BYTES: whether all are there is unknown.
        if len({str(file.partition_values) for file, _ in files}) == files[0][1]
        and all(file.size < FILE_BYTES for file, _ in files)
    }


def described(path: Path, relative: str) -> tuple[tuple[str, str, str], DataFile, int] | None:
    """A file's append (producer, sequence, commit), the file, and the number of partitions of that append."""
    try:
        footer = pq.read_metadata(path)
    except (pa.ArrowException, OSError):
        return None
    metadata = {
        key.decode(): value.decode() for key, value in (footer.metadata or {}).items() if key[:4] == b"spo."
    }
    if not {PRODUCER_KEY, SEQUENCE_KEY, COMMIT_KEY, PARTITIONS_KEY} <= set(metadata):
        return None
    partition: dict[str, str | None] = {}
    for part in relative.split("/")[:-1]:
        name, _, partition[name] = part.partition("=")
    status = path.stat()
    file = DataFile(relative, status.st_size, partition, modification_ms(status), statistics(footer))
    return (
        (metadata[PRODUCER_KEY], metadata[SEQUENCE_KEY], metadata[COMMIT_KEY]),
        file,
        int(metadata[PARTITIONS_KEY]),
    )
