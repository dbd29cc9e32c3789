"""`spo ingest`: bring a source into the store."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.commands.common import (
    STORE,
    JsonOption,
    StoreOption,
    assignments,
    finish,
    show_next,
    use_server,
)
from pipeline.adapters import BUILT_IN, load

_BUILT_IN = "\n\n".join(f"* `{name}` {what}" for name, what in BUILT_IN.items())
ADAPTERS = f"**Adapters**\n\n{_BUILT_IN}\n\n* `FILE.py:NAME` one of your own, see pipeline/adapters/README.md"


def ingest(
    adapter: Annotated[str, typer.Argument(help="What the source is: one of the adapters below.")],
    source: Annotated[str, typer.Argument(help="File, folder or Hub name.")],
    limit: Annotated[int | None, typer.Option(min=1, help="Problems at most, chosen by hash.")] = None,
    said: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="COLUMN=VALUE of all its trajectories: origin, policy_id, run_id, temperature, ..."
        ),
    ] = None,
    store: StoreOption = STORE,
    as_json: JsonOption = False,
) -> None:
    """Bring a source into the store; a finished one costs a look-up.

    Examples: `spo ingest plain my-solutions.jsonl.gz` -- `spo ingest verl runs/a/rollouts --set
    policy_id=qwen3-8b`
    """
    columns = assignments(said, "--set")
    load(adapter)  # a mistyped name is told at once, not after a server has started
    use_server()
    from flows.stages.ingest import ingest_flow

    rows = ingest_flow(str(store), adapter, source, limit, columns)
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
