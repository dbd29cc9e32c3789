"""How evaluations become numbers. This is the one place: `spo eval`, `spo eval --compare`, the report and SQL
follow these rules.

The table `evaluations` has, per policy, problem and settings, the samples with a verdict (`samples`) and the
accepted ones (`correct`). Samples without a verdict (judge errors, languages that cannot be run here) are not
in these counts: a failure of the judge is neither a success nor a failure of the policy.

1. **Sampling seeds of one policy are pooled.** Evaluations that differ in the seed alone draw from one
   distribution, so their counts are added up, and pass@k is estimated from all samples. The estimator is then
   unbiased with the least variance; a mean of estimates would leave out problems of which each evaluation has
   fewer than k samples.
2. **Each problem has its own pass@k**, by the unbiased estimator (`pipeline/store/passk.py`). A problem with
   fewer than k judged samples has no unbiased estimate. It is left out of pass@k for this k and counted
   (`Estimate.left_out`); the mean is over the rest (`Estimate.problems`). So one judge error costs at most
   one problem, never the evaluation. If the judge fails more often on correct
   programs than on wrong ones, the mean is biased, and the counts bound the bias.
3. **Training seeds are averaged per problem, then problems are averaged.** Seeds are different policies.
   Pooling their samples would estimate pass@k of a mixture of policies, which is larger than the mean of
   their pass@k (it is concave in the rate of success). A problem counts only if each seed allows the
   estimate: a mean over some of the seeds would compare unlike with unlike.
4. **Problems weigh the same**, however many samples they have.
5. **A comparison is paired** (`comparison.py`): both sides are taken over the same problems under the same
   settings. Its levels can differ from those of one policy alone where the sides leave out different
   problems; `left_out` shows it.
6. **Intervals** are bootstraps over problems and seeds (`intervals.py`).

The ready views `evaluated_problems`, `problem_pass_at_k` and `pass_at_k` apply rules 1 to 4 in SQL; a test
checks that both give the same numbers.
"""

from __future__ import annotations

import json
import re

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline.evaluation.intervals import Estimate, over_problems
from pipeline.store import pass_at_k

KS = (1, 10, 100)
# Columns of `per_problem` that are estimates, and what they are called on screen.
METRICS = {**{f"pass_{k}": f"pass@{k}" for k in KS}, "distinct_correct": "distinct correct"}
# `mine/seed-3`, `mine-seed-3`, `mine_seed3@200`: the run's name without the seed is `mine`, `mine`,
# `mine@200`.
SEED_IN_NAME = re.compile(r"[/_.-]seed[-_]?[0-9]+(@[0-9]+)?\Z")


def without_seed(settings: str) -> str:
    """Settings under which evaluations can be pooled and compared: the JSON object without `seed`, its keys
    sorted.

    Text that is not a JSON object is equal only to itself; it is wrapped, so that the result is always a JSON
    object.
    """
    try:
        fields = json.loads(settings)
    except ValueError:
        fields = None
    if not isinstance(fields, dict):
        return json.dumps({"settings": settings})
    return json.dumps({name: value for name, value in fields.items() if name != "seed"}, sort_keys=True)


def run_name(policy_id: str) -> str:
    """The name that the seeds of one run have in common: `mine` for `mine/seed-0`; other names stay as they
    are.
    """
    return SEED_IN_NAME.sub(lambda match: match[1] or "", policy_id)


def per_problem(evaluations: pl.DataFrame) -> pl.DataFrame:
    """One row per (policy_id, comparable, problem_id) of rows of `evaluations`, in this order.

    `comparable` are the settings without their seed. `samples` and `correct` are added up over sampling
    seeds, `distinct_correct` is their mean. `pass_1`, `pass_10` and `pass_100` are null where the problem has
    fewer judged samples than that.
    """
    seedless = {text: without_seed(text) for text in evaluations["settings"].unique()}
    texts = [seedless[text] for text in evaluations["settings"]]
    keys = ("policy_id", "comparable", "problem_id")
    pooled = (
        evaluations.with_columns(comparable=pl.Series(texts, dtype=pl.String))
        .group_by(keys)
        .agg(
            pl.col("split").first(),
            pl.col("samples", "correct").cast(pl.Int64).sum(),
            pl.col("distinct_correct").cast(pl.Float64).filter(pl.col("samples") > 0).mean(),
            pl.col("evaluated_at").max(),
        )
        .sort(keys)
    )
    return pooled.with_columns(_pass_at(pooled, k) for k in KS)


