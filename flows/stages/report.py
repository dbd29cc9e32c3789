"""Write the report of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from prefect import flow, task
from prefect.artifacts import create_link_artifact

from flows.runtime.rules import IN_MEMORY, done
from pipeline.store import Store

if TYPE_CHECKING:
    pass


@flow(name="report", flow_run_name="{run_folder}", **IN_MEMORY)
def report_flow(store: str, run_folder: str, target: str) -> str:
    """Write the report of a run."""
    path = report_task(store, run_folder, target)
    link = Path(path).resolve().as_uri()
    create_link_artifact(key="report", link=link, link_text="report", description=f"Report of {run_folder}")
    return done(path, f"written to {path}")


@task(name="write report")
def report_task(store: str, run_folder: str, target: str) -> str:
    from pipeline.evaluation.report import (
        write_report,
    )  # draws with matplotlib, which no other stage should wait for

    return str(write_report(Store(store), Path(run_folder), Path(target)))
