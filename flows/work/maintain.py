"""Maintenance: compact tables, delete unneeded files, and report the health of the store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from flows.runtime.turns import done, turn
from flows.work.artifacts import page_artifact, report_table, table_artifact
from flows.work.health import store_health
from pipeline.store import TABLES, Store


def maintain_store(
    store: str,
    every_table: bool = False,
    retention_hours: int | None = None,
    *,
    compact: Callable[..., list[dict]] | None = None,
) -> Any:
    """Compact tables, and report the store's health.

    `compact`: what replaces `compact_tables`, a task in a Prefect run.
    """
    with turn(store, "maintain"):
        rows = (compact or compact_tables)(store, every_table, retention_hours)
    health = store_health(store)
    if rows:
        report_table("maintained", "Maintained", rows)
    table_artifact("health", health["tables"], f"Tables of {store}")
    page_artifact("health-notes", health["page"], f"Health of {store}")
    message = f"{len(rows)} tables compacted; " + (
        f"{len(health['warnings'])} warnings: {health['warnings'][0]}"
        if health["warnings"]
        else "no warnings"
    )
    return done({"maintained": rows, **health}, message, cached=not rows and not health["warnings"])


def compact_tables(
    store_path: str, every_table: bool = False, retention_hours: int | None = None
) -> list[dict]:
    store, rows = Store(store_path), []
    for name in TABLES:
        if store.needs_compaction(name) or (every_table and store.version(name) >= 0):
            rows.append({"table": name, **asdict(store.maintain(name, retention_hours=retention_hours))})
    return rows
