"""Maintenance: compact tables, delete unneeded files, and report the health of the store."""

from __future__ import annotations

from prefect import flow, task

from flows.runtime.rules import IN_MEMORY, TASK_RETRIES
from flows.work.maintain import compact_tables, maintain_store

maintain_task = task(name="compact tables", **TASK_RETRIES)(compact_tables)


@flow(name="maintain", flow_run_name="{store}", **IN_MEMORY)
def maintain_flow(store: str, every_table: bool = False, retention_hours: int | None = None) -> dict:
    """Compact the tables that have many small files, delete files that nothing needs, and report the store's
    health.

    Files that a pin or a published corpus needs stay. `every_table`: also tables with few files.
    """
    return maintain_store(store, every_table, retention_hours, compact=maintain_task)
