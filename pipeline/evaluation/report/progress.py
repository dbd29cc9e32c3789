"""What the store knows of a run over its steps: evaluations of the policies that it published, and the
verdicts of the rows that it sampled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb
import polars as pl

from pipeline.evaluation.aggregate import matrix, per_problem
from pipeline.evaluation.intervals import Estimate, over_problems
from pipeline.evaluation.report.comparison import METRICS, Metric
from pipeline.evaluation.report.configurations import Configuration
from pipeline.evaluation.report.verdicts import JUDGED
from pipeline.store import judged_of, query

# Rows of evaluations are no data of the run.
FRESH = """
SELECT t.policy_step AS step, coalesce(j.verdict, 'not_judged') AS verdict, count(*) AS rows
FROM trajectories t LEFT JOIN (SELECT trajectory_id, verdict FROM judged) j USING (trajectory_id)
WHERE t.run_id IN (SELECT unnest($runs)) AND t.origin = 'online' AND t.policy_step IS NOT NULL
    AND NOT starts_with(t.batch_id, 'eval/')
GROUP BY ALL ORDER BY step, verdict
"""

# The same for the rows of these runs alone: `FRESH` is what the page shows as the query.
OWN = judged_of("run_id IN (SELECT unnest($runs))")
FRESH_OF_RUNS = FRESH.replace("FROM judged)", f"FROM {OWN})")

# Programs by their tokens: comments and spaces make no other program. A program counts where it came first.
NEW_PROGRAMS = f"""
WITH accepted AS (
    SELECT j.run_id, j.problem_id, coalesce(s.token_hash, j.program) AS program, min(j.policy_step) AS step
    FROM {OWN} j LEFT JOIN program_signatures s USING (trajectory_id)
    WHERE j.origin = 'online' AND j.policy_step IS NOT NULL
        AND j.verdict = 'accepted' AND NOT starts_with(j.batch_id, 'eval/')
    GROUP BY ALL
)
SELECT run_id, step, count(*) AS programs FROM accepted GROUP BY ALL ORDER BY run_id, step
"""

PUBLISHED = """
SELECT policy_id, run_id, step FROM policies
WHERE run_id IN (SELECT unnest($runs)) AND step IS NOT NULL ORDER BY step, policy_id
"""


@dataclass(frozen=True)
class Point:
    """A value at a step, with its 95 % interval where there is one."""

    step: int
    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Series:
    label: str
    colour: int
    points: list[Point]


@dataclass(frozen=True)
class Levels:
    """A figure of every configuration at its last evaluated step, and of the references: label, estimate and
    colour, None for a reference.
    """

    metric: Metric
    rows: list[tuple[str, Estimate, int | None]]


@dataclass(frozen=True)
class Fresh:
    """Rows by step and verdict of one configuration, all its seeds together. `statement`: their SQL."""

    label: str
    verdicts: list[str]
    steps: list[int]
    rows: dict[str, list[int]]
    statement: str


@dataclass(frozen=True)
class Progress:
    evaluated: list[tuple[Metric, list[Series]]]
    levels: list[Levels]
    fresh: list[Fresh]
    programs: list[Series]
    settings: str = ""

    @property
    def is_empty(self) -> bool:
        return not (self.evaluated or self.fresh or self.programs)


def progress(connection: duckdb.DuckDBPyConnection, groups: Sequence[Configuration]) -> Progress:
    """Figures over steps of all configurations, from one snapshot of the store."""
    published = _published(connection, groups)
    rows, settings = _evaluated(query(connection, "SELECT * FROM evaluations"), published, groups)
    evaluated, levels = [], []
    for metric in METRICS:
        series = [_over_steps(rows, metric, group, published) for group in groups]
        if any(len(one.points) > 1 for one in series):
            evaluated.append((metric, [one for one in series if one.points]))
        if (level := _levels(rows, metric, groups, published)).rows:
            levels.append(level)
    fresh = [batches for group in groups if (batches := _fresh(connection, group)).steps]
    programs = [one for group in groups if (one := _programs(connection, group)).points]
    return Progress(evaluated, levels, fresh, programs, settings)


def run_ids(group: Configuration) -> list[str]:
    return [seed.run_id for seed in group.seeds]


def _published(
    connection: duckdb.DuckDBPyConnection, groups: Sequence[Configuration]
) -> dict[str, dict[int, str]]:
    """Policies of every run by step. The final policy has the name of its run."""
    runs = [run for group in groups for run in run_ids(group)]
    table: dict[str, dict[int, str]] = {run: {} for run in runs}
    for policy, run, step in query(connection, PUBLISHED, {"runs": runs}).iter_rows():
        if policy == run or policy == f"{run}@{step}":
            table[run][step] = policy
    return table


def _evaluated(
    evaluations: pl.DataFrame, published: dict[str, dict[int, str]], groups: Sequence[Configuration]
) -> tuple[pl.DataFrame, str]:
    """`per_problem` of all policies under the settings that most of them were evaluated with."""
    names = [policy for steps in published.values() for policy in steps.values()]
    names += [name for group in groups for name in group.references]
    rows = per_problem(evaluations.filter(pl.col("policy_id").is_in(names)))
    if rows.is_empty():
        return rows, ""
    settings = (
        rows.group_by("comparable")
        .agg(
            policies=pl.col("policy_id").n_unique(),
            test=(pl.col("split") == "test").all(),
            problems=pl.col("problem_id").n_unique(),
            latest=pl.col("evaluated_at").max(),
        )
        .sort("policies", "test", "problems", "latest", "comparable", descending=True)["comparable"][0]
    )
    return rows.filter(pl.col("comparable") == settings), settings


def _estimate(rows: pl.DataFrame, metric: Metric, policies: list[str]) -> Estimate | None:
    """Over the problems that all policies have, which are seeds."""
    known = set(rows["policy_id"]) if rows.height else set()
    if not policies or not set(policies) <= known:
        return None
    values, problems = matrix(rows, metric.column, policies)
    return over_problems(values) if problems else None


def _over_steps(
    rows: pl.DataFrame, metric: Metric, group: Configuration, published: dict[str, dict[int, str]]
) -> Series:
    """Estimates at the steps at which every seed was evaluated; step 0 is the reference."""
    points = []
    if len(group.references) == 1 and (first := _estimate(rows, metric, group.references)):
        points.append(Point(0, first.mean, first.low, first.high))
    for step, policies in _by_step(group, published).items():
        if found := _estimate(rows, metric, policies):
            points.append(Point(step, found.mean, found.low, found.high))
    return Series(group.label, group.colour, points)


def _by_step(group: Configuration, published: dict[str, dict[int, str]]) -> dict[int, list[str]]:
    """Policies of all seeds at the steps that every seed has, but for step 0."""
    tables = [published[run] for run in run_ids(group)]
    steps = sorted(set.intersection(*(set(table) for table in tables))) if tables else []
    return {step: [table[step] for table in tables] for step in steps if step > 0}


def _levels(
    rows: pl.DataFrame, metric: Metric, groups: Sequence[Configuration], published: dict[str, dict[int, str]]
) -> Levels:
    found: list[tuple[str, Estimate, int | None]] = []
    for name in dict.fromkeys(name for group in groups for name in group.references):
        if estimate := _estimate(rows, metric, [name]):
            found.append((name if name.startswith("reference") else f"reference {name}", estimate, None))
    before = len(found)
    for group in groups:
        for _, policies in reversed(_by_step(group, published).items()):
            if estimate := _estimate(rows, metric, policies):
                found.append((group.label, estimate, group.colour))
                break
    return Levels(metric, found if len(found) > before else [])


def _fresh(connection: duckdb.DuckDBPyConnection, group: Configuration) -> Fresh:
    rows = query(connection, FRESH_OF_RUNS, {"runs": run_ids(group)})
    steps = rows["step"].unique().sort().to_list()
    counts = {(step, verdict): count for step, verdict, count in rows.iter_rows()}
    present = set(rows["verdict"])
    verdicts = [name for name in (*JUDGED, *sorted(present - set(JUDGED))) if name in present]
    table = {name: [counts.get((step, name), 0) for step in steps] for name in verdicts}
    names = ", ".join("'" + run.replace("'", "''") + "'" for run in run_ids(group))
    statement = FRESH.replace("(SELECT unnest($runs))", f"({names})").strip()
    return Fresh(group.label, verdicts, steps, table, statement)


def _programs(connection: duckdb.DuckDBPyConnection, group: Configuration) -> Series:
    """Distinct accepted programs until each step, the mean of the seeds that sampled any."""
    rows = query(connection, NEW_PROGRAMS, {"runs": run_ids(group)})
    seeds = rows["run_id"].n_unique()
    total, points = 0, []
    for step, new in rows.group_by("step").agg(pl.col("programs").sum()).sort("step").iter_rows():
        total += new
        points.append(Point(step, total / seeds))
    return Series(group.label, group.colour, points)
