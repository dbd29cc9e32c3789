"""Verdicts by origin and policy, and separately what is not a verdict: judge errors and languages that are
not installed.
"""

from __future__ import annotations

from dataclasses import dataclass

import duckdb

from pipeline.store import CUT_VERDICT, NOT_A_REWARD, ORIGINS, VERDICT_OF_EACH, VERDICTS, judged_of, query

MOST_WRITERS = 30
JUDGED = tuple(verdict for verdict in VERDICTS if verdict not in NOT_A_REWARD)
# Series colour of each verdict, the same in every report.
COLOURS: dict[str, int] = dict(zip(JUDGED, (0, 1, 4, 3, 6, 5, 7, 2), strict=True))

WHILE_TRAINING, EVALUATION = " while training", " (evaluation)"

# A run publishes policies `<run>@<step>` for its rollouts: together they are one writer. Samples of
# evaluations are separate from those that the policy trained on.
WRITER = f"""CASE WHEN starts_with(t.policy_id, t.run_id || '@') THEN t.run_id || '{WHILE_TRAINING}'
         WHEN starts_with(t.batch_id, 'eval/') THEN t.policy_id || '{EVALUATION}'
         ELSE t.policy_id END"""

# What the page shows as the query of these counts.
BY_WRITER = f"""
WITH errors AS (
    SELECT trajectory_id FROM verdicts GROUP BY trajectory_id HAVING bool_and(verdict = 'judge_error')
)
SELECT
    t.origin,
    {WRITER} AS writer,
    coalesce(
        j.verdict, CASE WHEN e.trajectory_id IS NULL THEN 'not_judged' ELSE 'judge_error' END
    ) AS verdict,
    count(*) AS trajectories
FROM trajectories t
LEFT JOIN (SELECT trajectory_id, verdict FROM judged) j USING (trajectory_id)
LEFT JOIN errors e USING (trajectory_id)
GROUP BY ALL
"""

# The same counts in fewer passes. Where no other verdict holds, a judge error is all there is.
COUNTS = f"""
SELECT
    t.origin,
    {WRITER} AS writer,
    coalesce(
        {CUT_VERDICT}, CASE WHEN e.trajectory_id IS NULL THEN 'not_judged' ELSE 'judge_error' END
    ) AS verdict,
    count(*) AS trajectories
FROM trajectories t
LEFT JOIN {VERDICT_OF_EACH} v USING (trajectory_id)
LEFT JOIN (SELECT DISTINCT trajectory_id FROM verdicts WHERE verdict = 'judge_error') e USING (trajectory_id)
GROUP BY ALL
"""

JUDGE_ERRORS = """
WITH errors AS (
    SELECT
        trajectory_id, any_value(problem_id) AS problem_id, max(attempt) AS attempts,
        any_value(list_filter(tests, lambda t: t.detail IS NOT NULL)[1].detail) AS detail
    FROM verdicts WHERE verdict = 'judge_error' GROUP BY trajectory_id
),
judged_too AS (
    SELECT v.trajectory_id FROM verdicts v SEMI JOIN errors USING (trajectory_id)
    WHERE v.verdict <> 'judge_error'
)
SELECT
    coalesce(p.source, '(no problem)') AS source, t.language, count(*) AS trajectories,
    max(e.attempts) AS attempts,
    any_value(e.detail) AS detail
FROM (FROM errors ANTI JOIN judged_too USING (trajectory_id)) e
JOIN trajectories t USING (trajectory_id) LEFT JOIN problems p ON p.problem_id = e.problem_id
GROUP BY ALL ORDER BY trajectories DESC, source, t.language LIMIT 20
"""

SOME_UNAVAILABLE = judged_of(
    "trajectory_id IN (SELECT trajectory_id FROM verdicts WHERE verdict = 'language_unavailable')"
)
UNAVAILABLE = f"""
SELECT language, source, count(*) AS trajectories FROM {SOME_UNAVAILABLE}
WHERE verdict = 'language_unavailable'
GROUP BY language, source ORDER BY trajectories DESC, language, source LIMIT 20
"""


@dataclass(frozen=True)
class Writer:
    """Counts by verdict of one (origin, writer)."""

    origin: str
    name: str
    counts: dict[str, int]

    @property
    def is_policy(self) -> bool:
        """Whether the name is that of one policy, which rows can be selected by."""
        return not self.name.endswith((WHILE_TRAINING, EVALUATION))

    @property
    def judged(self) -> int:
        return sum(self.counts.get(verdict, 0) for verdict in JUDGED)

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def accepted(self) -> float | None:
        return self.counts.get("accepted", 0) / self.judged if self.judged else None


@dataclass(frozen=True)
class Verdicts:
    """`shown`: the verdicts that occur, in the contract's order; `writers`: by origin, the largest first."""

    writers: list[Writer]
    writers_left: int
    totals: Writer
    shown: list[str]
    judge_errors: list[dict]
    unavailable: list[dict]


def verdicts(connection: duckdb.DuckDBPyConnection) -> Verdicts:
    """Verdicts over the whole store; the MOST_WRITERS largest writers are shown, the totals have all."""
    by_kind: dict[tuple[str, str], dict[str, int]] = {}
    for row in query(connection, COUNTS).iter_rows(named=True):
        by_kind.setdefault((row["origin"], row["writer"]), {})[row["verdict"]] = row["trajectories"]
    writers = [Writer(origin, name, counts) for (origin, name), counts in by_kind.items()]
    largest = sorted(writers, key=lambda writer: (-writer.total, writer.origin, writer.name))[:MOST_WRITERS]
    largest.sort(key=lambda writer: (ORIGINS.index(writer.origin), -writer.total, writer.name))
    sums: dict[str, int] = {}
    for writer in writers:
        for verdict, rows in writer.counts.items():
            sums[verdict] = sums.get(verdict, 0) + rows
    return Verdicts(
        largest,
        len(writers) - len(largest),
        Writer("all", "", sums),
        [verdict for verdict in JUDGED if sums.get(verdict)],
        query(connection, JUDGE_ERRORS).to_dicts(),
        query(connection, UNAVAILABLE).to_dicts(),
    )
