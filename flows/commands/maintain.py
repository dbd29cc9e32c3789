"""`spo maintain`: the maintenance flow and its health report."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from flows.commands.common import (
    STORE,
    JsonOption,
    StoreOption,
    finish,
    is_small_store,
    use_server,
    works_alone,
)


def maintain(
    every_table: Annotated[
        bool, typer.Option("--every-table", help="Also compact tables with few files.")
    ] = False,
    retention_hours: Annotated[
        int | None, typer.Option(min=0, help="Hours for which unused files are kept; default 168.")
    ] = None,
    store: StoreOption = STORE,
    as_json: JsonOption = False,
) -> None:
    """Compact tables, delete unneeded files, and report the store's health: judge errors, last batch, free
    disk.

    Examples: `spo maintain` -- `spo maintain --json`
    """
    from flows.display.terminal import console

    run: Callable[..., Any]
    if works_alone(store) and is_small_store(store):
        from flows.work.maintain import maintain_store

        run = maintain_store
    else:
        use_server()
        from flows.stages.maintain import maintain_flow

        run = maintain_flow

    result = run(str(store), every_table, retention_hours)
    for name, value in result["figures"].items():
        console.print(f"{name.replace('_', ' '):<18} {value}", highlight=False, markup=False)
    for line in result["warnings"]:
        console.print(f"warning: {line}", highlight=False, markup=False)
    finish(result, as_json)
