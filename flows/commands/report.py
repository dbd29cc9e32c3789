"""`spo report`: write the report of a run, or of several side by side."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated

import typer

from flows.commands.common import DATA, STORE, StoreOption, use_server, works_alone
from flows.display.terminal import echo


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Folders of runs of `spo train`, a schedule or the demo."),
    ],
    store: StoreOption = STORE,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the report; default: below `data/reports`, by the names of the runs."),
    ] = None,
    explorer: Annotated[
        str | None,
        typer.Option(help="Address of a running explorer that figures link to; default: the one that runs."),
    ] = None,
) -> None:
    """Write the report of a run: `data/reports/<run>/index.html`, which opens from disk.

    It compares the run's policy with its reference, from evaluations of `spo eval`, and shows curves,
    verdicts and samples. Several runs are shown over each other; those that differ in their seed alone
    are one configuration, with its mean and range. While `spo view` runs, every figure links to it.

    Examples: `spo report data/runs/mine` -- `spo report data/runs/demo-1a2b3c4d`
    -- `spo report data/runs/spo-* data/runs/ppo-*`
    """
    from flows.commands.running_explorer import find_explorer, named_explorer
    from pipeline.store import Store

    location = Store(store).location
    links = named_explorer(explorer, DATA / "runs") if explorer else find_explorer(location)
    target = out or DATA / "reports" / name_of(runs)
    if works_alone(store):
        from pipeline.evaluation.report import write_report

        echo(str(write_report(Store(store), runs, target, links)))
        return
    use_server()
    from flows.stages.report import report_flow

    known = {"address": links.address, "runs": str(links.runs)} if links else None
    echo(report_flow(str(store), [str(run) for run in runs], str(target), known))


def name_of(runs: list[Path]) -> str:
    """The folder of a report: the name of its run, or of the first of several with a hash of all."""
    first = runs[0].resolve().name
    if len(runs) == 1:
        return first
    names = "\0".join(sorted(str(run.resolve()) for run in runs))
    return f"{first}+{len(runs) - 1}-{hashlib.blake2b(names.encode(), digest_size=4).hexdigest()}"
