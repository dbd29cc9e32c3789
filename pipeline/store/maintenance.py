"""Maintenance of a table: many small files become few, and files that nothing needs are deleted.

Writers and maintenance need no clock and no lock to keep out of each other's way. Whoever deletes files that
are in no version first makes a commit that says so; a writer whose files may be among them finds that commit
before its own, and writes them again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote

from deltalake import DeltaTable

from pipeline.later import later
from pipeline.store.appending import TableLog, attempts, discard, refresh, swept_since
from pipeline.store.data_files import DataFile, live_files
from pipeline.store.errors import StoreError
from pipeline.store.log_entry import Commit
from pipeline.store.parquet import COMPACT_LEVEL, FILE_BYTES, ROW_GROUP_ROWS, write_groups
from pipeline.store.tables import Table

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq
else:
    pa = later("pyarrow")
    pq = later("pyarrow.parquet")

DEFAULT_RETENTION_HOURS = 7 * 24


@dataclass(frozen=True)
class Maintained:
    """What maintenance did: live files before and after, and files deleted from the disk."""

    files_before: int
    files_after: int
    deleted: int


def compact(log: TableLog, handle: DeltaTable, table: Table) -> None:
    """Write the rows of small files together into large ones, in one commit that changes no row.

    Another process that compacts at this moment does the same work, which is then left to that one.
    """
    removed, added = list[DataFile](), list[DataFile]()
    for files in bins(live_files(handle)):
        removed += files
        added += merged(log, handle, table, files)
    if not removed:
        return
    commit = Commit("OPTIMIZE", tuple(added), tuple(removed), data_change=False)
    for _ in attempts():
        if log.commit(handle, commit):
            return refresh(log, handle)
        live = {file.path for file in live_files(handle)} if not swept_since(log, handle) else set()
        if not {file.path for file in removed} <= live:
            discard(log, added)
            return


def bins(files: list[DataFile]) -> Iterator[list[DataFile]]:
    """Groups of files of one partition that together are about as large as a file should be."""
    partitions: dict[tuple[tuple[str, str | None], ...], list[DataFile]] = {}
    for file in files:
        if file.size < FILE_BYTES:
            partitions.setdefault(tuple(sorted(file.partition_values.items())), []).append(file)
    for part in partitions.values():
        group: list[DataFile] = []
        for file in part:
            if group and sum(one.size for one in group) + file.size > FILE_BYTES:
                yield from [group] if len(group) > 1 else []
                group = []
            group.append(file)
        yield from [group] if len(group) > 1 else []


def merged(log: TableLog, handle: DeltaTable, table: Table, files: list[DataFile]) -> list[DataFile]:
    """New files with the rows of others, in their order. Raises StoreError for one whose content is not
    what was committed.
    """
    log.place.compare([file.path for file in files])
    schema = columns_in_files(handle)
    with contextlib.ExitStack() as stack:
        sources = [stack.enter_context(pq.ParquetFile(log.place.open(file.path))) for file in files]
        keep = [name for name in schema.names if all(has_bounds(source.metadata, name) for source in sources)]
        groups = row_groups(sources, schema)
        return write_groups(log.place, table, groups, files[0].partition_values, COMPACT_LEVEL, keep)


def columns_in_files(handle: DeltaTable) -> pa.Schema:
    """The table's columns without partition copies; also those that this program's contract does not know."""
    partitions = set(handle.metadata().partition_columns)
    return pa.schema(
        [field for field in pa.schema(handle.schema().to_arrow()) if field.name not in partitions]
    )


def row_groups(sources: list[pq.ParquetFile], schema: pa.Schema) -> Iterator[pa.Table]:
    """The rows of files in tables of ROW_GROUP_ROWS rows; a column newer than a file is null for its rows."""
    held: list[pa.Table] = []
    for source in sources:
        for batch in source.iter_batches(ROW_GROUP_ROWS):
            held.append(widened(pa.Table.from_batches([batch]), schema))
            while sum(part.num_rows for part in held) >= ROW_GROUP_ROWS:
                rows = pa.concat_tables(held)
                yield rows.slice(0, ROW_GROUP_ROWS)
                held = [rows.slice(ROW_GROUP_ROWS)]
    rest = pa.concat_tables(held) if held else schema.empty_table()
    if rest.num_rows:
        yield rest


def widened(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    columns = [
        rows[field.name].cast(field.type)
        if field.name in rows.column_names
        else pa.nulls(len(rows), field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)


def has_bounds(footer: pq.FileMetaData, name: str) -> bool:
    """Whether a column has least and greatest values in every row group of a file, or no value."""
    number = footer.schema.names.index(name) if name in footer.schema.names else -1
    if number < 0:
        return True
    statistics = [footer.row_group(group).column(number).statistics for group in range(footer.num_row_groups)]
    return all(part is not None and (part.has_min_max or not part.num_values) for part in statistics)


def sweep(
    log: TableLog, handle: DeltaTable, retention_hours: int | None, keep: Callable[[], list[int]]
) -> int:
    """Delete files that no version needs which is kept: not those of the last hours, not the present one, not
    those that `keep` gives.

    Returns how many were deleted.
    """
    hours = DEFAULT_RETENTION_HOURS if retention_hours is None else retention_hours
    for _ in attempts():
        unneeded = without_use(handle, hours, keep())
        if not unneeded:
            return log.place.sweep(hours)
        if log.commit(handle, Commit("VACUUM", sweep=True)):
            refresh(log, handle)
            # A pin that came in after the first look at the pins, and before that commit, holds too.
            unneeded &= without_use(handle, hours, keep())
            log.place.delete(sorted(unneeded))
            return len(unneeded) + log.place.sweep(hours)
        refresh(log, handle)
    raise StoreError("writers commit without a pause; nothing was deleted, try again")


def without_use(handle: DeltaTable, hours: int, keep: list[int]) -> set[str]:
    """Paths of the files in the table's folder that are of no version which is kept."""
    unused = handle.vacuum(
        hours, dry_run=True, enforce_retention_duration=False, full=True, keep_versions=keep or None
    )
    return set(map(unquote, unused))
