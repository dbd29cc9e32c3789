"""Two policies, or two runs over their seeds, on the same problems under the same settings. The rules are in
`aggregate.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from pipeline.evaluation.aggregate import METRICS, matrix, per_problem, run_name
from pipeline.evaluation.intervals import Estimate, over_problems


class NotComparable(LookupError):
    """Two policies that were not evaluated on common problems under common settings."""


@dataclass(frozen=True)
class SeedResult:
    """One policy of side b, and its paired change from side a."""

    policy_id: str
    level: Estimate
    change: Estimate


@dataclass(frozen=True)
class Difference:
    """One metric of two sides on the same problems; `change` is b minus a, `seeds` are the policies of b one
    by one.
    """

    metric: str
    a: Estimate
    b: Estimate
    change: Estimate
    seeds: list[SeedResult]


@dataclass(frozen=True)
class Pairing:
    """What is compared: `rows` of `per_problem` for the policies of both sides under the settings
    `comparable`.

    `absent` are policies of either side without an evaluation under these settings.
    """

    a: list[str]
    b: list[str]
    comparable: str
    rows: pl.DataFrame
    absent: list[str]


def compare(evaluations: pl.DataFrame, a: str, b: str) -> list[Difference]:
    """b against a, by the names of policies or of runs with seeds. Raises NotComparable."""
    return differences(pair(evaluations, policies_of(evaluations, a), policies_of(evaluations, b)))


def policies_of(evaluations: pl.DataFrame, name: str) -> list[str]:
    """The evaluated policy of that name, else the policies that are seeds of the run `name`. Raises
    NotComparable.
    """
    known = evaluations["policy_id"].unique().sort().to_list()
    if name in known:
        return [name]
    if seeds := [policy for policy in known if run_name(policy) == name]:
        return seeds
    raise NotComparable(
        f"policy {name} has no evaluation; evaluated: {', '.join(known) or 'none'}; make one: spo eval {name}"
    )


def pair(evaluations: pl.DataFrame, a: Sequence[str], b: Sequence[str]) -> Pairing:
    """Choose the settings for a comparison of the policies `b` with the policies `a`. Raises NotComparable.

    Of the settings that policies of both sides were evaluated with: those with the most policies, then those
    on test problems only, with the most problems, and evaluated last.
    """
    rows = per_problem(evaluations.filter(pl.col("policy_id").is_in([*a, *b])))
    candidates = (
        rows.group_by("comparable")
        .agg(
            policies=pl.col("policy_id").n_unique(),
            test=(pl.col("split") == "test").all(),
            problems=pl.col("problem_id").n_unique(),
            latest=pl.col("evaluated_at").max(),
        )
        .sort("policies", "test", "problems", "latest", "comparable", descending=True)
    )
    for comparable in candidates["comparable"]:
        pairing = _pairing(rows.filter(pl.col("comparable") == comparable), comparable, a, b)
        if pairing:
            return pairing
    raise NotComparable(
        f"{', '.join(a)} and {', '.join(b)} share no problem under the same settings;"
        " evaluate both with the same command"
    )


def _pairing(rows: pl.DataFrame, comparable: str, a: Sequence[str], b: Sequence[str]) -> Pairing | None:
    """The pairing under these settings; None if a side is missing or no problem is common to all."""
    evaluated = set(rows["policy_id"])
    left, right = ([policy for policy in side if policy in evaluated] for side in (a, b))
    per_policy = rows.group_by("problem_id").agg(pl.col("policy_id").n_unique())
    in_common = (per_policy["policy_id"] == len({*left, *right})).any()
    if not (left and right and in_common):
        return None
    absent = [policy for policy in dict.fromkeys([*a, *b]) if policy not in evaluated]
    return Pairing(left, right, comparable, rows, absent)


def differences(pairing: Pairing) -> list[Difference]:
    """Every metric that at least one problem allows for all policies of the pairing."""
    results = (difference(pairing.rows, column, pairing.a, pairing.b) for column in METRICS)
    return [item for item in results if item]


def difference(rows: pl.DataFrame, column: str, a: Sequence[str], b: Sequence[str]) -> Difference | None:
    """One metric over the problems that have it for every policy of both sides; None if there is no such
    problem.

    `rows` are those of `per_problem` under one settings, `column` is one of METRICS.
    """
    policies = list(dict.fromkeys([*a, *b]))
    values, problems = matrix(rows, column, policies)
    if not problems:
        return None
    evaluated = rows.filter(pl.col("policy_id").is_in(policies))["problem_id"].n_unique()
    left_out = evaluated - len(problems)
    before = values[[policies.index(policy) for policy in a]]
    after = values[[policies.index(policy) for policy in b]]
    return Difference(
        METRICS[column],
        over_problems(before, left_out=left_out),
        over_problems(after, left_out=left_out),
        over_problems(after, minus=before, left_out=left_out),
        [
            SeedResult(
                policy,
                over_problems(row, left_out=left_out),
                over_problems(row, minus=before, left_out=left_out),
            )
            for policy, row in zip(b, after, strict=True)
        ],
    )
