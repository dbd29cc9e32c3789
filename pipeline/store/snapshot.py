"""Snapshots of a table, and how rows become its Parquet files: types, partition copies, compression, bloom filters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import BloomFilterProperties, ColumnProperties, DeltaTable, WriterProperties

from pipeline.store.contracts import Table

if TYPE_CHECKING:
    # Loading it takes a second, for pandas comes with it; only stores elsewhere need it.
    import pyarrow.dataset

# A table that nobody has written to yet is at this version, and empty.
NOT_CREATED = -1
# A look-up reads one row group: 40,000 rows take a third of the time of 400,000, and cost scans and compression next to nothing.
ROW_GROUP_ROWS = 40_000
# Appends compress quickly, compaction thoroughly: what is written often is small and short-lived, what stays is compacted.
APPEND_LEVEL, COMPACT_LEVEL = 1, 3
# Least and greatest values stand in the files and in every commit of the log: whole, a long text is there four times.
STATISTICS_BYTES = 64


class StoreError(RuntimeError):
    """The store cannot be opened, read or written; the message says what to do."""


@dataclass(frozen=True)
class Snapshot:
    """The rows of a table at one version: later appends and compactions do not change it."""

    table: Table
    version: int
    files: tuple[str, ...]
    storage_options: dict[str, str] | None = None
    uri: str = ""

    def scan(self) -> pl.LazyFrame:
        """Lazy frame with the contract's columns; a column newer than a file reads as null there."""
        empty = self.table.empty
        if not self.files:
            return empty.lazy()
        columns = dict(empty.schema) | {partition_name(c): pl.String() for c in self.table.partition_by}
        frame = pl.scan_parquet(
            list(self.files),
            schema=pl.Schema(columns),
            hive_partitioning=bool(self.table.partition_by),
            missing_columns="insert",
            extra_columns="ignore",
            storage_options=self.storage_options,
        )
        return frame.select(empty.columns)

    def read(self, columns: list[str] | None = None) -> pl.DataFrame:
        """All rows, or some columns of them. Raises StoreError for an unknown column or a damaged file, which it names."""
        frame = self.scan()
        unknown = set(columns or []) - set(self.table.schema.column_names())
        if unknown:
            known = ", ".join(self.table.schema.column_names())
            raise StoreError(f"{self.table.name}: no column {sorted(unknown)[0]}; there are: {known}")
        try:
            return (frame.select(columns) if columns else frame).collect()
        except (pl.exceptions.PolarsError, OSError) as error:
            raise StoreError(f"{self.table.name}: {damaged(self.files) or error}") from error

    def dataset(self) -> pyarrow.dataset.Dataset:
        """The same rows as a pyarrow dataset, for engines that cannot read object storage themselves."""
        return DeltaTable(
            self.uri, version=self.version, storage_options=self.storage_options
        ).to_pyarrow_dataset()


def damaged(files: tuple[str, ...]) -> str | None:
    """What is wrong with the first local file that cannot be read to its end; None if none can be blamed."""
    for file in files:
        if "://" in file:
            continue
        try:
            for _ in pq.ParquetFile(file).iter_batches():
                pass
        except (pa.ArrowInvalid, OSError) as error:
            return (
                f"{file} is damaged or gone (lost, or deleted by maintenance): {str(error).splitlines()[0]}"
            )
    return None


def partition_name(column: str) -> str:
    return f"p_{column}"


def with_partitions(table: Table, schema: pa.Schema) -> pa.Schema:
    for column in table.partition_by:
        schema = schema.append(pa.field(partition_name(column), pa.string()))
    return schema


def to_arrow(table: Table, rows: pl.DataFrame) -> pa.Table:
    rows = rows.with_columns(pl.col(column).alias(partition_name(column)) for column in table.partition_by)
    return rows.to_arrow().cast(with_partitions(table, table.arrow_schema))


def writer_properties(table: Table, rows: int, level: int) -> WriterProperties:
    """zstd at a level, with a bloom filter on the columns that single rows are looked up by, one for each row group."""
    distinct = max(min(rows, ROW_GROUP_ROWS), 1)
    bloom = ColumnProperties(bloom_filter_properties=BloomFilterProperties(True, fpp=0.01, ndv=distinct))
    return WriterProperties(
        compression="ZSTD",
        compression_level=level,
        max_row_group_size=ROW_GROUP_ROWS,
        statistics_truncate_length=STATISTICS_BYTES,
        column_properties={column: bloom for column in table.bloom_filter} or None,
    )
