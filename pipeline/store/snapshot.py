"""Snapshots: the rows of a table at one version, as polars, pyarrow and DuckDB read them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable

from pipeline.store.contracts import Table
from pipeline.store.data_files import compare
from pipeline.store.errors import StoreError
from pipeline.store.parquet import partition_name

if TYPE_CHECKING:
    # Loading it takes a second, for pandas comes with it; only stores elsewhere need it.
    import pyarrow.dataset

# A table that nobody has written to yet is at this version, and empty.
NOT_CREATED = -1


@dataclass(frozen=True)
class Snapshot:
    """The rows of a table at one version: later appends and compactions do not change it."""

    table: Table
    version: int
    files: tuple[str, ...]
    storage_options: dict[str, str] | None = None
    uri: str = ""

    def verify(self) -> None:
        """Compare local files with what was committed, each once while it is unchanged in this process.

        Raises StoreError, which names the first file that is damaged, exchanged or gone.
        """
        try:
            compare(file for file in self.files if "://" not in file)
        except StoreError as error:
            raise StoreError(f"{self.table.name}: {error}") from error

    def scan(self) -> pl.LazyFrame:
        """Lazy frame with the contract's columns; a column newer than a file reads as null there.

        Raises StoreError for a file that is not what was committed.
        """
        self.verify()
        empty = self.table.empty
        if not self.files:
            return empty.lazy()
        columns = dict(empty.schema) | {partition_name(c): pl.String() for c in self.table.partition_by}
        frame = pl.scan_parquet(
            list(self.files),
            glob=False,
            schema=pl.Schema(columns),
            hive_partitioning=bool(self.table.partition_by),
            missing_columns="insert",
            extra_columns="ignore",
            storage_options=self.storage_options,
        )
        return frame.select(empty.columns)

    def read(self, columns: list[str] | None = None) -> pl.DataFrame:
        """All rows, or some columns of them. Raises StoreError for an unknown column or a damaged file,
        which it names.
        """
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
        self.verify()
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
