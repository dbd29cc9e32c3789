"""The store: its tables, sizes, versions and pins; and its quarantine."""

from __future__ import annotations

from typing import Any

from flows.view.checking import CHECKS
from flows.view.connections import rows
from flows.view.versions import newest, parse, text_of
from flows.view.visit import NotFound, Visit
from pipeline.store import TABLES, VIEWS, Store

REASONS = "SELECT * FROM quarantine_reasons ORDER BY refused DESC, adapter, reason LIMIT 500"
DAYS = 30
GROWTH = f"""
WITH added AS (
    SELECT CAST(created_at AS DATE) AS day, 'trajectories: ' || origin AS what, count(*) AS rows
    FROM trajectories GROUP BY ALL
    UNION ALL SELECT CAST(judged_at AS DATE), 'verdicts', count(*) FROM verdicts GROUP BY ALL
    UNION ALL SELECT CAST(scored_at AS DATE), 'reference_scores', count(*) FROM reference_scores GROUP BY ALL
)
SELECT day, what, rows FROM added
WHERE day IN (SELECT DISTINCT day FROM added ORDER BY day DESC LIMIT {DAYS}) ORDER BY day DESC, what
"""
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


def growth(visit: Visit) -> tuple[str, dict[str, Any]]:
    """Rows by the day on which they were made, for the last DAYS days with any: part of the page of the
    store, or a page.
    """
    days: dict[Any, dict[str, int]] = {}
    for one in rows(visit.connection, GROWTH):
        days.setdefault(one["day"], {})[one["what"]] = one["rows"]
    columns = sorted({what for counts in days.values() for what in counts})
    largest = max((sum(counts.values()) for counts in days.values()), default=1)
    facts = {"days": days, "columns": columns, "largest": largest}
    return "growth_part.html" if visit.get("part") else "growth.html", facts


def schedules(visit: Visit) -> tuple[str, dict[str, Any]]:
    """Scheduled flows with links into Prefect's pages: part of the page of the store, or a page."""
    template = "schedules_part.html" if visit.get("part") else "schedules.html"
    return template, {"schedules": visit.explorer.schedules()}


def checks(visit: Visit) -> Any:
    """Outcomes of the checks of the newest store: part of the page of the store, or a page. `start` begins
    one; `state` is what the page asks while it follows one.
    """
    from starlette.responses import JSONResponse, RedirectResponse

    checking = visit.explorer.checking
    if kind := visit.get("start"):
        if kind not in CHECKS:
            raise NotFound(f"no check {kind[:100]!r}; there are: {', '.join(CHECKS)}")
        checking.start(kind)
        return RedirectResponse(visit.link("checks"), 303)
    state, finished = checking.state
    if visit.get("state"):
        return JSONResponse({"state": state, "finished": finished})
    facts = {"checks": CHECKS, "outcomes": checking.outcomes(), "state": state, "running": not finished}
    return "checks_part.html" if visit.get("part") else "checks.html", facts


def quarantine(visit: Visit) -> tuple[str, dict[str, Any]]:
    """Refused rows by reason."""
    return "quarantine.html", {"reasons": rows(visit.connection, REASONS)}
