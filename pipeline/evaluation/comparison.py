"""What the table `evaluations` says of policies: pass@k with intervals, by group, and two policies problem by problem.

Intervals are percentile bootstraps over problems (`pipeline/store/passk.py`): they say how far the figures would move with other
problems of the same kind, not with other samples or training seeds. A comparison is paired: each problem's own difference.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import polars as pl

from pipeline.store import Estimate, over_problems, pass_at_k

KS = (1, 10, 100)


class NotComparable(LookupError):
    """Two policies that were not evaluated on common problems under common settings."""


@dataclass(frozen=True)
class Difference:
    """pass@k, or distinct correct programs, of two policies on the same problems; `change` is that of b over a."""

    metric: str
    a: Estimate
    b: Estimate
    change: Estimate


def rates(rows: pl.DataFrame) -> dict[str, Estimate | None]:
    """pass@1, 10 and 100 of rows (columns samples, correct), one a problem; None where a problem has fewer samples."""
    samples, correct = rows["samples"].to_numpy(), rows["correct"].to_numpy()
    return {
        f"pass@{k}": over_problems(pass_at_k(samples, correct, k))
        if samples.size and samples.min() >= k
        else None
        for k in KS
    }


def by_group(rows: pl.DataFrame, groups: pl.DataFrame) -> list[dict]:
    """pass@k by source and difficulty; `groups` has problem_id, source and difficulty."""
    joined = rows.join(groups, on="problem_id").with_columns(pl.col("difficulty").fill_null("-"))
    return [
        {
            "source": source,
            "difficulty": difficulty,
            "problems": part.height,
            **rates(part),
            "distinct correct": float(part["distinct_correct"].cast(pl.Float64).to_numpy().mean()),
        }
        for (source, difficulty), part in sorted(
            joined.group_by("source", "difficulty"), key=lambda item: str(item[0])
        )
    ]


def verdict_mix(rows: pl.DataFrame) -> dict[str, int]:
    """Samples by verdict, most frequent first; empty for evaluations made before verdicts were kept."""
    total: dict[str, int] = {}
    for text in rows["verdicts"].drop_nulls():
        for verdict, count in json.loads(text).items():
            total[verdict] = total.get(verdict, 0) + count
    return dict(sorted(total.items(), key=lambda item: (-item[1], item[0])))


def mean_entropy(rows: pl.DataFrame) -> float | None:
    """Mean over problems of the policy's next-token entropy, nats a token; None where it was not measured."""
    known = rows["token_entropy"].drop_nulls().to_numpy()
    return float(known.mean()) if known.size else None


def compare(evaluations: pl.DataFrame, a: str, b: str) -> list[Difference]:
    """b against a on the problems and settings that both have, the settings with most problems. Raises NotComparable."""
    merged = merged_seeds(evaluations.filter(pl.col("policy_id").is_in([a, b])))
    for name in (a, b):
        if name not in merged["policy_id"].to_list():
            known = ", ".join(evaluations["policy_id"].unique().sort()) or "none"
            raise NotComparable(
                f"policy {name} has no evaluation; evaluated: {known}; make one: spo eval {name}"
            )
    first, second = (merged.filter(pl.col("policy_id") == name).drop("policy_id") for name in (a, b))
    both = first.join(second, on=["comparable", "problem_id"], suffix="_b")
    if both.is_empty():
        raise NotComparable(
            f"{a} and {b} share no problem under the same settings; evaluate both with the same command"
        )
    best = both.group_by("comparable").len().sort("len", "comparable", descending=True)["comparable"][0]
    both = both.filter(pl.col("comparable") == best)
    found = []
    for k in KS:
        enough = both.filter(pl.min_horizontal("samples", "samples_b") >= k)
        if enough.height:
            values = [
                pass_at_k(enough[f"samples{s}"].to_numpy(), enough[f"correct{s}"].to_numpy(), k)
                for s in ("", "_b")
            ]
            found.append(
                Difference(f"pass@{k}", *map(over_problems, (values[0], values[1], values[1] - values[0])))
            )
    distinct = [both[f"distinct_correct{s}"].to_numpy() for s in ("", "_b")]
    found.append(
        Difference(
            "distinct correct", *map(over_problems, (distinct[0], distinct[1], distinct[1] - distinct[0]))
        )
    )
    return found


def merged_seeds(rows: pl.DataFrame) -> pl.DataFrame:
    """One row a (policy, settings but the seed, problem): samples of several seeds added up, distinct programs as a mean."""
    rows = rows.with_columns(
        comparable=pl.Series([without_seed(text) for text in rows["settings"]], dtype=pl.String)
    )
    return (
        rows.group_by("policy_id", "comparable", "problem_id")
        .agg(pl.col("samples", "correct").sum(), pl.col("distinct_correct").cast(pl.Float64).mean())
        .sort("policy_id", "comparable", "problem_id")
    )


def without_seed(settings: str) -> str:
    found = json.loads(settings)
    return json.dumps({name: value for name, value in found.items() if name != "seed"}, sort_keys=True)
