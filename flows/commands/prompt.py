"""The interactive prompt of `spo sql`: SQL on one snapshot of the store, with completion, colours and
history.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import duckdb
from prompt_toolkit import PromptSession
from prompt_toolkit.completion import Completer, FuzzyCompleter, WordCompleter
from prompt_toolkit.filters import Condition
from prompt_toolkit.history import FileHistory
from prompt_toolkit.lexers import PygmentsLexer
from pygments.lexers.sql import SqlLexer

from flows.commands.sql_answer import answer, list_questions
from flows.display.terminal import echo
from pipeline.store import (
    TABLES,
    VIEWS,
    SqlError,
    Store,
    StoreError,
    connect,
    describe_column,
    question,
    questions,
    type_name,
)

HELP = """A query ends with a semicolon and may have several lines. @NAME; runs a saved question.
  .tables            list tables and views        .describe NAME   columns of a table or view
  .questions         list the saved questions     .explain NAME    SQL and explanation of a question
  .output FORMAT     table, csv, json, jsonl, or a file for the next results
  .refresh           read the newest snapshot     .quit            leave (or Ctrl-D)"""


class Prompt:
    """State of one interactive session: the store, the snapshot that queries read, and the output format."""

    def __init__(self, store: Store, rows: int, read_only: bool):
        self.store, self.rows, self.read_only, self.output = store, rows, read_only, "table"
        self.connection = connect(store, read_only=read_only)

    def refresh(self) -> None:
        self.connection.close()
        self.connection = connect(self.store, read_only=self.read_only)

    def run(self, text: str) -> bool:
        """Execute one input. Returns False if it ends the session. Errors are printed in one line."""
        text = text.strip()
        try:
            if text.startswith("."):
                return self.command(*text.rstrip(";").split())
            if text.strip(";"):
                start = time.monotonic()
                self.stoppable(lambda: answer(self.connection, text, {}, self.output, self.rows))
                echo(f"{time.monotonic() - start:.2f} s", err=True)
        except (SqlError, StoreError) as error:
            echo(f"error: {error}", err=True)
        except KeyboardInterrupt:
            echo("stopped", err=True)
        return True

    def stoppable(self, work: Callable[[], None]) -> None:
        """Do `work` in another thread, so that Ctrl-C reaches this thread at once and stops the query."""
        with ThreadPoolExecutor(1) as thread:
            running = thread.submit(work)
            try:
                running.result()
            except KeyboardInterrupt:
                while not running.done():  # DuckDB ignores an interrupt before the query has begun
                    self.connection.interrupt()
                    wait([running], timeout=0.1)
                raise

    def command(self, name: str, *arguments: str) -> bool:
        match name, *arguments:
            case ((".quit" | ".exit"), *_):
                return False
            case [".tables"]:
                echo("tables: " + ", ".join(TABLES) + "\nviews:  " + ", ".join(VIEWS))
            case [".describe", table] if table in TABLES:
                self.describe(table)
            case [".describe", view]:
                answer(self.connection, f"describe {view}", {}, "table", self.rows)
            case [".questions"]:
                list_questions()
            case [".explain", name]:
                echo(question(name.removeprefix("@")).sql)
            case [".output", target]:
                self.output = target
            case [".refresh"]:
                self.refresh()
                echo(greeting(self.store), err=True)
            case _:
                echo(HELP, err=True)
        return True

    def describe(self, table: str) -> None:
        columns = TABLES[table].schema.columns()
        for field in TABLES[table].arrow_schema:
            echo(f"  {field.name:<20} {type_name(field.type):<20} {describe_column(columns[field.name])}")


def prompt(store: Store, history: Path, rows: int, *, read_only: bool) -> None:
    """Read and execute inputs until Ctrl-D or .quit."""
    history.parent.mkdir(parents=True, exist_ok=True)
    state = Prompt(store, rows, read_only)
    session: PromptSession[str] = PromptSession(
        "spo> ",
        multiline=Condition(lambda: not complete(session.default_buffer.text)),
        prompt_continuation=lambda width, *_: "...> ".rjust(width),
        lexer=PygmentsLexer(SqlLexer),
        completer=completer(state.connection),
        complete_while_typing=False,
        history=FileHistory(str(history)),
    )
    echo(f"{greeting(store)}\n.help lists the commands; Ctrl-D leaves.", err=True)
    while True:
        try:
            text = session.prompt()
        except KeyboardInterrupt:
            continue  # Ctrl-C discards the input
        except EOFError:
            break
        if not state.run(text):
            break
    state.connection.close()


def complete(text: str) -> bool:
    """Whether Enter ends the input: a semicolon at the end, a command, or nothing."""
    text = text.strip()
    return not text or text.endswith(";") or text.startswith((".", "@"))


def greeting(store: Store) -> str:
    rows = store.statistics("trajectories").rows
    return f"SQL on {store.location}, snapshot of {time.strftime('%H:%M:%S')}: {rows:,} trajectories."


def completer(connection: duckdb.DuckDBPyConnection) -> Completer:
    """Keywords, tables, views, columns, questions and the prompt's own commands."""
    names = (
        "SELECT keyword_name FROM duckdb_keywords()"
        " UNION SELECT column_name FROM duckdb_columns() WHERE NOT internal"
    )
    words = {name for (name,) in connection.execute(names).fetchall()} | {*TABLES, *VIEWS}
    words |= {f"@{each.name}" for each in questions()}
    words |= {".tables", ".describe", ".questions", ".explain", ".output", ".refresh", ".quit", ".help"}
    return FuzzyCompleter(WordCompleter(sorted(words), ignore_case=True), pattern=r"^([.@]?\w*)")
