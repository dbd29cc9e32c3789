"""What one corpus has that another has not: counts by kind of row, and queries that list the rows."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from flows.view.connections import row, rows
from pipeline.store import judged_of

if TYPE_CHECKING:
    import duckdb

BY = ("source", "origin", "verdict", "policy_id")
MOST_VALUES = 100
CHANGES = """
WITH old AS (SELECT unnest(rows) AS trajectory_id FROM corpora WHERE corpus_id = $before),
new AS (SELECT unnest(rows) AS trajectory_id FROM corpora WHERE corpus_id = $after),
changes AS (
    SELECT trajectory_id, 'added' AS change FROM (FROM new EXCEPT FROM old)
    UNION ALL SELECT trajectory_id, 'removed' AS change FROM (FROM old EXCEPT FROM new)
)
SELECT c.trajectory_id, c.change, t.problem_id, p.source, t.origin, j.verdict, t.policy_id
FROM changes c JOIN trajectories t USING (trajectory_id)
LEFT JOIN (SELECT problem_id, source FROM problems) p USING (problem_id)
LEFT JOIN (SELECT trajectory_id, verdict FROM judged) j USING (trajectory_id)
"""
# The same rows, by sorting the verdicts of the changed rows alone.
COUNTED = CHANGES.replace(
    "(SELECT trajectory_id, verdict FROM judged)",
    judged_of("trajectory_id IN (SELECT trajectory_id FROM changes)"),
)
TOTALS = f"""
SELECT count(*) FILTER (change = 'added') AS added, count(*) FILTER (change = 'removed') AS removed,
    count(DISTINCT problem_id) AS problems,
    count(DISTINCT problem_id) FILTER (change = 'added') AS problems_added,
    count(DISTINCT problem_id) FILTER (change = 'removed') AS problems_removed
FROM ({COUNTED})
"""
GROUPS = f"""
SELECT CAST({{by}} AS VARCHAR) AS value, count(*) FILTER (change = 'added') AS added,
    count(*) FILTER (change = 'removed') AS removed
FROM ({COUNTED}) GROUP BY 1 ORDER BY added + removed DESC, 1 LIMIT {MOST_VALUES}
"""


def compare_corpora(connection: duckdb.DuckDBPyConnection, before: str, after: str) -> dict[str, Any]:
    """Rows added and removed from one corpus to another, by their ids.

    Keys: `totals`; `groups`, per column of BY its values with `added` and `removed`, and per problem.
    """
    ids = {"before": before, "after": after}
    groups = {by: rows(connection, GROUPS.format(by=by), ids) for by in (*BY, "problem_id")}
    return {"totals": row(connection, TOTALS, ids), "groups": groups}


def listing(before: str, after: str, change: str, column: str = "", value: str | None = None) -> str:
    """SQL for the SQL page that lists rows of a change. Texts of the store become literals."""
    conditions = [f"change = {literal(change)}"]
    if column:
        conditions.append(f"{column} IS NULL" if value is None else f"{column} = {literal(value)}")
    changes = CHANGES.strip().replace("$before", literal(before)).replace("$after", literal(after))
    return f"SELECT * FROM (\n{changes}\n)\nWHERE {' AND '.join(conditions)} ORDER BY trajectory_id"


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def statistics_side_by_side(before: str | None, after: str | None) -> list[dict[str, Any]]:
    """Statistics of two corpora by dotted name; `differs` where they are not the same."""
    flat = [dict(_flat(_parsed(text))) for text in (before, after)]
    names = list(dict.fromkeys(name for one in flat for name in one))
    return [
        {"name": name, "before": old, "after": new, "differs": old != new}
        for name in names
        for old, new in [(flat[0].get(name), flat[1].get(name))]
    ]


def _parsed(text: str | None) -> Any:
    try:
        return json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}


def _flat(value: Any, path: str = "") -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        return [
            pair for name, one in value.items() for pair in _flat(one, f"{path}.{name}" if path else name)
        ]
    return [(path, value)]
