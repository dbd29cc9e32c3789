"""The report of a run of `spo train` or of the demo."""

from __future__ import annotations

from pathlib import Path

from prefect import flow, task
from prefect.artifacts import create_link_artifact

from flows.runtime.rules import IN_MEMORY
from flows.runtime.turns import done
from pipeline.store import Store


@flow(name="report", flow_run_name="{run_folder}", **IN_MEMORY)
def report_flow(store: str, run_folder: str, target: str) -> str:
    """Write the report of a run."""
    path = report_task(store, run_folder, target)
    link = Path(path).resolve().as_uri()
    create_link_artifact(key="report", link=link, link_text="report", description=f"Report of {run_folder}")
    return done(path, f"written to {path}")


@task(name="write report")
def report_task(store: str, run_folder: str, target: str) -> str:
    # Imported here: it loads matplotlib, which no other stage needs.
    from pipeline.evaluation.report import write_report

    return str(write_report(Store(store), Path(run_folder), Path(target)))
