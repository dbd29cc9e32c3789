"""`spo show`: whatever has an id, in the terminal."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.commands.common import STORE, JsonOption, StoreOption, finish, open_store
from flows.commands.completion import records

if TYPE_CHECKING:
    from rich.console import RenderableType

LONG = {
    "program", "completion", "prompt", "statement", "starter_code", "preamble", "query", "raw", "token_ids",
    "token_logprobs", "programs", "details", "statistics",
}  # fmt: skip
# What belongs to a record, as tables of these columns.
TABLES = {
    "verdicts": ("verdict", "passed", "total", "first_failure", "cpu_s", "memory_mb", "tier", "judged_at"),
    "tests": ("test_id", "kind", "mode", "input_characters", "output_characters"),
    "rates": ("policy_id", "origin", "samples", "successes", "rate"),
    "trajectories": ("trajectory_id", "verdict", "passed", "total", "origin", "policy_id", "language"),
    "duplicates": ("trajectory_id", "level", "origin", "policy_id"),
    "corpora": ("name", "corpus_id", "published_at"),
}
PROGRAM_CHARACTERS, TEXT_CHARACTERS = 60_000, 20_000
ROWS = 40
Record = dict[str, Any]


def show(
    identity: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            help="Of a problem, trajectory, policy, corpus, batch or refused row.",
            autocompletion=records,
        ),
    ],
    pager: Annotated[bool, typer.Option(help="Use the pager where the output is a terminal.")] = True,
    store: StoreOption = STORE,
    as_json: JsonOption = False,
) -> None:
    """Show whatever has this id: its columns and texts, and what belongs to a problem or trajectory.

    Examples: `spo show mbpp/11` -- `spo show 9dd4858590ec885b46305166a11f351c` -- `spo show mine --json`
    """
    from pipeline.store import connect

    with connect(open_store(store)) as connection:
        kind, facts = read(connection, identity)
    if kind is None:
        raise typer.BadParameter(f"nothing in {store} has the whole id {identity}", param_hint="ID")
    if as_json:
        return finish({"kind": kind, **plain(facts)}, True)
    write(list(parts(kind, facts)), pager)


def read(connection: Any, identity: str) -> tuple[str | None, Record]:
    """The kind of record that has this id, and what is shown of it; (None, {}) if nothing has it."""
    from flows.view.records import read_problem, read_record, read_trajectory

    row = read_record(connection, identity)
    if row is None:
        return None, {}
    kind, record = row
    if kind == "problem":
        return kind, read_problem(connection, identity) or {}
    if kind == "trajectory":
        return kind, read_trajectory(connection, identity) or {}
    return kind, {kind: record}


def plain(value: Any) -> Any:
    """The value with bytes as text, for JSON."""
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return value.decode("utf-8", errors="backslashreplace") if isinstance(value, bytes) else value


def parts(kind: str, facts: Record) -> list[RenderableType]:
    """What to print of a record. Every text of the store has its control characters as escapes."""
    record = facts[kind]
    shown: list[RenderableType] = [columns_of(kind, record)]
    language = record.get("language") or "python3"
    for name in ("statement", "prompt", "completion", "starter_code", "program", "query"):
        if record.get(name):
            coloured = {"program": language, "starter_code": language, "query": "sql"}.get(name)
            shown += [heading(name), text_of(record[name], coloured)]
    for name in ("details", "statistics", "programs"):
        if record.get(name):
            shown += [heading(name), text_of(pretty(record[name]), "json")]
    if record.get("raw"):
        shown += [heading("raw"), text_of(plain(record["raw"]), None)]
    if failure := facts.get("failure"):
        shown += failure_of(failure)
    for name, columns in TABLES.items():
        if rows := facts.get(name):
            shown += [heading(name), table_of(rows, columns)]
    return shown


def columns_of(title: str, record: Record) -> RenderableType:
    from rich.table import Table

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.title, table.title_justify = f"[bold]{title}[/]", "left"
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in record.items():
        if name not in LONG and value is not None:
            table.add_row(safe(name), safe(shown_value(value, name)))
    return table


def table_of(rows: list[Record], names: tuple[str, ...]) -> RenderableType:
    """The first ROWS rows."""
    from rich.table import Table

    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    for name in names:
        table.add_column(safe(name), overflow="fold")
    for row in rows[:ROWS]:
        table.add_row(*(safe(shown_value(row[name], name)[:200]) for name in names))
    if len(rows) > ROWS:
        table.caption = f"{len(rows) - ROWS} more rows; spo view shows them"
    return table


def failure_of(failure: Record) -> list[RenderableType]:
    """The first failed test: input, and expected against printed output as a difference."""
    from rich.text import Text

    from flows.view.programs import differences

    shown: list[RenderableType] = [heading(f"first failure: test {failure['test_id']}")]
    result, test = failure["result"] or {}, failure["test"]
    shown.append(safe(f"{result.get('verdict', '')}  {result.get('detail') or ''}"))
    if test is None:
        return shown
    shown += [heading("input"), text_of(test["input"], None)]
    expected, printed = test["expected_output"], result.get("output_head")
    if expected is not None and printed is not None:
        lines = Text()
        for kind, line in differences(expected, printed):
            sign, style = {"added": ("+", "green"), "removed": ("-", "red")}.get(kind, (" ", "dim"))
            lines.append_text(Text(f"{sign} ", style=style)).append_text(safe(line)).append("\n")
        shown += [heading("expected (-) and printed (+)"), lines]
    return shown


def heading(text: str) -> RenderableType:
    from rich.text import Text

    from pipeline.text import visible_line

    return Text(f"\n{visible_line(text)}", style="bold")


def text_of(text: str, language: str | None) -> RenderableType:
    """A text, coloured as a program where a language is given."""
    from pipeline.text import visible

    limit = PROGRAM_CHARACTERS if language else TEXT_CHARACTERS
    left = len(text) - limit
    text = visible(text[:limit]) + (f"\n... {left:,} more characters" if left > 0 else "")
    if language is None:
        return safe(text)
    from rich.syntax import Syntax

    from flows.view.programs import lexer_of

    return Syntax(text, lexer_of(language), theme="ansi_dark", background_color="default", word_wrap=True)


def safe(text: str) -> Any:
    """Text of the store for a terminal: no markup is read in it, and control characters are escapes."""
    from rich.text import Text

    from pipeline.text import visible

    return Text(visible(text))


def shown_value(value: Any, name: str) -> str:
    from flows.display.terminal import shown

    return shown(value, name) if not isinstance(value, list | dict) else str(plain(value))[:400]


def pretty(text: str) -> str:
    from flows.view.formats import pretty as with_line_ends

    return with_line_ends(text)


def write(shown: list[RenderableType], pager: bool) -> None:
    """Print to standard output, through the pager where that is a terminal."""
    from rich.console import Console

    console = Console(file=sys.stdout, highlight=False)
    if not console.is_terminal:
        console.width = 160
    if pager and console.is_terminal:
        # less shows colours, and ends at once where the text fits on the screen.
        os.environ.setdefault("LESS", "-RFX")
        with console.pager(styles=True, links=False):
            for one in shown:
                console.print(one)
        return
    for one in shown:
        console.print(one)
