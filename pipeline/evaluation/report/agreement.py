"""Agreement of the judge with the verdicts that sources claim for programs, with examples of disagreement."""

from __future__ import annotations

from dataclasses import dataclass

import duckdb

from pipeline.store import CLAIMED_VERDICTS, VERDICTS, query

EXAMPLES, EXAMPLES_PER_SOURCE = 12, 4
SUMS = ("compared", "agreed", "accepted_both", "claimed_only", "judged_only", "accepted_neither")

BY_SOURCE = f"""
SELECT source, {", ".join(f"sum({name})::BIGINT AS {name}" for name in SUMS)}
FROM claimed_agreement GROUP BY source ORDER BY compared DESC, source
"""

CONFUSION = """
SELECT claimed_verdict, verdict, count(*) AS trajectories FROM judged
WHERE claimed_verdict IS NOT NULL AND reward_binary IS NOT NULL GROUP BY claimed_verdict, verdict
"""

# The comparison is about acceptance, which decides the reward, not about the kind of failure. Examples
# alternate between sources, so that no source fills the list.
DISAGREEING = """
SELECT
    trajectory_id, problem_id, source, policy_id, language, claimed_verdict, verdict, first_failure,
    passed, total
FROM judged
WHERE claimed_verdict IS NOT NULL AND reward_binary IS NOT NULL
  AND (claimed_verdict = 'accepted') <> (verdict = 'accepted')
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
    sources = query(connection, BY_SOURCE).to_dicts()
    total = {name: sum(source[name] for source in sources) for name in SUMS}
    confusion: dict[str, dict[str, int]] = {}
    for claimed, judged, trajectories in query(connection, CONFUSION).iter_rows():
        confusion.setdefault(claimed, {})[judged] = trajectories
    return Agreement(
        [source | {"agreement": source["agreed"] / source["compared"]} for source in sources],
        total | {"agreement": total["agreed"] / total["compared"] if total["compared"] else None},
        confusion,
        [claimed for claimed in CLAIMED_VERDICTS if claimed in confusion],
        [verdict for verdict in VERDICTS if any(verdict in row for row in confusion.values())],
        query(connection, DISAGREEING, {"each": EXAMPLES_PER_SOURCE, "most": EXAMPLES}).to_dicts(),
    )
