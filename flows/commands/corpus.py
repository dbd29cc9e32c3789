"""`spo corpus`: publish the data that a run trains on, inspect it, compare two versions, export it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from flows.commands.common import STORE, JsonOption, StoreOption, open_store
from flows.commands.completion import corpora
from flows.display.terminal import echo

if TYPE_CHECKING:
    from pipeline.corpora import Corpus

app = typer.Typer(
    help="Corpora: the rows that a query selected, at pinned table versions.", no_args_is_help=True
)
KeyArgument = Annotated[
    str,
    typer.Argument(
        help="Name of a corpus (its newest version), or the start of its id.", autocompletion=corpora
    ),
]
SHOWN_ID = 12


@app.command("list")
def list_(store: StoreOption = STORE, as_json: JsonOption = False) -> None:
    """List the published corpora, newest first.

    Example: `spo corpus list --json`
    """
    from flows.display.terminal import show_table
    from pipeline.corpora import list_corpora

    rows = list_corpora(open_store(store)).drop("statistics").to_dicts()
    if as_json:
        return typer.echo(json.dumps(rows, default=str))
    listed = [
        row
        | {"corpus_id": row["corpus_id"][:SHOWN_ID], "published_at": f"{row['published_at']:%Y-%m-%d %H:%M}"}
        for row in rows
    ]
    show_table("Corpora", listed, file=sys.stdout)


@app.command()
def publish(
    files: Annotated[
        list[Path],
        typer.Argument(help="Definition files (.toml or .sql), see `pipeline/corpora/publication.py`."),
    ],
    store: StoreOption = STORE,
    as_json: JsonOption = False,
) -> None:
    """Publish the rows that a definition selects now. Publishing the same rows again gives the same id.

    Example: `spo corpus publish data/corpora/humans.sql`
    """
    from flows.display.terminal import show_table
    from pipeline.corpora import publish, read_spec
    from pipeline.store import undetermined

    opened = open_store(store)
    specs = [read_spec(file) for file in files]
    for spec in specs:
        if reason := undetermined(spec.query):
            echo(f"warning: corpus {spec.name}: {reason}", err=True)
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
    """Show a corpus: statistics, table versions, and the query that selected it.

    Examples: `spo corpus show humans` -- `spo corpus show 3f9a --json`
    """
    from pipeline.corpora import load

    described = description(load(open_store(store), key))
    if as_json:
        return typer.echo(json.dumps(described, default=str))
    statistics = described.pop("statistics")
    query = described.pop("query").strip()
    for name, value in {**described, **statistics}.items():
        echo(f"{name:<24} {json.dumps(value) if isinstance(value, dict) else value}")
    echo(f"\n{query}")


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
        typer.Option("--output", "-o", help="table (counts); csv, json or jsonl; or a file for all rows."),
    ] = "table",
    store: StoreOption = STORE,
) -> None:
    """Show which rows were added, removed, or have another reward from one corpus to another.

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
        sides = (f"{one.name} {one.corpus_id:.12} ({len(one.rows):,} rows)" for one in (old, new))
        return show_table(" -> ".join(sides), counts, file=sys.stdout)
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
    form: Annotated[
        Literal["parquet", "atif", "nemo_gym", "tinker_capture", "rollout_store"],
        typer.Option("--format", help="parquet with a data card, or a format of another tool."),
    ] = "parquet",
    store: StoreOption = STORE,
) -> None:
    """Write a corpus as plain Parquet with a data card, which `datasets.load_dataset(folder)` reads, or in a
    format that `spo ingest FORMAT folder` reads back.

    Example: `spo corpus export humans exported/`
    """
    from pipeline.corpora import INTERCHANGE_LOST, export, export_as, load

    opened = open_store(store)
    if form == "parquet":
        return echo(export(opened, load(opened, key), folder))
    echo(export_as(opened, load(opened, key), folder, form))
    echo(f"lost when it is read back: {', '.join(INTERCHANGE_LOST)}", err=True)
