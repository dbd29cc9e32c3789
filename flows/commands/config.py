"""`spo config`: every key of the files that `spo train` and `spo serve` read."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from flows.commands.common import JsonOption, finish
from flows.commands.completion import objectives


def config(
    search: Annotated[
        str | None, typer.Argument(help="Only keys whose section, name or meaning has this text.")
    ] = None,
    objective: Annotated[
        str | None, typer.Option(help="The keys of this objective, not of all.", autocompletion=objectives)
    ] = None,
    schedule: Annotated[bool, typer.Option("--schedule", help="The keys of a schedule file.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List every key of a run's file, or of a schedule file: section, type, default and meaning.

    Examples: `spo config` -- `spo config learning_rate` -- `spo config --objective ppo`
    -- `spo config --schedule`
    """
    from flows.display.terminal import show_table
    from trainer.objectives import OBJECTIVES
    from trainer.run import run_keys

    if objective is not None and objective not in OBJECTIVES:
        raise typer.BadParameter(f"there are: {', '.join(sorted(OBJECTIVES))}", param_hint="--objective")
    if schedule:
        from flows.serving.keys import schedule_keys

        rows = schedule_keys()
    else:
        rows = run_keys(objective)
    wanted = (search or "").lower()
    chosen = [
        asdict(row) | {"default": "required" if row.default is None else row.default}
        for row in rows
        if wanted in f"[{row.section}] {row.key} {row.meaning}".lower()
    ]
    if not chosen:
        raise typer.BadParameter(f"no key has {search!r}; `spo config` lists all", param_hint="SEARCH")
    show_table("Keys", chosen)
    finish({"keys": chosen}, as_json)
