"""`spo maintain`: the maintenance flow, with its health report."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.commands.common import STORE, JsonOption, StoreOption, finish, use_server


def maintain(
    every_table: Annotated[bool, typer.Option("--every-table", help="Tables with few files too.")] = False,
    retention_hours: Annotated[
        int | None, typer.Option(min=0, help="Keep what was live in the last hours; default 168.")
    ] = None,
    store: StoreOption = STORE,
    as_json: JsonOption = False,
) -> None:
    """Compact, clear up, and say how the store is: sizes, judge errors, the last batch, free disk.

    Examples: `spo maintain` -- `spo maintain --json`
    """
    use_server()
    from flows.display.terminal import console
    from flows.stages.maintain import maintain_flow

    found = maintain_flow(str(store), every_table, retention_hours)
    for name, value in found["figures"].items():
        console.print(f"{name.replace('_', ' '):<18} {value}", highlight=False, markup=False)
    for line in found["warnings"]:
        console.print(f"look at: {line}", highlight=False, markup=False)
    finish(found, as_json)
