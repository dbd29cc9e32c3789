"""Evaluation: sample a policy on held-out problems, label the samples like any other, and store what came of them.

pass@k is the unbiased estimator of Chen et al. 2021 (arXiv 2107.03374), see `pipeline/passk.py`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl

from pipeline.contracts import NOT_A_REWARD, Evaluations
from pipeline.label import label
from pipeline.passk import Estimate, estimate
from pipeline.signatures import sign
from pipeline.sql import connect, query
from pipeline.store import Store
from sandbox import Pool, judge_version
from trainer.policy import Policy
from trainer.rollout import Provenance, SamplingSettings, digest, rollout

SAMPLES = """
select t.problem_id, t.program, t.language, coalesce(j.verdict, 'judge_error') as verdict
from trajectories t left join judged j using (trajectory_id) where t.batch_id = $name
"""


@dataclass(frozen=True)
class Evaluation:
    """A policy's figures on a set of problems. `distinct_correct` is the mean a problem, programs compared without layout."""

    policy_id: str
    problems: int
    samples: int
    pass_at_1: Estimate
    pass_at_10: Estimate | None  # None where fewer than 10 samples a problem have a verdict
    distinct_correct: float
    judge_errors: int


def evaluate(
    store: Store,
    pool: Pool,
    policy: Policy,
    policy_id: str,
    problems: pl.DataFrame,
    settings: SamplingSettings,
    *,
    seed: int = 0,
    run_id: str | None = None,
    step: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Evaluate on `problems` (columns problem_id, statement, split); done once for a policy and settings, then looked up."""
    key = settings_key(settings, problems, seed)
    found = stored(store, policy_id, key)
    if found.is_empty():
        name = f"eval/{policy_id}/{digest({'settings': key})}"
        rollout(
            store, policy, problems, settings, Provenance(name=name, policy_id=policy_id, run_id=run_id, policy_step=step),
            seed=seed, on_progress=on_progress,
        )  # fmt: skip
        label(store, pool)
        with connect(store) as connection:
            samples = query(connection, SAMPLES, {"name": name})
        rows = per_problem(samples).join(problems.select("problem_id", "split"), on="problem_id").with_columns(
            policy_id=pl.lit(policy_id), settings=pl.lit(key), run_id=pl.lit(run_id, dtype=pl.String),
            seed=pl.lit(seed, dtype=pl.Int64), step=pl.lit(step, dtype=pl.Int64), evaluated_at=pl.lit(datetime.now(UTC)),
        )  # fmt: skip
        found = rows.select(Evaluations.column_names())
        store.append("evaluations", found, producer=f"eval/{policy_id}/{key}", sequence=0)
    return summary_of(policy_id, found)


def settings_key(settings: SamplingSettings, problems: pl.DataFrame, seed: int) -> str:
    """JSON of everything that decides an evaluation's outcome beside the policy."""
    which = digest({"problems": " ".join(problems["problem_id"].sort())})
    drawn = settings.model_dump(exclude={"batch_size"})
    return json.dumps(
        {**drawn, "problems": problems.height, "set": which, "seed": seed, "judge": judge_version()}, sort_keys=True
    )


def stored(store: Store, policy_id: str, settings: str) -> pl.DataFrame:
    return store.read("evaluations").filter((pl.col("policy_id") == policy_id) & (pl.col("settings") == settings))


def per_problem(samples: pl.DataFrame) -> pl.DataFrame:
    """Samples, successes and distinct successes of each problem; samples without a verdict are counted apart."""
    correct = pl.col("verdict") == "accepted"
    lost = pl.col("verdict").is_in(NOT_A_REWARD)
    samples = samples.with_columns(token_hash=pl.Series(sign(samples["program"], "python3").token_hash, dtype=pl.String))
    return (
        samples.group_by("problem_id")
        .agg(
            samples=(~lost).sum().cast(pl.Int32),
            correct=correct.sum().cast(pl.Int32),
            distinct_correct=pl.col("token_hash").filter(correct).n_unique().cast(pl.Int32),
            judge_errors=lost.sum().cast(pl.Int32),
        )
        .filter(pl.col("samples") > 0)
        .sort("problem_id")
    )


def summary_of(policy_id: str, rows: pl.DataFrame) -> Evaluation:
    samples, correct = rows["samples"].to_numpy(), rows["correct"].to_numpy()
    return Evaluation(
        policy_id=policy_id,
        problems=rows.height,
        samples=int(samples.sum()),
        pass_at_1=estimate(samples, correct, 1),
        pass_at_10=estimate(samples, correct, 10) if samples.min() >= 10 else None,
        distinct_correct=float(rows["distinct_correct"].to_numpy().mean()),
        judge_errors=int(rows["judge_errors"].sum()),
    )
