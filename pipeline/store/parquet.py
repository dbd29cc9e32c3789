"""Rows as Parquet files of a table: types, partition copies, row groups, compression, bloom filters, and
their statistics.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from pipeline.later import later
from pipeline.store.data_files import DataFile, HashingSink
from pipeline.store.places import Place
from pipeline.store.tables import Table

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa
    import pyarrow.parquet as pq
else:
    pl = later("polars")
    pa = later("pyarrow")
    pq = later("pyarrow.parquet")

# A look-up reads one row group: 40,000 rows take a third of the time of 400,000, and cost scans and
# compression next to nothing.
ROW_GROUP_ROWS = 40_000
# Appends compress quickly, compaction thoroughly: what is written often is small and short-lived, what stays
# is compacted.
APPEND_LEVEL, COMPACT_LEVEL = 1, 3
# Least and greatest values are kept for texts up to this length: longer ones would be whole in the file,
# several times.
STATISTICS_BYTES = 64
# A file ends with the row group that reaches this size.
FILE_BYTES = 100 * 2**20
# In a file's own metadata: its append, and which of its partitions, so that a lost log entry can be made
# again.
PRODUCER_KEY, SEQUENCE_KEY = "spo.producer", "spo.sequence"
COMMIT_KEY, PARTITIONS_KEY = "spo.commit", "spo.partitions"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def partition_name(column: str) -> str:
    return f"p_{column}"


def with_partitions(table: Table, schema: pa.Schema) -> pa.Schema:
    for column in table.partition_by:
        schema = schema.append(pa.field(partition_name(column), pa.string()))
    return schema


def write_rows(
    place: Place, table: Table, rows: pl.DataFrame, metadata: Mapping[str, str] | None = None
) -> list[DataFile]:
    """Data files of new rows, one or more for each partition; not yet committed, and not flushed."""
    keep = columns_with_statistics(rows)
    files: list[DataFile] = []
    parts = list(partitions(table, rows))
    metadata = dict(metadata or {}) | {PARTITIONS_KEY: str(len(parts))}
    for values, part in parts:
        groups = (to_arrow(table, group) for group in part.iter_slices(ROW_GROUP_ROWS))
        files += write_groups(place, table, groups, values, APPEND_LEVEL, keep, metadata)
    return files


def partitions(table: Table, rows: pl.DataFrame) -> Iterator[tuple[dict[str, str | None], pl.DataFrame]]:
    if not rows.height:
        return
    if not table.partition_by:
        yield {}, rows
        return
    parts = rows.partition_by(*table.partition_by, as_dict=True, maintain_order=True)
    for values, part in parts.items():
        yield dict(zip(map(partition_name, table.partition_by), values, strict=True)), part


def to_arrow(table: Table, rows: pl.DataFrame) -> pa.Table:
    """The rows in the order of the contract.

    Texts stay views, which Parquet stores like strings: making strings copies them all. Texts within lists
    become strings, because the writer cannot slice views there.
    """
    views = rows.select(table.arrow_schema.names).to_arrow(compat_level=pl.CompatLevel.newest())
    fields = [
        stored if pa.types.is_nested(stored.type) else view
        for stored, view in zip(table.arrow_schema, views.schema, strict=True)
    ]
    return views.cast(pa.schema(fields))


def columns_with_statistics(rows: pl.DataFrame) -> list[str]:
    """Columns of plain values, and those texts that are short in every row."""
    lengths = rows.select(pl.col(pl.String).str.len_bytes().max()).row(0) if rows.height else ()
    texts = dict(zip(rows.select(pl.col(pl.String)).columns, lengths, strict=False))
    return [
        name
        for name, kind in rows.schema.items()
        if not kind.is_nested() and kind != pl.Binary and (texts.get(name) or 0) <= STATISTICS_BYTES
    ]


def write_groups(
    place: Place,
    table: Table,
    groups: Iterator[pa.Table],
    partition_values: dict[str, str | None],
    level: int,
    statistics_of: list[str],
    metadata: Mapping[str, str] | None = None,
) -> list[DataFile]:
    """Files of row groups, of at most ROW_GROUP_ROWS rows each; `statistics_of` are columns that get least
    and greatest values.
    """
    folder = "/".join(f"{name}={value}" for name, value in partition_values.items())
    files = []
    for first in groups:
        written = _ParquetFile(table, first, groups, level, statistics_of, dict(metadata or {}))
        path, size, modified_ms = place.put(folder, written.write)
        files.append(DataFile(path, size, partition_values, modified_ms, written.stats()))
    return files


class _ParquetFile:
    """One file: row groups until it is large enough, then what the log says of it."""

    def __init__(
        self,
        table: Table,
        first: pa.Table,
        more: Iterator[pa.Table],
        level: int,
        statistics_of: list[str],
        metadata: dict[str, str],
    ):
        self.first, self.more, self.metadata = first, more, metadata
        self.footer: list[pq.FileMetaData] = []
        distinct = max(min(first.num_rows, ROW_GROUP_ROWS), 1)
        self.options: dict[str, Any] = {
            "compression": "zstd",
            "compression_level": level,
            "write_statistics": statistics_of,
            "store_schema": False,
            "metadata_collector": self.footer,
            "bloom_filter_options": {c: {"ndv": distinct, "fpp": 0.01} for c in table.bloom_filter} or None,
        }

    def write(self, sink: HashingSink) -> None:
        try:
            with pq.ParquetWriter(pa.PythonFile(sink, mode="w"), self.first.schema, **self.options) as writer:
                if self.metadata:
                    writer.add_key_value_metadata(self.metadata)
                group: pa.Table | None = self.first
                while group is not None:
                    writer.write_table(group, row_group_size=ROW_GROUP_ROWS)
                    group = next(self.more, None) if sink.size < FILE_BYTES else None
        except RuntimeError as error:
            # The writer reports that it cannot finish the file; why not is what the disk said before.
            if isinstance(error.__context__, OSError):
                raise error.__context__ from error
            raise

    def stats(self) -> str:
        return statistics(self.footer[0])


def statistics(footer: pq.FileMetaData) -> str:
    """Number of rows, and minima, maxima and null counts by column, as JSON of the Delta protocol."""
    least: dict[str, Any] = {}
    greatest: dict[str, Any] = {}
    nulls: dict[str, int] = {}
    for number in range(footer.num_columns):
        chunks = [footer.row_group(group).column(number) for group in range(footer.num_row_groups)]
        name = chunks[0].path_in_schema if chunks else ""
        chunk_statistics = [chunk.statistics for chunk in chunks]
        if (
            "." in name
            or not chunk_statistics
            or any(part is None or not part.has_null_count for part in chunk_statistics)
        ):
            continue
        nulls[name] = sum(part.null_count for part in chunk_statistics)
        bounds = [part for part in chunk_statistics if part.has_min_max]
        limits = [limits_of(part) for part in bounds]
        if (
            limits
            and not any(None in pair for pair in limits)
            and all(part.has_min_max or not part.num_values for part in chunk_statistics)
        ):
            least[name] = min(low for low, _ in limits)
            greatest[name] = max(high for _, high in limits)
    return json.dumps(
        {"numRecords": footer.num_rows, "minValues": least, "maxValues": greatest, "nullCount": nulls},
        separators=(",", ":"),
    )


def limits_of(part: pq.Statistics) -> tuple[Any, Any]:
    """Least and greatest value of a chunk as JSON of the Delta protocol; None for what it cannot say.

    Times are read as microseconds: `min` and `max` of a time import pandas, which takes as long as ingesting
    thousands of rows.
    """
    if part.logical_type.type == "TIMESTAMP":
        return time_text(part.min_raw), time_text(part.max_raw)
    return plain(part.min), plain(part.max)


def time_text(microseconds: int) -> str:
    """A time in microseconds since 1970, UTC, as the Delta protocol writes it."""
    return (EPOCH + timedelta(microseconds=microseconds)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def plain(value: Any) -> Any:
    """A bound as JSON of the Delta protocol has it; None for one that it cannot say."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return value if not isinstance(value, float) or math.isfinite(value) else None
