"""pass@k before and after by family (first tag) and difficulty."""

from __future__ import annotations

from dataclasses import dataclass

import duckdb
import polars as pl

from pipeline.evaluation.report.comparison import METRICS
from pipeline.store import query

MOST_GROUPS = 40

FACTS = """
SELECT
    problem_id, title, coalesce(tags[1], '(no tag)') AS family,
    coalesce(difficulty, '(none given)') AS difficulty
FROM problems WHERE problem_id IN (SELECT unnest($problems))
"""


@dataclass(frozen=True)
class Families:
    """Means over the problems of each group, before and after. `changed` counts problems by whether they were
    solved before and after; `families_left` counts families that are not shown.
    """

    by_family: list[dict]
    by_difficulty: list[dict]
    families_left: int
    changed: dict[str, int]


def families(connection: duckdb.DuckDBPyConnection, problems: pl.DataFrame) -> Families | None:
    """Families and difficulties of `problems` (see `comparison.Comparison`). None without problems."""
    if problems.is_empty():
        return None
    facts = query(connection, FACTS, {"problems": problems["problem_id"].to_list()})
    joined = problems.join(facts, on="problem_id", how="left").with_columns(
        pl.col("family", "difficulty").fill_null("(problem not in the store)")
    )
    by_family = _grouped(joined, "family")
    largest = sorted(
        sorted(by_family, key=lambda row: -row["problems"])[:MOST_GROUPS], key=lambda row: -row["change"]
    )
    return Families(
        largest, _grouped(joined, "difficulty"), len(by_family) - len(largest), _changes(problems)
    )


def _grouped(problems: pl.DataFrame, column: str) -> list[dict]:
    """One row per value of `column`: means before and after, and the change of pass@1."""
    means = [pl.col(f"{metric.column}_{when}").mean() for metric in METRICS for when in ("before", "after")]
    rows = problems.group_by(column).agg(pl.len().alias("problems"), *means)
    rows = rows.with_columns(change=pl.col("pass_1_after") - pl.col("pass_1_before")).sort(column)
    return rows.rename({column: "group"}).to_dicts()


def _changes(problems: pl.DataFrame) -> dict[str, int]:
    """Problems by whether they were solved before and after."""
    before, after = pl.col("solved_before"), pl.col("solved_after")
    counted = problems.select(
        both=(before & after).sum(),
        gained=(~before & after).sum(),
        lost=(before & ~after).sum(),
        neither=(~before & ~after).sum(),
    )
    return counted.row(0, named=True)
