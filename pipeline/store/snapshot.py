"""Snapshots: the rows of a table at one version, for polars, pyarrow and DuckDB."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deltalake import DeltaTable

from pipeline.later import later
from pipeline.store.data_files import compare
from pipeline.store.errors import StoreError
from pipeline.store.tables import Table

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

    # Importing it is slow because it imports pandas; only remote stores need it.
    import pyarrow.dataset
    import pyarrow.parquet as pq
else:
    pl = later("polars")
    pa = later("pyarrow")
    pq = later("pyarrow.parquet")


# Version of a table that was never written to; it is empty.
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
        """Compare local files with their commits; an unchanged file only once per process.

        Raises StoreError with the first file that is damaged, replaced or missing.
        """
        try:
            compare(file for file in self.files if "://" not in file)
        except StoreError as error:
            raise StoreError(f"{self.table.name}: {error}") from error

    def missing_files(self) -> list[str]:
        """Local files of this version that are gone."""
        return [file for file in self.files if "://" not in file and not Path(file).exists()]

    def scan(self) -> pl.LazyFrame:
        """Lazy frame with the contract's columns; a column newer than a file reads as null there.

        Raises StoreError for a file that differs from its commit.
        """
        self.verify()
        empty = self.table.empty
        if not self.files:
            return empty.lazy()
        frame = pl.scan_parquet(
            list(self.files),
            glob=False,
            schema=empty.schema,
            # Every column is in the files. A folder above the store that is named like `origin=x` is no
            # partition.
            hive_partitioning=False,
            missing_columns="insert",
            extra_columns="ignore",
            storage_options=self.storage_options,
        )
        return frame.select(empty.columns)

    def read(self, columns: list[str] | None = None) -> pl.DataFrame:
        """All rows, optionally only some columns.

        Raises StoreError for an unknown column or a damaged file.
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
        """The same rows as a pyarrow dataset, for engines that cannot read object storage."""
        self.verify()
        return DeltaTable(
            self.uri, version=self.version, storage_options=self.storage_options
        ).to_pyarrow_dataset()


def damaged(files: tuple[str, ...]) -> str | None:
    """The fault of the first local file that cannot be read completely; None if there is none."""
    for file in files:
        if "://" in file:
            continue
        try:
            for _ in pq.ParquetFile(file).iter_batches():
                pass
        except (pa.ArrowInvalid, OSError) as error:
            reason = str(error).splitlines()[0]
            return f"{file} is damaged or gone (lost, or deleted by maintenance): {reason}"
    return None
