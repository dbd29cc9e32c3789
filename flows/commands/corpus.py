"""`spo corpus`: publish what a run is trained on, look at it, compare two versions, hand it to others."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.commands.common import STORE, JsonOption, StoreOption, open_store

if TYPE_CHECKING:
    from pipeline.corpora import Corpus

app = typer.Typer(help="Corpora: the rows a query selected, pinned for good.", no_args_is_help=True)
KeyArgument = Annotated[
    str, typer.Argument(help="Name of a corpus (its newest version), or the beginning of an id.")
]
SHOWN_ID = 12


@app.command("list")
def list_(store: StoreOption = STORE, as_json: JsonOption = False) -> None:
    """Published corpora, the newest first.

    Example: `spo corpus list --json`
    """
    from flows.display.terminal import show_table
    from pipeline.corpora import list_corpora

    rows = list_corpora(open_store(store)).drop("statistics").to_dicts()
    if as_json:
        return typer.echo(json.dumps(rows, default=str))
    shown = [
        row
        | {"corpus_id": row["corpus_id"][:SHOWN_ID], "published_at": f"{row['published_at']:%Y-%m-%d %H:%M}"}
        for row in rows
    ]
    show_table("Corpora", shown, file=sys.stdout)


@app.command()
def publish(
    files: Annotated[
        list[Path],
        typer.Argument(help="Definitions: .toml or .sql files, see `pipeline/corpora/publication.py`."),
    ],
    store: StoreOption = STORE,
    as_json: JsonOption = False,
) -> None:
    """Publish the rows that a definition selects now; the same rows again give the same id and add nothing.

    Example: `spo corpus publish data/corpora/humans.sql`
    """
    from flows.display.terminal import show_table
    from pipeline.corpora import publish, read_spec

    opened = open_store(store)
    specs = [read_spec(file) for file in files]
    published = [publish(opened, spec) for spec in specs]
    rows = [
        {
            "corpus_id": corpus.corpus_id,
            "name": corpus.name,
            "rows": len(corpus.rows),
            "reward": corpus.reward,
        }
        for corpus in published
    ]
    if as_json:
        return typer.echo(json.dumps(rows))
    show_table("Published", rows, file=sys.stdout)


@app.command()
def show(key: KeyArgument, store: StoreOption = STORE, as_json: JsonOption = False) -> None:
    """What a corpus holds, from which versions of the tables, and the query that made it.

    Examples: `spo corpus show humans` -- `spo corpus show 3f9a --json`
    """
    from pipeline.corpora import load

    described = description(load(open_store(store), key))
    if as_json:
        return typer.echo(json.dumps(described, default=str))
    statistics = described.pop("statistics")
    query = described.pop("query").strip()
    for name, value in {**described, **statistics}.items():
        typer.echo(f"{name:<24} {json.dumps(value) if isinstance(value, dict) else value}")
    typer.echo(f"\n{query}")


def description(corpus: Corpus) -> dict[str, Any]:
    names = (
        "corpus_id",
        "name",
        "description",
        "reward",
        "parameters",
        "published_at",
        "pins",
        "statistics",
        "query",
    )
    return {name: getattr(corpus, name) for name in names}


@app.command()
def diff(
    before: KeyArgument,
    after: KeyArgument,
    output: Annotated[
        str,
        typer.Option("--output", "-o", help="table (counts), csv, json, jsonl, or a file with every row."),
    ] = "table",
    store: StoreOption = STORE,
) -> None:
    """What came in, what went, and whose reward changed from one corpus to another.

    Example: `spo corpus diff 3f9a humans -o changes.parquet`
    """
    import duckdb

    from flows.commands.sql_answer import STREAMED
    from flows.display.terminal import show_table
    from pipeline.corpora import diff, load
    from pipeline.store import write_file, write_rows

    opened = open_store(store)
    old, new = load(opened, before), load(opened, after)
    changes = diff(opened, old, new)
    if output == "table":
        counts = changes.group_by("change", "origin").len("rows").sort("change", "origin").to_dicts()
        title = f"{old.name} {old.corpus_id:.12} ({len(old.rows):,} rows) -> {new.name} {new.corpus_id:.12} ({len(new.rows):,} rows)"
        return show_table(title, counts, file=sys.stdout)
    with duckdb.connect() as connection:
        rows = connection.from_arrow(changes.to_arrow())
        if output in STREAMED:
            write_rows(rows, sys.stdout.buffer, output)
        else:
            write_file(rows, Path(output))


@app.command()
def export(
    key: KeyArgument,
    folder: Annotated[Path, typer.Argument(help="New folder.")],
    store: StoreOption = STORE,
) -> None:
    """Write a corpus as plain Parquet with a data card, which `datasets.load_dataset(folder)` reads.

    Example: `spo corpus export humans exported/`
    """
    from pipeline.corpora import export, load

    opened = open_store(store)
    typer.echo(export(opened, load(opened, key), folder))
