"""`spo ingest`: add the rows of a source to the store."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from flows.commands.common import (
    STORE,
    JsonOption,
    StoreOption,
    assignments,
    finish,
    is_small_source,
    show_next,
    use_server,
    works_alone,
)
from flows.commands.completion import adapters
from flows.display.terminal import echo
from pipeline.adapters import BUILT_IN, load
from pipeline.adapters.recognition import left_to, recognise

_BUILT_IN = "\n\n".join(f"* `{name}` {what}" for name, what in BUILT_IN.items())
ADAPTERS = (
    f"**Adapters**\n\n{_BUILT_IN}\n\n* `FILE.py:NAME` your own adapter, see pipeline/adapters/README.md"
)


def recognised(source: str) -> str:
    """The adapter that recognises a source; prints all that do. Raises SourceError."""
    recognitions = recognise(source)
    shares = ", ".join(f"{one.adapter} ({one.share:.0%} of the first rows)" for one in recognitions)
    echo(f"Recognised by: {shares}. Taking {recognitions[0].adapter}.", err=True)
    for adapter, count in left_to(recognitions).items():
        files = "a file" if count == 1 else f"{count} files"
        echo(f"It leaves out {files} of {adapter}: spo ingest {adapter} {source}", err=True)
    return recognitions[0].adapter


def ingest(
    adapter: Annotated[
        str,
        typer.Argument(
            help="The source's format: one of the adapters below. Without it, it is recognised.",
            autocompletion=adapters,
        ),
    ],
    source: Annotated[str | None, typer.Argument(help="File, folder or Hub name.")] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Maximum number of problems, selected by hash.")
    ] = None,
    set_columns: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="COLUMN=VALUE for all its trajectories: origin, policy_id, run_id, ...; repeatable.",
        ),
    ] = None,
    mapping: Annotated[
        list[str] | None,
        typer.Option("--map", help="FACT=KEY for the adapter samples, or a TOML file of them; repeatable."),
    ] = None,
    store: StoreOption = STORE,
    as_json: JsonOption = False,
) -> None:
    """Add the rows of a source to the store. A source that is already ingested is looked up.

    Examples: `spo ingest plain my-solutions.jsonl.gz` -- `spo ingest verl runs/a/rollouts --set
    policy_id=qwen3-8b`
    """
    columns = assignments(set_columns, "--set")
    files = {text: "" for text in mapping or [] if text.endswith(".toml")}
    pairs = files | assignments([text for text in mapping or [] if text not in files], "--map")
    if source is None:
        source, adapter = adapter, recognised(adapter)
    load(adapter)  # reports a mistyped name before a server is started
    rows = stage_for(store, source)(str(store), adapter, source, limit, columns, pairs)
    if any(row["quarantined"] for row in rows):
        show_next(
            store,
            "spo quarantine show    # the refused rows",
            "spo quarantine retry    # after a fix",
            "spo deduplicate",
        )
    else:
        show_next(store, "spo deduplicate")
    finish(rows, as_json)


def stage_for(store: str, source: str) -> Callable[..., Any]:
    """What ingests a source: the stage itself if the source is small and no server runs, else its flow."""
    if works_alone(store) and is_small_source(source):
        from flows.work.ingest import ingest_source

        return ingest_source
    use_server()
    from flows.stages.ingest import ingest_flow

    return ingest_flow
