"""`spo plan`: how often and how long the fresh rows of a run are worth using again."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from flows.commands.common import JsonOption
from flows.display.terminal import echo

SHOWN = 8  # choices, cheapest first


def plan(
    run: Annotated[Path, typer.Argument(help="Folder of a run that makes or follows fresh rows.")],
    batches: Annotated[int, typer.Option(min=2, help="Batches whose gradients are compared, per age.")] = 8,
    ages: Annotated[int, typer.Option(min=2, help="Number of ages that are told apart.")] = 5,
    cost_ratio: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            help="Time to sample, judge and score a row, by the time to train on it; default: from the log.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure how gradients of older fresh rows agree with those of new ones, and say which replay ratio and
    window reach the same progress in the least time. The run is not changed.

    Examples: `spo plan data/runs/mine` -- `spo plan data/runs/mine --batches 16 --cost-ratio 5`
    """
    from dataclasses import asdict

    from trainer.run import plan_replay

    planned = plan_replay(run, batches=batches, ages=ages, cost_ratio=cost_ratio)
    if as_json:
        return typer.echo(json.dumps(asdict(planned)))
    return show(planned)


def show(planned) -> None:
    """The plan as tables."""
    from flows.display.terminal import show_table

    echo(
        f"{planned.run} at step {planned.step}: a fresh row costs {planned.cost_ratio:.2g} times a row of a"
        f" step; {planned.noise_scale:,.0f} rows give a gradient that is half noise (a batch has"
        f" {planned.batch})"
    )
    measured = zip(planned.bins, planned.similarity, planned.error, strict=True)
    agreement = [
        {
            "age in steps": f"{one.low} to {one.high - 1}",
            "rows": one.rows,
            "agreement with the newest": f"{similarity:.2f} ± {error:.2f}",
        }
        for one, similarity, error in measured
    ]
    show_table("Gradients of fresh rows by age", agreement, file=sys.stdout)
    choices = [
        {
            "uses of a row": one.uses,
            "window (rows)": one.window,
            "oldest row (steps)": one.oldest,
            "time to the same progress": f"{one.cost:.0%}",
        }
        for one in planned.choices[:SHOWN]
    ]
    show_table("Cheapest ways to reuse them; 100%: fresh rows alone, used once", choices, file=sys.stdout)
    best = planned.choices[0]
    echo(f"in the source of fresh rows: window = {best.window}, uses = {best.uses}")
