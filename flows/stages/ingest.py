"""Ingestion: add the rows of a source to the store."""

from __future__ import annotations

from prefect import flow, task

from flows.runtime.rules import IN_MEMORY, TASK_RETRIES, with_timeout
from flows.work.ingest import ingest_source, read_source

ingest_task = task(name="ingest files", **TASK_RETRIES)(read_source)


@flow(name="ingest", flow_run_name="{adapter} {source}", **IN_MEMORY)
def ingest_flow(
    store: str,
    adapter: str,
    source: str,
    limit: int | None = None,
    columns: dict[str, str] | None = None,
    mapping: dict[str, str] | None = None,
    timeout_s: float | None = None,
) -> list[dict]:
    """Ingest a source; every row is accepted, already present, or in quarantine."""
    read = with_timeout(ingest_task, timeout_s)
    return ingest_source(store, adapter, source, limit, columns, mapping, read=read)
