"""Evaluation: sample a policy on held-out problems, label the samples like any other, and store what came of them.

pass@k is the unbiased estimator of Chen et al. 2021 (arXiv 2107.03374), see `pipeline/store/passk.py`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import polars as pl

from pipeline.dedup import sign
from pipeline.evaluation import mean_entropy, verdict_mix
from pipeline.labelling import label
from pipeline.store import NOT_A_REWARD, Estimate, Evaluations, Store, alone, connect, estimate, query
from sandbox import Pool, judge_version
from trainer.policies import Policy, digest, token_entropy
from trainer.rollouts import Provenance, Sampler, SamplingSettings, rollout

ENTROPY_SAMPLES = (
    4  # a problem: their tokens say enough, and all would cost a forward pass of the whole evaluation
)

SAMPLES = """
select t.problem_id, t.sample_index, t.program, t.language, t.token_ids, coalesce(j.verdict, 'judge_error') as verdict
from trajectories t left join judged j using (trajectory_id) where t.batch_id = $name
"""


@dataclass(frozen=True)
class Evaluation:
    """A policy's figures on a set of problems. `distinct_correct` is the mean a problem, programs compared without layout.

    pass@k is None where a problem has fewer than k samples with a verdict.
    """

    policy_id: str
    problems: int
    samples: int
    pass_at_1: Estimate
    pass_at_10: Estimate | None
    distinct_correct: float
    judge_errors: int
    pass_at_100: Estimate | None = None
    token_entropy: float | None = None  # nats a token; None where the policy is not in this process
    verdicts: dict[str, int] = field(default_factory=dict)


def evaluate(
    store: Store,
    pool: Pool,
    policy: Policy | Sampler,
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
            store,
            policy,
            problems,
            settings,
            Provenance(name=name, policy_id=policy_id, run_id=run_id, policy_step=step),
            seed=seed,
            on_progress=on_progress,
        )
        with alone(store.location, "label"):
            label(store, pool)
        with connect(store) as connection:
            samples = query(connection, SAMPLES, {"name": name})
        entropies = entropy_of(policy, problems, samples) if isinstance(policy, Policy) else None
        rows = (
            per_problem(samples, entropies)
            .join(problems.select("problem_id", "split"), on="problem_id")
            .with_columns(
                policy_id=pl.lit(policy_id),
                settings=pl.lit(key),
                run_id=pl.lit(run_id, dtype=pl.String),
                seed=pl.lit(seed, dtype=pl.Int64),
                step=pl.lit(step, dtype=pl.Int64),
                evaluated_at=pl.lit(datetime.now(UTC)),
            )
        )
        found = rows.select(Evaluations.column_names())
        store.append("evaluations", found, producer=f"eval/{policy_id}/{key}", sequence=0)
    return summary_of(policy_id, found)


def settings_key(settings: SamplingSettings, problems: pl.DataFrame, seed: int) -> str:
    """JSON of everything that decides an evaluation's outcome beside the policy."""
    which = digest({"problems": " ".join(problems["problem_id"].sort())})
    drawn = settings.model_dump(exclude={"batch_size"})
    return json.dumps(
        {**drawn, "problems": problems.height, "set": which, "seed": seed, "judge": judge_version()},
        sort_keys=True,
    )


def stored(store: Store, policy_id: str, settings: str) -> pl.DataFrame:
    return store.read("evaluations").filter(
        (pl.col("policy_id") == policy_id) & (pl.col("settings") == settings)
    )


def entropy_of(policy: Policy, problems: pl.DataFrame, samples: pl.DataFrame) -> pl.DataFrame:
    """Columns problem_id and token_entropy: the mean over the tokens of each problem's first samples, nats."""
    first = samples.filter(pl.col("sample_index") < ENTROPY_SAMPLES, pl.col("token_ids").list.len() > 0)
    first = first.join(problems.select("problem_id", "statement"), on="problem_id")
    prompts = [policy.prompt_ids(statement) for statement in first["statement"]]
    found = pl.DataFrame(
        token_entropy(policy, prompts, first["token_ids"].to_list()),
        schema={"total": pl.Float64, "tokens": pl.Int64},
        orient="row",
    )
    sums = (
        first.select("problem_id").hstack(found).group_by("problem_id").agg(pl.col("total", "tokens").sum())
    )
    return sums.select("problem_id", token_entropy=pl.col("total") / pl.col("tokens"))


def per_problem(samples: pl.DataFrame, entropies: pl.DataFrame | None = None) -> pl.DataFrame:
    """Samples, successes and distinct successes of each problem; samples without a verdict are counted apart."""
    if entropies is None:
        entropies = pl.DataFrame(schema={"problem_id": pl.String, "token_entropy": pl.Float64})
    correct = pl.col("verdict") == "accepted"
    lost = pl.col("verdict").is_in(NOT_A_REWARD)
    samples = samples.with_columns(
        token_hash=pl.Series(sign(samples["program"], "python3").token_hash, dtype=pl.String)
    )
    return (
        samples.group_by("problem_id")
        .agg(
            samples=(~lost).sum().cast(pl.Int32),
            correct=correct.sum().cast(pl.Int32),
            distinct_correct=pl.col("token_hash").filter(correct).n_unique().cast(pl.Int32),
            judge_errors=lost.sum().cast(pl.Int32),
            verdicts=pl.col("verdict").sort(),
        )
        .with_columns(pl.col("verdicts").map_elements(counts_of, return_dtype=pl.String))
        .join(entropies, on="problem_id", how="left")
        .filter(pl.col("samples") > 0)
        .sort("problem_id")
    )


def counts_of(verdicts: pl.Series) -> str:
    return json.dumps(dict(Counter(verdicts.to_list())))


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
        pass_at_100=estimate(samples, correct, 100) if samples.min() >= 100 else None,
        token_entropy=mean_entropy(rows),
        verdicts=verdict_mix(rows),
    )
