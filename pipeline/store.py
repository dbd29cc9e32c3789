"""The store: one Delta Lake table for each contract, in a local folder or on object storage.

Appends are atomic and carry their idempotency key, (producer, sequence), in the commit itself; reads go through snapshots,
lists of Parquet files that no later commit touches. Nothing here globs a folder: after one compaction that counts rows twice.
Specification: the Delta Lake protocol, https://github.com/delta-io/delta/blob/master/PROTOCOL.md
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa
from deltalake import (
    BloomFilterProperties,
    ColumnProperties,
    CommitProperties,
    DeltaTable,
    Transaction,
    WriterProperties,
    write_deltalake,
)
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from pipeline.contracts import LAYOUT_VERSION, TABLES, Table, check

LAYOUT_KEY = "spo.layoutVersion"
# Compaction resets the cost of an append, which grows with the number of live small files.
COMPACT_AFTER_COMMITS = 200


class StoreError(RuntimeError):
    """The store cannot be opened, read or written; the message says what to do."""


@dataclass(frozen=True)
class Snapshot:
    """The rows of a table at one version: later appends and compactions do not change it."""

    table: Table
    version: int
    files: tuple[str, ...]
    storage_options: dict[str, str] | None = None

    def scan(self) -> pl.LazyFrame:
        """Lazy frame with the contract's columns; a column newer than a file reads as null there."""
        empty = self.table.schema.create_empty()
        if not self.files:
            return empty.lazy()
        frame = pl.scan_parquet(
            list(self.files),
            schema=pl.Schema({**empty.schema, **{partition_name(c): pl.String for c in self.table.partition_by}}),
            hive_partitioning=bool(self.table.partition_by),
            missing_columns="insert",
            extra_columns="ignore",
            storage_options=self.storage_options,
        )
        return frame.select(empty.columns)

    def read(self, columns: list[str] | None = None) -> pl.DataFrame:
        frame = self.scan()
        return (frame.select(columns) if columns else frame).collect()


