"""Duplicates in the store: shares by origin, and the largest clusters."""

from __future__ import annotations

from dataclasses import dataclass

import duckdb

from pipeline.store import ORIGINS, judged_of, query

LEVELS = ("unique", "near", "token", "exact")

LATEST_FIRST = "row_number() OVER (PARTITION BY trajectory_id ORDER BY pass_number DESC, algorithm DESC)"
# The view `clusters`; sorted are only the rows of trajectories that several passes have marked.
CURRENT = f"""(
WITH several AS MATERIALIZED (
    SELECT hash(trajectory_id) AS id_hash FROM duplicates GROUP BY id_hash HAVING count(*) > 1
)
SELECT * FROM duplicates ANTI JOIN several ON hash(trajectory_id) = id_hash
UNION ALL
SELECT * FROM (SELECT * FROM duplicates SEMI JOIN several ON hash(trajectory_id) = id_hash)
QUALIFY {LATEST_FIRST} = 1
)"""

# `representatives` counts representatives. Each cluster has one, which counts for its own origin.
BY_ORIGIN = f"""
SELECT
    t.origin, count(*) AS trajectories, count(c.trajectory_id) AS seen,
    count(*) FILTER (c.level = 'unique') AS "unique", count(*) FILTER (c.level = 'near') AS near,
    count(*) FILTER (c.level = 'token') AS token, count(*) FILTER (c.level = 'exact') AS exact,
    count(*) FILTER (c.representative_id = t.trajectory_id) AS representatives
FROM trajectories t LEFT JOIN {CURRENT} c USING (trajectory_id)
GROUP BY t.origin
"""

BIGGEST = f"""
SELECT
    cluster_id, any_value(representative_id) AS representative_id, any_value(problem_id) AS problem_id,
    count(*) AS members
FROM {CURRENT} WHERE level <> 'unique'
GROUP BY cluster_id HAVING count(*) > 1 ORDER BY members DESC, cluster_id LIMIT 8
"""

# Of all that was ever in these clusters, what is in them now: the rest of the store is not joined.
ONCE_THEIRS = (
    "trajectory_id IN (SELECT trajectory_id FROM duplicates WHERE cluster_id IN (SELECT unnest($clusters)))"
)
FACTS = f"""
SELECT
    c.cluster_id, count(DISTINCT t.policy_id) AS writers, list_sort(list(DISTINCT t.origin)) AS origins,
    count(*) FILTER (j.verdict = 'accepted') AS accepted, count(j.verdict) AS judged
FROM (SELECT * FROM duplicates WHERE {ONCE_THEIRS} QUALIFY {LATEST_FIRST} = 1) c
JOIN trajectories t USING (trajectory_id)
LEFT JOIN (SELECT trajectory_id, verdict FROM {judged_of(ONCE_THEIRS)}) j USING (trajectory_id)
WHERE c.cluster_id IN (SELECT unnest($clusters))
GROUP BY c.cluster_id
"""

TITLES = "SELECT problem_id, title FROM problems WHERE problem_id IN (SELECT unnest($ids))"
PROGRAMS = """
SELECT trajectory_id AS representative_id, program FROM trajectories
WHERE trajectory_id IN (SELECT unnest($ids))
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
        biggest(connection),
        seen,
        sum(row["trajectories"] for row in origins) - seen,
        sum(row["representatives"] for row in origins),
    )


def biggest(connection: duckdb.DuckDBPyConnection) -> list[dict]:
    """The largest clusters with their writers, verdicts, problem, and the program of the representative."""
    table = query(connection, BIGGEST)
    if table.is_empty():
        return []
    facts = query(connection, FACTS, {"clusters": table["cluster_id"].to_list()})
    titles = query(connection, TITLES, {"ids": table["problem_id"].to_list()})
    programs = query(connection, PROGRAMS, {"ids": table["representative_id"].to_list()})
    return (
        table.join(facts, on="cluster_id")
        .join(titles, on="problem_id", how="left")
        .join(programs, on="representative_id", how="left")
        .sort("members", "cluster_id", descending=[True, False])
        .to_dicts()
    )
