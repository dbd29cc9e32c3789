"""`spo demo`: the whole job, from contest data to a report."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from flows.commands.common import (
    DATA,
    STORE,
    JsonOption,
    StoreOption,
    use_server,
)
from flows.display.terminal import echo


def demo(
    data: Annotated[
        Path | None, typer.Option(help="Folder of real contests, in the layout of the `bundle` adapter.")
    ] = None,
    hub: Annotated[
        str | None, typer.Option(help="DeepMind CodeContests: a Hub name or local parquet files.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Problems taken of each real data set.")] = 350,
    everything: Annotated[bool, typer.Option("--everything", help="Take real data sets whole.")] = False,
    model: Annotated[
        str | None, typer.Option(help="Causal model: a folder, a Hub name or a .gguf file.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="SPO runs from the same reference.")] = 3,
    settings: Annotated[
        Path | None, typer.Option(help="JSON file with more settings of `flows/demo.py:DemoSettings`.")
    ] = None,
    store: StoreOption = STORE,
    as_json: JsonOption = False,
) -> None:
    """The whole job, from contest data to a report with pass@k before and after SPO.

    Examples: `spo demo` (the starter set, nothing else needed) -- `spo demo --data FOLDER --everything` --
    `spo demo --model HuggingFaceTB/SmolLM2-135M-Instruct --seeds 1`
    """
    if data is not None and not data.is_dir():
        raise typer.BadParameter(f"no folder {data}", param_hint="--data")
    use_server()
    from flows.demo import DemoSettings, demo_flow

    given = json.loads(settings.read_text()) if settings else {}
    chosen = DemoSettings(
        **{
            "data": str(data.resolve()) if data else None,
            "hub": hub,
            "limit": None if everything else limit,
            "model": model,
            "seeds": seeds,
            **given,
        }
    )
    found = demo_flow(
        chosen.model_dump(mode="json"), str(store), str(DATA), shlex.join(["spo", *sys.argv[1:]])
    )
    echo(f"report: {found['report']}", err=True)
    if as_json:
        typer.echo(json.dumps(found))
