"""The prompt of `spo sql`: SQL over one snapshot of the store, with completion, colours and a history."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import duckdb
import typer
from prompt_toolkit import PromptSession
from prompt_toolkit.completion import Completer, FuzzyCompleter, WordCompleter
from prompt_toolkit.filters import Condition
from prompt_toolkit.history import FileHistory
from prompt_toolkit.lexers import PygmentsLexer
from pygments.lexers.sql import SqlLexer

from flows.commands.sql_answer import answer, list_questions
from pipeline.store import (
    TABLES,
    VIEWS,
    SqlError,
    Store,
    StoreError,
    connect,
    kind_of,
    meaning,
    question,
    questions,
)

HELP = """A query ends with a semicolon and may take several lines. @NAME; answers a worked question.
  .tables            tables and ready views       .describe NAME   columns of one, with what they mean
  .questions         the worked questions         .explain NAME    what a worked question asks and how to read it
  .output FORMAT     table, csv, json, jsonl, or a file that the next results go to
  .refresh           see what was added since     .quit            or Ctrl-D"""


class Prompt:
    """State of one sitting: the store, the snapshot that queries see, and where results go."""

    def __init__(self, store: Store, rows: int, read_only: bool):
        self.store, self.rows, self.read_only, self.output = store, rows, read_only, "table"
        self.connection = connect(store, read_only=read_only)

    def refresh(self) -> None:
        self.connection.close()
        self.connection = connect(self.store, read_only=self.read_only)

    def run(self, text: str) -> bool:
        """Do what a line asks; False when it asks to leave. Errors are printed in one line."""
        text = text.strip()
        try:
            if text.startswith("."):
                return self.command(*text.rstrip(";").split())
            if text.strip(";"):
                start = time.monotonic()
                self.stoppable(lambda: answer(self.connection, text, {}, self.output, self.rows))
                typer.echo(f"{time.monotonic() - start:.2f} s", err=True)
        except (SqlError, StoreError) as error:
            typer.echo(f"error: {error}", err=True)
        except KeyboardInterrupt:
            typer.echo("stopped", err=True)
        return True

    def stoppable(self, work: Callable[[], None]) -> None:
        """Do it in a thread of its own, so that Ctrl-C reaches this one at once and stops the query."""
        with ThreadPoolExecutor(1) as thread:
            running = thread.submit(work)
            try:
                running.result()
            except KeyboardInterrupt:
                while not running.done():  # an interrupt that comes before the query has begun is forgotten
                    self.connection.interrupt()
                    wait([running], timeout=0.1)
                raise

    def command(self, name: str, *arguments: str) -> bool:
        match name, *arguments:
            case ((".quit" | ".exit"), *_):
                return False
            case [".tables"]:
                typer.echo("tables: " + ", ".join(TABLES) + "\nviews:  " + ", ".join(VIEWS))
            case [".describe", table] if table in TABLES:
                self.describe(table)
            case [".describe", view]:
                answer(self.connection, f"describe {view}", {}, "table", self.rows)
            case [".questions"]:
                list_questions()
            case [".explain", name]:
                typer.echo(question(name.removeprefix("@")).sql)
            case [".output", target]:
                self.output = target
            case [".refresh"]:
                self.refresh()
                typer.echo(greeting(self.store), err=True)
            case _:
                typer.echo(HELP, err=True)
        return True

    def describe(self, table: str) -> None:
        columns = TABLES[table].schema.columns()
        for field in TABLES[table].arrow_schema:
            typer.echo(f"  {field.name:<20} {kind_of(field.type):<20} {meaning(columns[field.name])}")


def prompt(store: Store, history: Path, rows: int, *, read_only: bool) -> None:
    """Read and answer until Ctrl-D or .quit."""
    history.parent.mkdir(parents=True, exist_ok=True)
    sitting = Prompt(store, rows, read_only)
    session: PromptSession[str] = PromptSession(
        "spo> ",
        multiline=Condition(lambda: not complete(session.default_buffer.text)),
        prompt_continuation=lambda width, *_: "...> ".rjust(width),
        lexer=PygmentsLexer(SqlLexer),
        completer=completer(sitting.connection),
        complete_while_typing=False,
        history=FileHistory(str(history)),
    )
    typer.echo(f"{greeting(store)}\n.help says what else there is; Ctrl-D leaves.", err=True)
    while True:
        try:
            text = session.prompt()
        except KeyboardInterrupt:
            continue  # Ctrl-C drops what was typed
        except EOFError:
            break
        if not sitting.run(text):
            break
    sitting.connection.close()


def complete(text: str) -> bool:
    """Whether Enter ends the input: a semicolon at the end, a command, or nothing."""
    text = text.strip()
    return not text or text.endswith(";") or text.startswith((".", "@"))


def greeting(store: Store) -> str:
    rows = store.statistics("trajectories").rows
    return f"SQL on {store.location} as it is at {time.strftime('%H:%M:%S')}: {rows:,} trajectories."


def completer(connection: duckdb.DuckDBPyConnection) -> Completer:
    """Keywords, tables, views, columns, questions and the prompt's own commands."""
    names = "SELECT keyword_name FROM duckdb_keywords() UNION SELECT column_name FROM duckdb_columns() WHERE NOT internal"
    words = {name for (name,) in connection.execute(names).fetchall()} | {*TABLES, *VIEWS}
    words |= {f"@{each.name}" for each in questions()}
    words |= {".tables", ".describe", ".questions", ".explain", ".output", ".refresh", ".quit", ".help"}
    return FuzzyCompleter(WordCompleter(sorted(words), ignore_case=True), pattern=r"^([.@]?\w*)")
