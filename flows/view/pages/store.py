"""The store: its tables, sizes, versions and pins; and its quarantine."""

from __future__ import annotations

from typing import Any

from flows.view.connections import rows
from flows.view.versions import newest, parse, text_of
from flows.view.visit import Visit
from pipeline.store import TABLES, VIEWS, Store

REASONS = "SELECT * FROM quarantine_reasons ORDER BY refused DESC, adapter, reason LIMIT 500"
INGESTED = "SELECT * FROM ingested ORDER BY started_at DESC LIMIT 100"


def home(visit: Visit) -> tuple[str, dict[str, Any]]:
    """Tables with rows at these versions, and size now; views, pins and the last ingested files."""
    store, pinned = Store(visit.explorer.location), parse(visit.at)
    tables = []
    for name, table in TABLES.items():
        if pinned[name] < 0:
            continue
        counted = rows(visit.connection, f"SELECT count(*) AS n FROM {name}")[0]["n"]
        now = store.statistics(name)
        tables.append(
            {
                "name": name,
                "purpose": table.purpose,
                "rows": counted,
                "version": pinned[name],
                "newest": now.version,
                "added": now.rows - counted,
                "files": now.files,
                "bytes": now.bytes,
            }
        )
    pins = [{"label": label, "versions": held, "at": label} for label, held in sorted(store.pinned().items())]
    return "home.html", {
        "tables": tables,
        "empty": [name for name in TABLES if pinned[name] < 0],
        "views": VIEWS,
        "pins": pins,
        "ingested": rows(visit.connection, INGESTED),
        "is_newest": newest(store) == text_of(pinned),
    }


def schedules(visit: Visit) -> tuple[str, dict[str, Any]]:
    """Scheduled flows with links into Prefect's pages: part of the page of the store, or a page."""
    template = "schedules_part.html" if visit.get("part") else "schedules.html"
    return template, {"schedules": visit.explorer.schedules()}


def quarantine(visit: Visit) -> tuple[str, dict[str, Any]]:
    """Refused rows by reason."""
    return "quarantine.html", {"reasons": rows(visit.connection, REASONS)}
