"""Terminal output of flows: progress with rate and remaining time, and a table at the end of each."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast
from uuid import UUID

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Column, Table
from rich.text import Text


class VisibleConsole(Console):
    """A console that prints control characters as escapes, because texts may come from data."""

    def print(self, *objects: Any, **options: Any) -> None:
        from pipeline.text import visible

        super().print(*(visible(one) if isinstance(one, str) else one for one in objects), **options)


console = VisibleConsole(stderr=True)
if not console.is_terminal:
    console.width = 160  # lines of a log file are not folded
PLAIN_EVERY_S = 10.0
ARTIFACT_EVERY_S = 5.0

Update = Callable[[int, int], None]


class Rate(ProgressColumn):
    def render(self, task) -> Text:
        return Text(f"{task.speed:,.0f}/s" if task.speed else "", style="dim")


class Count(ProgressColumn):
    """The completed and total counts, never truncated."""

    def __init__(self):
        super().__init__(table_column=Column(no_wrap=True))

    def render(self, task) -> Text:
        return Text(
            f"{task.completed:,.0f}" + (f"/{task.total:,.0f}" if task.total else ""),
            style="progress.download",
        )


@contextmanager
def progress(what: str, unit: str) -> Iterator[Update]:
    """Yield `update(done, total)`: a progress bar on a terminal, else a plain line every few seconds.

    In a Prefect run that takes more than a few seconds, progress is an artifact, too.
    """
    artifact = ProgressArtifact(what, unit)
    with shown_progress(what, unit) as update:

        def both(done: int, total: int) -> None:
            update(done, total)
            artifact.update(done, total)

        yield both
    artifact.finish()


@contextmanager
def shown_progress(what: str, unit: str) -> Iterator[Update]:
    if not console.is_terminal:
        yield plain_progress(what, unit)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(16),
        Count(),
        TextColumn(unit),
        Rate(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(escape(_cell(what)), total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


class ProgressArtifact:
    """Progress in Prefect's UI, for tasks that take more than a few seconds. If the server fails, work
    continues.
    """

    def __init__(self, what: str, unit: str):
        self.what, self.unit = what, unit
        self.identity: UUID | None = None
        self.last = time.monotonic()
        self.enabled = in_prefect_run()

    def update(self, done: int, total: int) -> None:
        now = time.monotonic()
        if self.enabled and total and now - self.last >= ARTIFACT_EVERY_S:
            self.last = now
            self.write(min(100.0, 100 * done / total), f"{self.what}: {done:,} of {total:,} {self.unit}")

    def finish(self) -> None:
        if self.identity:
            self.write(100.0, self.what)

    def write(self, percent: float, description: str) -> None:
        import httpx
        from prefect.artifacts import create_progress_artifact, update_progress_artifact
        from prefect.exceptions import PrefectHTTPStatusError

        try:
            if self.identity is None:
                self.identity = cast(UUID, create_progress_artifact(percent, description=description))
            else:
                update_progress_artifact(self.identity, percent, description=description)
        except (httpx.TransportError, PrefectHTTPStatusError) as error:
            self.enabled, self.identity = False, None
            console.print(
                f"{self.what}: progress is no longer sent to Prefect's UI: {error}",
                highlight=False,
                markup=False,
            )


def in_prefect_run() -> bool:
    """Whether this code runs in a task of a Prefect run. Commands without flows do not import Prefect."""
    if "prefect" not in sys.modules:
        return False
    from prefect.context import TaskRunContext

    return TaskRunContext.get() is not None


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
        echo(f"{what}: {done:,} of {total:,} {unit}, {rate:,.1f}/s, {left:,.0f} s left", err=True)

    return update


def echo(text: object, *, err: bool = False, nl: bool = True) -> None:
    """Print text that may come from data, with control characters as escapes."""
    from pipeline.text import visible

    typer.echo(visible(str(text)), err=err, nl=nl)


def show_table(title: str, rows: list[dict], file: TextIO | None = None) -> None:
    """Print a table of rows with the same keys, on the terminal's standard error or to `file`.

    Numbers are right-aligned and never truncated; texts are folded. A single row that is wider than the
    terminal is printed as one line per value.
    """
    target = console if file is None else VisibleConsole(file=file, width=None if file.isatty() else 1000)
    if not rows:
        target.print(f"[bold]{escape(title)}[/]: nothing", highlight=False)
        return
    # Not the title of the table, which would be folded to the table's width.
    target.print(f"[bold]{escape(title)}[/]", highlight=False)
    cells = [[_cell(shown(value, name)) for name, value in row.items()] for row in rows]
    widths = [max(map(len, column)) for column in zip(list(rows[0]), *cells, strict=True)]
    table = Table(header_style="dim", box=None, padding=(0, 2, 0, 0))
    if len(rows) == 1 and sum(widths) + 2 * len(widths) > target.width:
        table.show_header = False
        table.add_column(style="dim", no_wrap=True)
        table.add_column(overflow="fold")
        cells = [[_cell(name), cell] for name, cell in zip(rows[0], cells[0], strict=True)]
    else:
        for name in rows[0]:
            is_number = any(isinstance(row[name], int | float) for row in rows)
            table.add_column(
                escape(_cell(name)),
                justify="right" if is_number else "left",
                no_wrap=is_number,
                overflow="fold",
            )
    for row in cells:
        table.add_row(*map(escape, row))
    target.print(table)
    if file is None:
        target.print()


def _cell(text: str) -> str:
    from pipeline.text import visible

    return visible(text)


def shown(value: object, name: str = "") -> str:
    if isinstance(value, bool) or value is None:
        return "" if value is None else str(value).lower()
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.1f}" if name in ("seconds", "s") else f"{value:.3f}"
    return str(value)
