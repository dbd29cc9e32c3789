"""Agreement of the judge with the verdicts that sources claim for programs, with examples of disagreement."""

from __future__ import annotations

from dataclasses import dataclass

import duckdb
import polars as pl

from pipeline.store import CLAIMED_VERDICTS, VERDICTS, judged_of, query

EXAMPLES, EXAMPLES_PER_SOURCE = 12, 4
SUMS = ("compared", "agreed", "accepted_both", "claimed_only", "judged_only", "accepted_neither")

CLAIMED = judged_of("claimed_verdict IS NOT NULL")
# Only problems of which a program is claimed to have a part of the points are compared by points.
SCORED = judged_of("""
    problem_id IN (SELECT problem_id FROM trajectories WHERE claimed_verdict = 'partial')
    AND trajectory_id IN (SELECT trajectory_id FROM verdicts WHERE score IS NOT NULL)
""")

# `agreed` and the other sums are those of the view `claimed_agreement`.
BY_KIND = f"""
WITH best AS (SELECT problem_id, max(score) AS score FROM {SCORED} GROUP BY problem_id)
SELECT
    j.source, j.claimed_verdict, j.verdict, j.claimed_verdict = 'accepted' AS claims,
    j.program_verdict = 'accepted'
        AND NOT coalesce(j.claimed_verdict = 'partial' AND j.score < best.score, false) AS passes,
    count(*) AS trajectories
FROM {CLAIMED} j LEFT JOIN best USING (problem_id)
WHERE j.reward_binary IS NOT NULL
GROUP BY ALL
"""

# The comparison is about acceptance, which decides the reward, not about the kind of failure. Examples
# alternate between sources, so that no source fills the list.
DISAGREEING = f"""
SELECT
    trajectory_id, problem_id, source, policy_id, language, claimed_verdict, verdict, first_failure,
    passed, total
FROM {CLAIMED}
WHERE reward_binary IS NOT NULL AND (claimed_verdict = 'accepted') <> (verdict = 'accepted')
QUALIFY row_number() OVER (PARTITION BY source ORDER BY hash(trajectory_id), trajectory_id) <= $each
ORDER BY row_number() OVER (PARTITION BY source ORDER BY hash(trajectory_id), trajectory_id), source
LIMIT $most
"""


@dataclass(frozen=True)
class Agreement:
    """`confusion[claimed][judged]` counts trajectories; `claimed` and `judged` are the rows and columns that
    occur.
    """

    sources: list[dict]
    total: dict
    confusion: dict[str, dict[str, int]]
    claimed: list[str]
    judged: list[str]
    examples: list[dict]


def agreement(connection: duckdb.DuckDBPyConnection) -> Agreement:
    """Claimed against judged verdicts over the whole store."""
    kinds = query(connection, BY_KIND)
    sources = by_source(kinds)
    total = {name: sum(source[name] for source in sources) for name in SUMS}
    confusion: dict[str, dict[str, int]] = {}
    for claimed, judged, trajectories in (
        kinds.group_by("claimed_verdict", "verdict").agg(pl.col("trajectories").sum()).iter_rows()
    ):
        confusion.setdefault(claimed, {})[judged] = trajectories
    return Agreement(
        [source | {"agreement": source["agreed"] / source["compared"]} for source in sources],
        total | {"agreement": total["agreed"] / total["compared"] if total["compared"] else None},
        confusion,
        [claimed for claimed in CLAIMED_VERDICTS if claimed in confusion],
        [verdict for verdict in VERDICTS if any(verdict in row for row in confusion.values())],
        query(connection, DISAGREEING, {"each": EXAMPLES_PER_SOURCE, "most": EXAMPLES}).to_dicts(),
    )


def by_source(kinds: pl.DataFrame) -> list[dict]:
    """Sums of each source, the one with most compared trajectories first."""
    claims, passes = pl.col("claims"), pl.col("passes")
    kept = {
        "compared": pl.lit(True),
        "agreed": claims == passes,
        "accepted_both": claims & passes,
        "claimed_only": claims & ~passes,
        "judged_only": ~claims & passes,
        "accepted_neither": ~claims & ~passes,
    }
    sums = [(pl.col("trajectories") * kept[name]).sum().alias(name) for name in SUMS]
    table = kinds.group_by("source").agg(sums)
    return table.sort("compared", "source", descending=[True, False], nulls_last=True).to_dicts()
