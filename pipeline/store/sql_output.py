"""Writes query results as CSV, JSON, JSON lines or Parquet, batch by batch, so that they need not fit into
memory.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

from pipeline.later import later
from pipeline.store.sql import SqlError, errors_in_one_line, quoted

if TYPE_CHECKING:
    import duckdb
    import polars as pl
    import pyarrow as pa
    import pyarrow.parquet as pq
else:
    duckdb = later("duckdb")
    pl = later("polars")
    pa = later("pyarrow")
    pq = later("pyarrow.parquet")

FORMATS = ("csv", "json", "jsonl", "parquet")
BATCH_ROWS = 50_000
NESTED = ("list", "array", "struct", "map", "union")


def write_file(relation: duckdb.DuckDBPyRelation, path: Path) -> None:
    """Write a result in the format of the suffix. The file appears only when everything is written.

    Raises SqlError for an unknown suffix, a folder that cannot be written, and errors of the query.
    """
    format = path.suffix.removeprefix(".")
    if format not in FORMATS:
        raise SqlError(
            f"{path}: unknown format {format!r}; use one of the suffixes"
            f" {', '.join('.' + name for name in FORMATS)}"
        )
    unfinished = path.with_name(f".{path.name}.unfinished-{os.getpid()}")
    try:
        with open(unfinished, "wb") as file:
            write_rows(relation, file, format)
        os.replace(unfinished, path)
    except OSError as error:
        raise SqlError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        unfinished.unlink(missing_ok=True)


def write_rows(relation: duckdb.DuckDBPyRelation, file: IO[bytes], format: str) -> None:
    """Write a result to an open binary file. CSV has lists and structs as JSON text; JSON is an array of
    objects.

    Raises the OSError of the file, e.g. for a closed pipe. polars would hide it if it wrote the file itself.
    """
    if format == "csv":
        relation = nested_as_json(relation)
    with errors_in_one_line():
        reader = relation.to_arrow_reader(BATCH_ROWS)
        if format == "parquet":
            with pq.ParquetWriter(file, reader.schema, compression="zstd") as writer:
                for batch in reader:
                    writer.write_batch(batch)
        elif format == "csv":
            for number, frame in enumerate(frames(reader)):
                file.write(frame.write_csv(include_header=number == 0).encode())
        elif format == "jsonl":
            for frame in frames(reader):
                file.write(frame.write_ndjson().encode())
        else:
            opening = b"["
            for frame in frames(reader):
                if frame.height:
                    file.write(opening + frame.write_ndjson().rstrip("\n").replace("\n", ",\n").encode())
                    opening = b",\n"
            file.write(b"]\n" if opening != b"[" else b"[]\n")


def frames(reader: pa.RecordBatchReader) -> Iterator[pl.DataFrame]:
    """Batches as frames, the first one empty, so that a result without rows still has a header."""
    yield pl.DataFrame(reader.schema.empty_table())
    for batch in reader:
        yield pl.DataFrame(batch)


def nested_as_json(relation: duckdb.DuckDBPyRelation) -> duckdb.DuckDBPyRelation:
    columns = (
        f"CAST(to_json({quoted(name)}) AS VARCHAR) AS {quoted(name)}" if kind.id in NESTED else quoted(name)
        for name, kind in zip(relation.columns, relation.types, strict=True)
    )
    return relation.project(", ".join(columns))
