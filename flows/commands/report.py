"""`spo report`: write the report of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.common import DATA, STORE, StoreOption, use_server
from flows.display.terminal import echo


def report(
    run: Annotated[Path, typer.Argument(help="Folder of a run of `spo train` or the demo.")],
    store: StoreOption = STORE,
) -> None:
    """Write the report of a run: `data/reports/<run>/index.html`.

    It compares the run's policy with its reference, from evaluations of `spo eval`, and shows the training
    curves.

    Examples: `spo report data/runs/mine` -- `spo report data/runs/demo-1a2b3c4d`
    """
    use_server()
    from flows.stages.report import report_flow

    echo(report_flow(str(store), str(run), str(DATA / "reports" / run.name)))
