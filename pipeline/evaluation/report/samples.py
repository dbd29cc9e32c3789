"""Samples: problems that only the trained policy solved, and problems it lost, with programs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import duckdb
import polars as pl

from pipeline.store import judged_of, query

SHOWN = 3

# Samples of an evaluation come before others of the same policy. The order is fixed, so that the same store
# shows the same program.
PROGRAM = f"""
SELECT trajectory_id, program, language, policy_id, verdict, passed, total
FROM {judged_of("problem_id = $problem AND policy_id IN (SELECT unnest($policies))")}
WHERE (verdict = 'accepted') = $accepted AND reward_binary IS NOT NULL
ORDER BY starts_with(batch_id, 'eval/') DESC, trajectory_id LIMIT 1
"""


@dataclass(frozen=True)
class Reading:
    """A problem with the program that solved it before (or after) training, and one that failed after (or
    before) it.
    """

    problem: dict[str, Any]
    counts: dict[str, int]
    solved: dict[str, Any] | None
    failed: dict[str, Any] | None


@dataclass(frozen=True)
class Samples:
    gained: list[Reading]
    lost: list[Reading]


def samples(
    connection: duckdb.DuckDBPyConnection, problems: pl.DataFrame, reference: str, policies: list[str]
) -> Samples | None:
    """Problems gained and lost among `problems` (see `comparison.Comparison`). None without problems."""
    if problems.is_empty():
        return None
    rate_before = pl.col("correct_before") / pl.col("samples_before")
    rate_after = pl.col("correct_after") / pl.col("samples_after")
    gained = (
        problems.filter(~pl.col("solved_before"), pl.col("solved_after"))
        .sort(-rate_after, "problem_id")
        .head(SHOWN)
    )
    lost = (
        problems.filter(pl.col("solved_before"), ~pl.col("solved_after"))
        .sort(-rate_before, "problem_id")
        .head(SHOWN)
    )
    return Samples(
        [_reading(connection, row, solvers=policies, failers=[reference]) for row in gained.to_dicts()],
        [_reading(connection, row, solvers=[reference], failers=policies) for row in lost.to_dicts()],
    )


def _reading(
    connection: duckdb.DuckDBPyConnection, counts: dict, *, solvers: list[str], failers: list[str]
) -> Reading:
    wanted = {"problem": counts["problem_id"]}
    problem = query(
        connection, "SELECT problem_id, title, statement FROM problems WHERE problem_id = $problem", wanted
    )
    return Reading(
        problem.row(0, named=True)
        if problem.height
        else {**counts, "title": "", "statement": "(not in the store)"},
        counts,
        _first(query(connection, PROGRAM, wanted | {"policies": solvers, "accepted": True})),
        _first(query(connection, PROGRAM, wanted | {"policies": failers, "accepted": False})),
    )


def _first(rows: pl.DataFrame) -> dict[str, Any] | None:
    return rows.row(0, named=True) if rows.height else None