class Store:
    """Handle on a store. Cheap to make; tables are opened on first use and kept."""

    def __init__(self, location: str | Path, storage_options: dict[str, str] | None = None):
        location = str(location)
        self.location = location if "://" in location else str(Path(location).resolve())
        self.storage_options = storage_options
        self._handles: dict[str, DeltaTable] = {}

    def append(self, name: str, rows: pl.DataFrame, *, producer: str, sequence: int) -> bool:
        """Append rows once for each (producer, sequence), which must increase; True if this call added them.

        Raises ContractError for rows that break the table's contract, StoreError when the commit cannot be made.
        """
        table = contract(name)
        rows = check(table, rows)
        if self.last_sequence(name, producer) >= sequence:
            return False
        try:
            write_deltalake(
                self._open(name),
                to_arrow(table, rows),
                mode="append",
                writer_properties=writer_properties(table, rows.height),
                commit_properties=CommitProperties(app_transactions=[Transaction(producer, sequence)]),
            )
        except CommitFailedError as error:
            # A concurrent twin with the same key won: its rows are these rows.
            if self.last_sequence(name, producer) >= sequence:
                return False
            raise StoreError(f"{name}: could not commit to {self.location}: {error}") from error
        except (DeltaError, OSError) as error:
            raise StoreError(f"{name}: could not write to {self.location}: {error}") from error
        return True

    def last_sequence(self, name: str, producer: str) -> int:
        """Highest sequence this producer has committed to the table, or -1."""
        found = self._refreshed(name).transaction_version(producer)
        return -1 if found is None else found

    def append_next(self, name: str, rows: pl.DataFrame, *, producer: str) -> None:
        """Append under the producer's next sequence. For one process a producer, whose rows are chosen by what is missing."""
        if rows.height:
            self.append(name, rows, producer=producer, sequence=self.last_sequence(name, producer) + 1)

    def version(self, name: str) -> int:
        return self._refreshed(name).version()

    def snapshot(self, name: str, version: int | None = None) -> Snapshot:
        """Snapshot of a table at a version, or as it is now."""
        table = contract(name)
        handle = self._refreshed(name)
        if version is not None and version != handle.version():
            try:
                handle = DeltaTable(handle.table_uri, version=version, storage_options=self.storage_options)
            except (DeltaError, TableNotFoundError) as error:
                raise StoreError(f"{name}: no version {version} in {self.location}: {error}") from error
        return Snapshot(table, handle.version(), tuple(sorted(handle.file_uris())), self.storage_options)

    def read(self, name: str, columns: list[str] | None = None) -> pl.DataFrame:
        return self.snapshot(name).read(columns)

    def tail(self, name: str, after_version: int) -> tuple[pl.DataFrame, int]:
        """Rows added after a version, each once and whatever was compacted since, and the version they reach."""
        handle = self._refreshed(name)
        now = handle.version()
        columns = contract(name).schema.column_names()
        if now <= after_version:
            return contract(name).schema.create_empty(), after_version
        changes = pl.DataFrame(handle.load_cdf(after_version + 1, now))
        return changes.filter(pl.col("_change_type") == "insert").select(columns), now

    def pins(self, names: list[str] | None = None) -> dict[str, int]:
        """The version of every table (or of those named) at this moment."""
        return {name: self.version(name) for name in names or TABLES}

    def maintain(self, name: str, *, keep_versions: list[int] | None = None) -> None:
        """Compact small files, write a checkpoint, and delete what no retained or pinned version needs."""
        handle = self._refreshed(name)
        handle.optimize.compact(writer_properties=writer_properties(contract(name), 1_000_000))
        handle.create_checkpoint()
        handle.vacuum(dry_run=False, keep_versions=keep_versions)

    def needs_compaction(self, name: str) -> bool:
        return len(self._refreshed(name).file_uris()) > COMPACT_AFTER_COMMITS

    def _uri(self, name: str) -> str:
        return f"{self.location.rstrip('/')}/{name}"

    def _refreshed(self, name: str) -> DeltaTable:
        if name in self._handles:
            try:
                self._handles[name].update_incremental()
                return self._handles[name]
            except (DeltaError, OSError) as error:
                raise StoreError(f"{name}: cannot read {self._uri(name)}: {error}") from error
        return self._open(name)

    def _open(self, name: str) -> DeltaTable:
        if name not in self._handles:
            self._handles[name] = self._create_or_open(contract(name))
        return self._handles[name]

    def _create_or_open(self, table: Table) -> DeltaTable:
        uri = self._uri(table.name)
        try:
            if not DeltaTable.is_deltatable(uri, storage_options=self.storage_options):
                self._create(table, uri)
            handle = DeltaTable(uri, storage_options=self.storage_options)
        except (DeltaError, OSError) as error:
            raise StoreError(f"{table.name}: cannot open {uri}: {error}") from error
        layout = int(handle.metadata().configuration.get(LAYOUT_KEY, LAYOUT_VERSION))
        if layout > LAYOUT_VERSION:
            raise StoreError(f"{uri} has layout {layout}, this program knows {LAYOUT_VERSION}: update spo")
        return handle

    def _create(self, table: Table, uri: str) -> None:
        if "://" not in uri:
            os.makedirs(uri, exist_ok=True)
        DeltaTable.create(
            uri,
            schema=with_partitions(table, table.arrow_schema),
            mode="ignore",
            partition_by=[partition_name(column) for column in table.partition_by],
            description=table.purpose,
            configuration={"delta.enableChangeDataFeed": "true", LAYOUT_KEY: str(LAYOUT_VERSION)},
            storage_options=self.storage_options,
            raise_if_key_not_exists=False,
        )


def contract(name: str) -> Table:
    try:
        return TABLES[name]
    except KeyError:
        raise StoreError(f"no table {name}; there are: {', '.join(TABLES)}") from None


def partition_name(column: str) -> str:
    return f"p_{column}"


def with_partitions(table: Table, schema: pa.Schema) -> pa.Schema:
    for column in table.partition_by:
        schema = schema.append(pa.field(partition_name(column), pa.string()))
    return schema


def to_arrow(table: Table, rows: pl.DataFrame) -> pa.Table:
    rows = rows.with_columns(pl.col(column).alias(partition_name(column)) for column in table.partition_by)
    return rows.to_arrow().cast(with_partitions(table, table.arrow_schema))


def writer_properties(table: Table, rows: int) -> WriterProperties:
    """zstd, with a bloom filter on the columns that single rows are looked up by."""
    bloom = ColumnProperties(bloom_filter_properties=BloomFilterProperties(True, fpp=0.01, ndv=max(rows, 1)))
    return WriterProperties(
        compression="ZSTD",
        compression_level=3,
        column_properties={column: bloom for column in table.bloom_filter} or None,
    )
