"""`spo quarantine`: the rows that ingestion refused, and how to retry them after a fix."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer

from flows.commands.common import STORE, StoreOption, assignments, open_store, show_next
from flows.display.terminal import echo, progress, show_table

app = typer.Typer(
    help="Rows that ingestion refused: list them, show them, retry them after a fix.",
    no_args_is_help=True,
)

SHOWN_BYTES = 2_000
AdapterOption = Annotated[str | None, typer.Option(help="Only rows of this adapter.")]
FileOption = Annotated[str | None, typer.Option(help="Only rows of files whose name contains this text.")]
ReasonOption = Annotated[str | None, typer.Option(help="Only rows whose reason contains this text.")]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON lines on stdout instead of a table.")]
IdsArgument = Annotated[list[str] | None, typer.Argument(help="Ids of rows, or the start of them.")]


@app.command("list")
def list_groups(store: StoreOption = STORE, as_json: JsonOption = False) -> None:
    """Count the refused rows by source and reason. `open` counts those that no retry has admitted yet.

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
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of rows.")] = 5,
    raw: Annotated[
        bool,
        typer.Option(
            "--raw", help="Only the bytes as they were read, one line per row; escaped on a terminal."
        ),
    ] = False,
    every: Annotated[bool, typer.Option("--all", help="Also rows that a retry has admitted.")] = False,
    store: StoreOption = STORE,
) -> None:
    """Show refused rows as they were read, with file, line and reason.

    Example: `spo quarantine show --limit 5`
    """
    from pipeline.ingest import Selection, entries, read_raw

    opened = open_store(store)
    selected = entries(opened, Selection(adapter, file, reason, tuple(ids or ())), only_open=not every)
    rows = selected.head(limit)
    raw_rows = read_raw(opened, rows["quarantine_id"].to_list())
    for row in rows.iter_rows(named=True):
        text = raw_rows[row["quarantine_id"]]
        if raw and sys.stdout.isatty():
            echo(text.decode(errors="backslashreplace"))
        elif raw:
            sys.stdout.buffer.write(text + b"\n")
        else:
            show_entry(row, text)
    if not rows.height:
        echo("no row matches", err=True)
    elif selected.height > rows.height:
        echo(
            f"{rows.height:,} of {selected.height:,} rows; show more with --limit,"
            " select with --file, --reason, --adapter",
            err=True,
        )


def show_entry(row: dict[str, Any], text: bytes) -> None:
    """Print a refused row: where it was, why it was refused, and its beginning, escaped so that it cannot
    imitate our own output.
    """
    from pipeline.text import visible_line

    reason = f"{row['field']}: {row['reason']}" if row["field"] else row["reason"]
    location = f"{row['quarantine_id']}  {row['source_file']}:{row['source_line']}  {row['adapter']}"
    echo(f"{visible_line(location)}\n  {visible_line(reason)}")
    excerpt = text[:SHOWN_BYTES].decode(errors="backslashreplace").replace("\n", "\n  ")
    more = f" ... ({len(text):,} bytes; --raw shows all)" if len(text) > SHOWN_BYTES else ""
    echo(f"  {excerpt}{more}\n")


@app.command()
def retry(
    ids: IdsArgument = None,
    adapter: Annotated[
        str | None, typer.Option(help="Only rows of this adapter; FILE.py:NAME for your own adapter.")
    ] = None,
    file: FileOption = None,
    reason: ReasonOption = None,
    encoding: Annotated[
        str | None, typer.Option(help="Read the rows in this encoding, e.g. latin-1.")
    ] = None,
    set_columns: Annotated[
        list[str] | None, typer.Option("--set", help="COLUMN=VALUE, as in `spo ingest`.")
    ] = None,
    store: StoreOption = STORE,
    as_json: JsonOption = False,
) -> None:
    """Retry open rows: after an adapter was fixed, after a missing problem was ingested, or with another
    encoding.

    Example: `spo quarantine retry --reason "neither in the store"`
    """
    from dataclasses import asdict

    from pipeline.adapters import load
    from pipeline.ingest import Selection
    from pipeline.ingest import retry as retry_rows

    if adapter and ".py:" in adapter:
        adapter = load(adapter).name
    selection = Selection(adapter, file, reason, tuple(ids or ()))
    with progress("retry", "rows") as update:
        results = retry_rows(
            open_store(store),
            selection,
            encoding=encoding,
            columns=assignments(set_columns, "--set"),
            on_progress=update,
        )
    rows = [asdict(one) for one in results]
    if as_json:
        typer.echo("\n".join(map(json.dumps, rows)))
        return
    columns = ("adapter", "source_file", "rows", "admitted", "refused")
    show_table("Retried", [{name: row[name] for name in columns} for row in rows])
    reasons = [{"rows": count, "reason": reason} for row in rows for reason, count in row["reasons"].items()]
    if reasons:
        show_table("Refused again", reasons)
    if any(row["admitted"] for row in rows):
        show_next(store, "spo deduplicate")
