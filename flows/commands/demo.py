"""`spo demo`: the whole pipeline, from contest data to a report."""

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
        Path | None, typer.Option(help="Folder of real contests in the layout of the `bundle` adapter.")
    ] = None,
    hub: Annotated[
        str | None, typer.Option(help="DeepMind CodeContests: a Hub name or local Parquet files.")
    ] = None,
    limit: Annotated[
        int, typer.Option(min=1, help="Maximum number of problems of each real data set.")
    ] = 350,
    everything: Annotated[
        bool, typer.Option("--everything", help="Use all problems of the real data sets.")
    ] = False,
    model: Annotated[
        str | None, typer.Option(help="Causal language model: a folder, a Hub name or a .gguf file.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Number of SPO runs from the same reference policy.")] = 3,
    settings: Annotated[
        Path | None,
        typer.Option(
            help="JSON file with more settings: the fields of `DemoSettings` in flows/demo/settings.py."
        ),
    ] = None,
    store: StoreOption = STORE,
    as_json: JsonOption = False,
) -> None:
    """Run the whole pipeline, from contest data to a report with pass@k before and after SPO.

    Examples: `spo demo` (with the starter set that comes with spo) -- `spo demo --data FOLDER --everything`
    -- `spo demo --model HuggingFaceTB/SmolLM2-135M-Instruct --seeds 1`
    """
    if data is not None and not data.is_dir():
        raise typer.BadParameter(f"{data} is not a folder", param_hint="--data")
    use_server()
    from flows.demo import DemoSettings, demo_flow

    options = {"hub": hub, "limit": None if everything else limit, "model": model, "seeds": seeds}
    options["data"] = str(data.resolve()) if data else None
    more_settings = json.loads(settings.read_text()) if settings else {}
    chosen = DemoSettings(**(options | more_settings))
    summary = demo_flow(
        chosen.model_dump(mode="json"), str(store), str(DATA), shlex.join(["spo", *sys.argv[1:]])
    )
    echo(f"report: {summary['report']}", err=True)
    if as_json:
        typer.echo(json.dumps(summary))
