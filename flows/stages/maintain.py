"""Compact tables, delete what nothing needs, and report the state of the store."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact

from flows.runtime.rules import IN_MEMORY, PATIENT, done, turn
from flows.stages.health import health_of
from pipeline.store import TABLES, Store

if TYPE_CHECKING:
    pass


from flows.stages.artifacts import report_table


@flow(name="maintain", flow_run_name="{store}", **IN_MEMORY)
def maintain_flow(store: str, every_table: bool = False, retention_hours: int | None = None) -> dict:
    """Compact the tables that have gathered many small files, delete what nothing needs any more, and say how
    the store is.

    Files that a pin or a published corpus needs stay. `every_table`: those with few files too.
    """
    with turn(store, "maintain"):
        rows = maintain_task(store, every_table, retention_hours)
    health = health_of(store)
    if rows:
        report_table("maintained", "Maintained", rows)
    create_table_artifact(key="health", table=health["tables"], description=f"Tables of {store}")
    create_markdown_artifact(health["page"], key="health-notes", description=f"Health of {store}")
    said = f"{len(rows)} tables compacted; " + (
        f"{len(health['warnings'])} warnings: {health['warnings'][0]}"
        if health["warnings"]
        else "nothing to worry about"
    )
    return done({"maintained": rows, **health}, said, cached=not rows and not health["warnings"])


@task(name="compact tables", **PATIENT)
def maintain_task(
    store_path: str, every_table: bool = False, retention_hours: int | None = None
) -> list[dict]:
    store, rows = Store(store_path), []
    for name in TABLES:
        if store.needs_compaction(name) or (every_table and store.version(name) >= 0):
            rows.append({"table": name, **asdict(store.maintain(name, retention_hours=retention_hours))})
    return rows
