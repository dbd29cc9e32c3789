"""Verdicts by origin and policy, and separately what is not a verdict: judge errors and languages that are
not installed.
"""

from __future__ import annotations

from dataclasses import dataclass

import duckdb

from pipeline.store import NOT_A_REWARD, ORIGINS, VERDICTS, query

MOST_WRITERS = 30
JUDGED = tuple(verdict for verdict in VERDICTS if verdict not in NOT_A_REWARD)
# Series colour of each verdict, the same in every report.
COLOURS: dict[str, int] = dict(zip(JUDGED, (0, 1, 4, 3, 6, 5, 7, 2), strict=True))

WHILE_TRAINING, EVALUATION = " while training", " (evaluation)"

# A run publishes policies `<run>@<step>` for its rollouts: together they are one writer. Samples of
# evaluations are separate from those that the policy trained on.
BY_WRITER = f"""
WITH errors AS (
    SELECT trajectory_id FROM verdicts GROUP BY trajectory_id HAVING bool_and(verdict = 'judge_error')
)
SELECT
    t.origin,
    CASE WHEN starts_with(t.policy_id, t.run_id || '@') THEN t.run_id || '{WHILE_TRAINING}'
         WHEN starts_with(t.batch_id, 'eval/') THEN t.policy_id || '{EVALUATION}'
         ELSE t.policy_id END AS writer,
    coalesce(
        j.verdict, CASE WHEN e.trajectory_id IS NULL THEN 'not_judged' ELSE 'judge_error' END
    ) AS verdict,
    count(*) AS trajectories
FROM trajectories t
LEFT JOIN (SELECT trajectory_id, verdict FROM judged) j USING (trajectory_id)
LEFT JOIN errors e USING (trajectory_id)
GROUP BY ALL
"""

JUDGE_ERRORS = """
WITH errors AS (
    SELECT
        trajectory_id, any_value(problem_id) AS problem_id, max(attempt) AS attempts,
        any_value(list_filter(tests, lambda t: t.detail IS NOT NULL)[1].detail) AS detail
    FROM verdicts GROUP BY trajectory_id HAVING bool_and(verdict = 'judge_error')
)
SELECT
    coalesce(p.source, '(no problem)') AS source, t.language, count(*) AS trajectories,
    max(e.attempts) AS attempts,
    any_value(e.detail) AS detail
FROM errors e JOIN trajectories t USING (trajectory_id) LEFT JOIN problems p ON p.problem_id = e.problem_id
GROUP BY ALL ORDER BY trajectories DESC, source, t.language LIMIT 20
"""

UNAVAILABLE = """
SELECT language, source, count(*) AS trajectories FROM judged WHERE verdict = 'language_unavailable'
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
    for row in query(connection, BY_WRITER).iter_rows(named=True):
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
