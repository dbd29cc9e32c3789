"""What a person sees while flows run: progress with rate and time left, and a table at the end of each."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

console = Console(stderr=True)
if not console.is_terminal:
    console.width = 160  # a log file folds nothing
PLAIN_EVERY_S = 10.0

Update = Callable[[int, int], None]


class Rate(ProgressColumn):
    def render(self, task) -> Text:
        return Text(f"{task.speed:,.0f}/s" if task.speed else "", style="dim")


@contextmanager
def progress(what: str, unit: str) -> Iterator[Update]:
    """Yield `update(done, total)`. A bar on a terminal; elsewhere a plain line every few seconds."""
    if not console.is_terminal:
        yield plain_progress(what, unit)
        return
    what_column = TextColumn("{task.description:<34}")
    columns = (what_column, BarColumn(24), MofNCompleteColumn(), TextColumn(unit), Rate(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def plain_progress(what: str, unit: str) -> Update:
    started = last = time.monotonic()

    def update(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < PLAIN_EVERY_S:
            return
        last = now
        rate = done / (now - started)
        left = (total - done) / rate if rate else 0
        print(f"{what}: {done:,} of {total:,} {unit}, {rate:,.1f}/s, {left:,.0f} s left", file=sys.stderr, flush=True)

    return update


def show_table(title: str, rows: list[dict], file: TextIO | None = None) -> None:
    """A table of rows with the same keys, numbers to the right; on the terminal, or where a command's answer goes."""
    target = console if file is None else Console(file=file, width=None if file.isatty() else 1000)
    if not rows:
        target.print(f"[bold]{escape(title)}[/]: nothing")
        return
    target.print(f"[bold]{escape(title)}[/]")  # as wide as it is: a title of the table would be folded to the table's width
    table = Table(header_style="dim", box=None, padding=(0, 2, 0, 0))
    for name, value in rows[0].items():
        table.add_column(name, justify="right" if isinstance(value, int | float) else "left")
    for row in rows:
        table.add_row(*(escape(shown(value)) for value in row.values()))
    target.print(table)
    if file is None:
        target.print()


def shown(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return "" if value is None else str(value).lower()
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
