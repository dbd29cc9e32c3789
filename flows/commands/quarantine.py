"""`spo quarantine`: what ingestion refused, and trying it again after a fix."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer

from flows.commands.common import STORE, StoreOption, assignments, open_store, show_next
from flows.display.terminal import echo, progress, show_table

app = typer.Typer(
    help="Rows that ingestion refused: list them, show them, try them again after a fix.",
    no_args_is_help=True,
)

SHOWN_BYTES = 2_000
AdapterOption = Annotated[str | None, typer.Option(help="Only rows of this adapter.")]
FileOption = Annotated[str | None, typer.Option(help="Only rows of files with this in their name.")]
ReasonOption = Annotated[str | None, typer.Option(help="Only rows with this in their reason.")]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON lines on stdout instead of a table.")]
IdsArgument = Annotated[list[str] | None, typer.Argument(help="Ids, or beginnings of them.")]


@app.command("list")
def list_groups(store: StoreOption = STORE, as_json: JsonOption = False) -> None:
    """Rows by source and reason, with counts; `open` are those that no retry has got in.

    Example: `spo quarantine list --json`
    """
    from pipeline.ingest import groups

    rows = groups(open_store(store)).to_dicts()
    if as_json:
        typer.echo("\n".join(map(json.dumps, rows)), nl=bool(rows))
    else:
        show_table(f"Quarantine of {store}", rows, file=sys.stdout)
        if any(row["open"] for row in rows):
            show_next(
                store, "spo quarantine show    # the rows themselves", "spo quarantine retry    # after a fix"
            )


@app.command()
def show(
    ids: IdsArgument = None,
    adapter: AdapterOption = None,
    file: FileOption = None,
    reason: ReasonOption = None,
    limit: Annotated[int, typer.Option(min=1, help="Rows at most.")] = 5,
    raw: Annotated[
        bool,
        typer.Option(
            "--raw", help="Nothing but the bytes as they were read, a line each; escaped on a terminal."
        ),
    ] = False,
    every: Annotated[bool, typer.Option("--all", help="Also rows that a retry has got in.")] = False,
    store: StoreOption = STORE,
) -> None:
    """Rows as they were read, with where they stood and why they were refused.

    Example: `spo quarantine show --limit 5`
    """
    from pipeline.ingest import Selection, entries, raw_of

    place = open_store(store)
    found = entries(place, Selection(adapter, file, reason, tuple(ids or ())), only_open=not every)
    rows = found.head(limit)
    kept = raw_of(place, rows["quarantine_id"].to_list())
    for row in rows.iter_rows(named=True):
        text = kept[row["quarantine_id"]]
        if raw and sys.stdout.isatty():
            echo(text.decode(errors="backslashreplace"))
        elif raw:
            sys.stdout.buffer.write(text + b"\n")
        else:
            show_entry(row, text)
    if not rows.height:
        echo("no such row", err=True)
    elif found.height > rows.height:
        echo(
            f"{rows.height:,} of {found.height:,} rows; more: --limit; which: --file, --reason, --adapter",
            err=True,
        )


def show_entry(row: dict[str, Any], text: bytes) -> None:
    """A refused row: where it was, why it was refused, and its beginning, none of which can imitate our
    own lines.
    """
    from pipeline.text import visible_line

    fault = f"{row['field']}: {row['reason']}" if row["field"] else row["reason"]
    place = f"{row['quarantine_id']}  {row['source_file']}:{row['source_line']}  {row['adapter']}"
    echo(f"{visible_line(place)}\n  {visible_line(fault)}")
    shown = text[:SHOWN_BYTES].decode(errors="backslashreplace").replace("\n", "\n  ")
    more = f" ... ({len(text):,} bytes; --raw shows all)" if len(text) > SHOWN_BYTES else ""
    echo(f"  {shown}{more}\n")


@app.command()
def retry(
    ids: IdsArgument = None,
    adapter: Annotated[
        str | None, typer.Option(help="Only rows of this adapter; FILE.py:NAME for one of your own.")
    ] = None,
    file: FileOption = None,
    reason: ReasonOption = None,
    encoding: Annotated[
        str | None, typer.Option(help="Read the rows in this encoding, e.g. latin-1.")
    ] = None,
    said: Annotated[
        list[str] | None, typer.Option("--set", help="COLUMN=VALUE, as with `spo ingest`.")
    ] = None,
    store: StoreOption = STORE,
    as_json: JsonOption = False,
) -> None:
    """Try open rows again: after an adapter was mended, a missing problem came in, or with another encoding.

    Example: `spo quarantine retry --reason "neither in the store"`
    """
    from dataclasses import asdict

    from pipeline.adapters import load
    from pipeline.ingest import Selection
    from pipeline.ingest import retry as try_again

    if adapter and ".py:" in adapter:
        adapter = load(adapter).name
    selection = Selection(adapter, file, reason, tuple(ids or ()))
    with progress("retry", "rows") as update:
        found = try_again(
            open_store(store),
            selection,
            encoding=encoding,
            columns=assignments(said, "--set"),
            on_progress=update,
        )
    rows = [asdict(one) for one in found]
    if as_json:
        typer.echo("\n".join(map(json.dumps, rows)))
        return
    columns = ("adapter", "source_file", "rows", "admitted", "refused")
    show_table("Tried again", [{name: row[name] for name in columns} for row in rows])
    reasons = [{"rows": count, "reason": reason} for row in rows for reason, count in row["reasons"].items()]
    if reasons:
        show_table("Refused again", reasons)
    if any(row["admitted"] for row in rows):
        show_next(store, "spo deduplicate")
