"""`spo sql`: query the store, from the command line, a file, a pipe, or at an interactive prompt."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from flows.commands.common import DATA, STORE, StoreOption, assignments, open_store

TABLE_ROWS = 60


def sql(
    statement: Annotated[str | None, typer.Argument(help="A query, or @NAME of a saved question.")] = None,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="Read the query from a file; - is standard input.")
    ] = None,
    output: Annotated[
        str,
        typer.Option("--output", "-o", help="table, csv, json, jsonl, or a file: .csv .json .jsonl .parquet"),
    ] = "table",
    parameter: Annotated[
        list[str] | None,
        typer.Option("--parameter", "-p", help="NAME=VALUE for a $NAME in the query; repeatable."),
    ] = None,
    rows: Annotated[
        int, typer.Option("--rows", min=1, help="Maximum rows of a table; files and pipes get all rows.")
    ] = TABLE_ROWS,
    read_write: Annotated[
        bool,
        typer.Option(
            "--read-write", help="Allow other files, COPY and SET; SQL never changes the store itself."
        ),
    ] = False,
    questions: Annotated[bool, typer.Option("--questions", help="List the saved questions.")] = False,
    store: StoreOption = STORE,
) -> None:
    """Query the store, read-only. Without a query, opens an interactive prompt.

    Examples: `spo sql` -- `spo sql @best_policies` -- `spo sql -f query.sql -o rows.parquet` --
    `spo sql "select origin, count(*) from trajectories group by all" -o csv`
    """
    from flows.commands.sql_answer import answer, list_questions
    from pipeline.store import connect

    if questions:
        return list_questions()
    if statement is not None and file is not None:
        raise typer.BadParameter("give a query or a file, not both", param_hint="--file")
    if statement is None and file is None and sys.stdin.isatty():
        from flows.commands.prompt import prompt

        return prompt(open_store(store), DATA / "sql_history", rows, read_only=not read_write)
    with connect(open_store(store), read_only=not read_write) as connection:
        answer(connection, query_text(statement, file), assignments(parameter, "--parameter"), output, rows)


def query_text(statement: str | None, file: Path | None) -> str:
    if statement is not None:
        return statement
    if file is None or str(file) == "-":
        return sys.stdin.read()
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"cannot read {file}: {error}", param_hint="--file") from error
