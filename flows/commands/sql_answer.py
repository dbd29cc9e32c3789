"""Answers of `spo sql` and of its prompt: rows as a table on the terminal, as text in a pipe, or in a file."""

from __future__ import annotations

import io
import shutil
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

from flows.display.terminal import echo

if TYPE_CHECKING:
    import duckdb

STREAMED = ("csv", "json", "jsonl")
READ_ROWS = 10_000
CELL_WIDTH = 80
UNLIMITED_WIDTH = 100_000  # a pipe folds nothing and hides no column


def list_questions() -> None:
    from pipeline.store import questions

    for question in questions():
        echo(f"@{question.name:<28} {question.title}")


def answer(
    connection: duckdb.DuckDBPyConnection, text: str, parameters: dict[str, str], output: str, rows: int
) -> None:
    """Run a query and put its result where `output` says."""
    from pipeline.store import errors_in_one_line, relation, write_file, write_rows

    found = relation(connection, text, parameters)
    if found is None:
        return
    if output in STREAMED:
        write_rows(found, sys.stdout.buffer, output)
        sys.stdout.flush()
    elif output != "table":
        write_file(found, Path(output))
    else:
        with errors_in_one_line():
            show(found, rows)


def show(found: duckdb.DuckDBPyRelation, rows: int) -> None:
    """DuckDB's own table, as wide as the terminal, of at most READ_ROWS rows. A plan is text, and printed
    as it is.
    """
    if "explain_value" in found.columns:
        echo("\n".join(row[-1] for row in found.fetchall()))
        return
    kept = found.limit(READ_ROWS).materialize()
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else UNLIMITED_WIDTH
    with redirect_stdout(io.StringIO()) as table:
        kept.show(max_width=width, max_rows=rows, max_col_width=CELL_WIDTH)
    echo(table.getvalue(), nl=False)
    if len(kept) == READ_ROWS:
        echo(
            f"only the first {READ_ROWS:,} rows were read; -o rows.parquet (or csv, jsonl) gives all",
            err=True,
        )
