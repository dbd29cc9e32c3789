"""`spo store`: size of the store, compaction and pins."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from flows.commands.common import STORE, JsonOption, StoreOption, open_store

app = typer.Typer(help="The store: sizes, compaction, pins, check and repair.", no_args_is_help=True)
LabelArgument = Annotated[str, typer.Argument(help="Name of the pin.")]


@app.command()
def status(store: StoreOption = STORE, as_json: JsonOption = False) -> None:
    """Show rows, files, bytes and version of every table.

    Example: `spo store status --store s3://bucket/store`
    """
    from dataclasses import asdict

    from flows.display.terminal import show_table
    from pipeline.store import TABLES

    opened = open_store(store)
    rows = [{"table": name, **asdict(opened.statistics(name))} for name in TABLES]
    if as_json:
        return typer.echo(json.dumps(rows))
    show_table(f"Store {opened.location}", [row for row in rows if row["version"] >= 0], file=sys.stdout)


@app.command()
def maintain(
    tables: Annotated[list[str] | None, typer.Argument(help="Tables; default: all.")] = None,
    retention_hours: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Hours for which unused files are kept; default 168. A reader that takes longer fails.",
        ),
    ] = None,
    store: StoreOption = STORE,
    as_json: JsonOption = False,
) -> None:
    """Compact small files, write checkpoints, and delete unneeded files. Pinned versions stay.

    Examples: `spo store maintain` -- `spo store maintain verdicts --retention-hours 24`
    """
    from dataclasses import asdict

    from flows.display.terminal import show_table
    from pipeline.store import TABLES

    opened = open_store(store)
    rows = [
        {"table": name, **asdict(opened.maintain(name, retention_hours=retention_hours))}
        for name in tables or TABLES
    ]
    if as_json:
        return typer.echo(json.dumps(rows))
    show_table(f"Maintained {opened.location}", rows, file=sys.stdout)


@app.command()
def pins(store: StoreOption = STORE, as_json: JsonOption = False) -> None:
    """List the table versions that maintenance keeps, by pin: names and published corpora.

    Example: `spo store pins --json`
    """
    from flows.display.terminal import show_table

    pinned = open_store(store).pinned()
    if as_json:
        return typer.echo(json.dumps(pinned))
    rows = [
        {"pin": label, "versions": ", ".join(f"{name} {version}" for name, version in versions.items())}
        for label, versions in pinned.items()
    ]
    show_table("Pins", rows, file=sys.stdout)


@app.command()
def pin(label: LabelArgument, store: StoreOption = STORE) -> None:
    """Keep the current version of every table readable until `unpin`.

    Example: `spo store pin paper-figure-3`
    """
    open_store(store).pin(label)


@app.command()
def unpin(label: LabelArgument, store: StoreOption = STORE) -> None:
    """Remove a pin, so that maintenance may delete the versions that only it keeps.

    Example: `spo store unpin paper-figure-3`
    """
    open_store(store).unpin(label)