def _pass_at(rows: pl.DataFrame, k: int) -> pl.Series:
    """pass@k of each row; null for fewer than k samples."""
    samples, correct = rows["samples"].to_numpy(), rows["correct"].to_numpy()
    enough = samples >= k
    values = np.full(len(samples), np.nan)
    values[enough] = pass_at_k(samples[enough], correct[enough], k)
    return pl.Series(f"pass_{k}", values, dtype=pl.Float64).fill_nan(None)


def matrix(rows: pl.DataFrame, column: str, policies: list[str]) -> tuple[NDArray[np.float64], list[str]]:
    """Values [policies, problems] of a column of `per_problem`, and the problems that have it for every
    policy, sorted.

    `rows` have one settings only.
    """
    known = rows.filter(pl.col("policy_id").is_in(policies)).drop_nulls(column)
    complete = known.group_by("problem_id").len().filter(pl.col("len") == len(policies)).sort("problem_id")
    problems = complete["problem_id"].to_list()
    ordered = known.join(complete, on="problem_id", how="semi").sort("policy_id", "problem_id")
    values = ordered[column].to_numpy().reshape(len(policies), len(problems))
    return values[[sorted(policies).index(policy) for policy in policies]], problems


def rates(rows: pl.DataFrame) -> dict[str, Estimate | None]:
    """pass@1, pass@10, pass@100 and distinct correct programs of one policy.

    None if no problem allows the estimate.

    `rows` are those of `evaluations` for one policy; they may differ in the seed of their settings, and are
    pooled. Raises ValueError for rows of several policies or settings.
    """
    pooled = per_problem(rows)
    if pooled.select("policy_id", "comparable").n_unique() > 1:
        raise ValueError("rows of several policies or settings have no common rate; choose one of each")
    estimates: dict[str, Estimate | None] = {}
    for column, name in METRICS.items():
        values = pooled[column].drop_nulls().to_numpy()
        left_out = pooled.height - len(values)
        estimates[name] = over_problems(values, left_out=left_out) if len(values) else None
    return estimates


def by_group(rows: pl.DataFrame, groups: pl.DataFrame) -> list[dict]:
    """pass@k of one policy by source and difficulty; `groups` has problem_id, source and difficulty."""
    unknown = pl.col("source").fill_null("(not in the store)"), pl.col("difficulty").fill_null("-")
    joined = rows.join(groups, on="problem_id", how="left").with_columns(unknown)
    return [
        {
            "source": source,
            "difficulty": difficulty,
            "problems": part["problem_id"].n_unique(),
            **rates(part),
        }
        for (source, difficulty), part in sorted(
            joined.group_by("source", "difficulty"), key=lambda item: str(item[0])
        )
    ]


def verdict_mix(rows: pl.DataFrame) -> dict[str, int]:
    """Samples by verdict, the most frequent first; empty for evaluations made before verdicts were
    recorded.
    """
    total: dict[str, int] = {}
    for text in rows["verdicts"].drop_nulls():
        for verdict, count in json.loads(text).items():
            total[verdict] = total.get(verdict, 0) + count
    return dict(sorted(total.items(), key=lambda item: (-item[1], item[0])))


def mean_entropy(rows: pl.DataFrame) -> float | None:
    """Mean over problems of the policy's next-token entropy in nats per token; None if not measured."""
    known = rows["token_entropy"].drop_nulls().to_numpy()
    return float(known.mean()) if known.size else None
