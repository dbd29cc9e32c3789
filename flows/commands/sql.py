"""`spo sql`: ask the store anything, from the command line, a file, a pipe, or at a prompt."""

from __future__ import annotations

import io
import shutil
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.common import DATA, STORE, StoreOption, assignments, open_store
from flows.display.terminal import echo

if TYPE_CHECKING:
    import duckdb

STREAMED = ("csv", "json", "jsonl")
TABLE_ROWS = 60
READ_ROWS = 10_000
CELL_WIDTH = 80
UNLIMITED_WIDTH = 100_000  # a pipe folds nothing and hides no column


def sql(
    statement: Annotated[str | None, typer.Argument(help="A query, or @NAME of a worked question.")] = None,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="Read the query from a file; - is standard input.")
    ] = None,
    output: Annotated[
        str,
        typer.Option("--output", "-o", help="table, csv, json, jsonl, or a file: .csv .json .jsonl .parquet"),
    ] = "table",
    parameter: Annotated[
        list[str] | None, typer.Option("--parameter", "-p", help="NAME=VALUE for a $NAME in the query.")
    ] = None,
    rows: Annotated[
        int, typer.Option("--rows", min=1, help="Rows shown of a table; files and pipes get all.")
    ] = TABLE_ROWS,
    read_write: Annotated[
        bool,
        typer.Option(
            "--read-write", help="Allow other files, COPY and SET; the store itself is never changed by SQL."
        ),
    ] = False,
    questions: Annotated[bool, typer.Option("--questions", help="List the worked questions.")] = False,
    store: StoreOption = STORE,
) -> None:
    """Ask the store anything, read-only; without a query, at a prompt.

    Examples: `spo sql` -- `spo sql @best_policies` -- `spo sql -f query.sql -o rows.parquet` --
    `spo sql "select origin, count(*) from trajectories group by all" -o csv`
    """
    from pipeline.store import connect

    if questions:
        return list_questions()
    if statement is not None and file is not None:
        raise typer.BadParameter("give a query or a file, not both", param_hint="--file")
    if statement is None and file is None and sys.stdin.isatty():
        from flows.commands.prompt import prompt

        return prompt(open_store(store), DATA / "sql_history", rows, read_only=not read_write)
    with connect(open_store(store), read_only=not read_write) as connection:
        answer(connection, text_of(statement, file), assignments(parameter, "--parameter"), output, rows)


def list_questions() -> None:
    from pipeline.store import questions

    for question in questions():
        echo(f"@{question.name:<28} {question.title}")


def text_of(statement: str | None, file: Path | None) -> str:
    if statement is not None:
        return statement
    if file is None or str(file) == "-":
        return sys.stdin.read()
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"cannot read {file}: {error}", param_hint="--file") from error


def answer(
    connection: duckdb.DuckDBPyConnection, text: str, parameters: dict[str, str], output: str, rows: int
) -> None:
    """Run a query and put its result where `output` says."""
    from pipeline.store import sql, sql_output

    found = sql.relation(connection, text, parameters)
    if found is None:
        return
    if output in STREAMED:
        sql_output.write(found, sys.stdout.buffer, output)
        sys.stdout.flush()
    elif output != "table":
        sql_output.write_file(found, Path(output))
    else:
        with sql.errors_in_one_line():
            show(found, rows)


def show(found: duckdb.DuckDBPyRelation, rows: int) -> None:
    """DuckDB's own table, as wide as the terminal, of at most READ_ROWS rows. A plan is text, and printed as it is."""
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
