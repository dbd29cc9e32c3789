"""The report of runs of `spo train`, of a schedule or of the demo."""

from __future__ import annotations

from pathlib import Path

from prefect import flow, task
from prefect.artifacts import create_link_artifact

from flows.runtime.rules import IN_MEMORY
from flows.runtime.turns import done
from pipeline.store import Store


@flow(name="report", flow_run_name="{target}", **IN_MEMORY)
def report_flow(
    store: str, run_folders: list[str], target: str, explorer: dict[str, str] | None = None
) -> str:
    """Write the report of one run or several. `explorer`: address and folder of runs of the running one."""
    path = report_task(store, run_folders, target, explorer)
    link, names = Path(path).resolve().as_uri(), ", ".join(run_folders)
    create_link_artifact(key="report", link=link, link_text="report", description=f"Report of {names}")
    return done(path, f"written to {path}")


@task(name="write report")
def report_task(store: str, run_folders: list[str], target: str, explorer: dict[str, str] | None) -> str:
    # Imported here: it loads matplotlib, which no other stage needs.
    from pipeline.evaluation.report import Explorer, write_report

    links = Explorer(explorer["address"], Path(explorer["runs"])) if explorer else None
    return str(write_report(Store(store), run_folders, Path(target), links))
