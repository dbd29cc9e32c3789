"""Duplicates in the store: shares by origin, and the largest clusters."""

from __future__ import annotations

from dataclasses import dataclass

import duckdb

from pipeline.store import ORIGINS, query

LEVELS = ("unique", "near", "token", "exact")

# `representatives` counts representatives. Each cluster has one, which counts for its own origin.
BY_ORIGIN = """
SELECT
    t.origin, count(*) AS trajectories, count(c.trajectory_id) AS seen,
    count(*) FILTER (c.level = 'unique') AS "unique", count(*) FILTER (c.level = 'near') AS near,
    count(*) FILTER (c.level = 'token') AS token, count(*) FILTER (c.level = 'exact') AS exact,
    count(*) FILTER (c.representative_id = t.trajectory_id) AS representatives
FROM trajectories t LEFT JOIN clusters c USING (trajectory_id)
GROUP BY t.origin
"""

BIGGEST = """
WITH biggest AS (
    SELECT
        cluster_id, any_value(representative_id) AS representative_id, any_value(problem_id) AS problem_id,
        count(*) AS members
    FROM clusters GROUP BY cluster_id HAVING count(*) > 1 ORDER BY members DESC, cluster_id LIMIT 8
),
facts AS (
    SELECT
        c.cluster_id, count(DISTINCT t.policy_id) AS writers, list_sort(list(DISTINCT t.origin)) AS origins,
        count(*) FILTER (j.verdict = 'accepted') AS accepted, count(j.verdict) AS judged
    FROM clusters c
    JOIN biggest USING (cluster_id)
    JOIN trajectories t ON t.trajectory_id = c.trajectory_id
    LEFT JOIN (SELECT trajectory_id, verdict FROM judged) j ON j.trajectory_id = c.trajectory_id
    GROUP BY c.cluster_id
)
SELECT b.*, f.* EXCLUDE (cluster_id), p.title, t.program
FROM biggest b
JOIN facts f USING (cluster_id)
LEFT JOIN problems p USING (problem_id)
LEFT JOIN trajectories t ON t.trajectory_id = b.representative_id
ORDER BY b.members DESC, b.cluster_id
"""


@dataclass(frozen=True)
class Duplicates:
    """`origins`: counts by level; `biggest`: clusters with the program of their representative; `seen`:
    trajectories compared.
    """

    origins: list[dict]
    biggest: list[dict]
    seen: int
    not_seen: int
    representatives: int


def duplicates(connection: duckdb.DuckDBPyConnection) -> Duplicates:
    """Counts of duplicates over the whole store, as the last pass of deduplication marked them."""
    origins = sorted(query(connection, BY_ORIGIN).to_dicts(), key=lambda row: ORIGINS.index(row["origin"]))
    seen = sum(row["seen"] for row in origins)
    return Duplicates(
        origins,
        query(connection, BIGGEST).to_dicts(),
        seen,
        sum(row["trajectories"] for row in origins) - seen,
        sum(row["representatives"] for row in origins),
    )
