"""Results of `spo sql` and its prompt: a table on the terminal, text in a pipe, or a file."""

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
UNLIMITED_WIDTH = 100_000  # in a pipe, lines are not folded and no column is hidden


def list_questions() -> None:
    from pipeline.store import questions

    for question in questions():
        echo(f"@{question.name:<28} {question.title}")


def answer(
    connection: duckdb.DuckDBPyConnection, text: str, parameters: dict[str, str], output: str, rows: int
) -> None:
    """Run a query and write its result to `output`: `table`, a format of STREAMED, or a file name."""
    from pipeline.store import errors_in_one_line, relation, write_file, write_rows

    result = relation(connection, text, parameters)
    if result is None:
        return
    if output in STREAMED:
        write_rows(result, sys.stdout.buffer, output)
        sys.stdout.flush()
    elif output != "table":
        write_file(result, Path(output))
    else:
        with errors_in_one_line():
            show(result, rows)


def show(result: duckdb.DuckDBPyRelation, rows: int) -> None:
    """Print DuckDB's own table, as wide as the terminal, of at most READ_ROWS rows. A query plan is printed
    as text.
    """
    if "explain_value" in result.columns:
        echo("\n".join(row[-1] for row in result.fetchall()))
        return
    first_rows = result.limit(READ_ROWS).materialize()
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else UNLIMITED_WIDTH
    with redirect_stdout(io.StringIO()) as table:
        first_rows.show(max_width=width, max_rows=rows, max_col_width=CELL_WIDTH)
    echo(table.getvalue(), nl=False)
    if len(first_rows) == READ_ROWS:
        echo(
            f"only the first {READ_ROWS:,} rows were read; write all with -o rows.parquet (or csv, jsonl)",
            err=True,
        )
