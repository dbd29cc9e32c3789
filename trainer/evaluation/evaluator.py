"""Evaluation: sample a policy on held-out problems, judge the samples like any others, and store the counts
per problem.

How counts become numbers (problems with too few samples, judge errors, seeds, intervals) is decided in
`pipeline/evaluation/aggregate.py`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import polars as pl

from pipeline.dedup import sign
from pipeline.evaluation import Estimate, mean_entropy, rates, verdict_mix, without_seed
from pipeline.labelling import label
from pipeline.store import NOT_A_REWARD, Evaluations, Store, connect_for, exclusive, judged_of, query
from sandbox import Pool, judge_version
from trainer.policies import Policy, digest, problems_of, token_entropy
from trainer.rollouts import Provenance, Sampler, SamplingSettings, rollout

# Samples per problem whose tokens give the entropy: all of them would cost a forward pass over the whole
# evaluation.
ENTROPY_SAMPLES = 4

SAMPLES = f"""
select
    t.problem_id, t.sample_index, t.program, t.language, t.token_ids,
    case when t.finish_reason = 'length' then coalesce(j.verdict, 'wrong_answer')
        else coalesce(j.verdict, 'judge_error') end as verdict
from trajectories t left join {judged_of("batch_id = $name")} j using (trajectory_id) where t.batch_id = $name
"""


class EvaluationError(RuntimeError):
    """An evaluation without a single verdict; it is not stored, so the same command tries again."""


@dataclass(frozen=True)
class Evaluation:
    """A policy's figures on a set of problems.

    `problems` counts the problems of the set and `samples` the samples with a verdict; `judge_errors` are
    samples without one. Each estimate says over how many problems it is and how many it leaves out; pass@k is
    None where no problem has k judged samples. `distinct_correct` is the mean number per problem of accepted
    programs that differ in more than layout. `evaluations` counts the stored evaluations behind the figures,
    which differ in their seed alone.
    """

    policy_id: str
    problems: int
    samples: int
    pass_at_1: Estimate
    pass_at_10: Estimate | None
    distinct_correct: float
    judge_errors: int
    pass_at_100: Estimate | None = None
    token_entropy: float | None = None  # nats per token; None where the policy is not in this process
    verdicts: dict[str, int] = field(default_factory=dict)
    evaluations: int = 1


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
    """Evaluate on `problems` (columns problem_id, statement, split). It is done once per policy, settings and
    seed, then looked up.

    The figures pool all stored evaluations of the policy under these settings, whatever their seed. Raises
    EvaluationError if no sample has a verdict.
    """
    key = settings_key(settings, problems, seed)
    if key not in stored(store, policy_id, key)["settings"]:
        name = f"eval/{policy_id}/{digest({'settings': key})}"
        provenance = Provenance(name=name, policy_id=policy_id, run_id=run_id, policy_step=step)
        rollout(store, policy, problems, settings, provenance, seed=seed, on_progress=on_progress)
        with exclusive(store.location, "label"):
            label(store, pool, where="t.batch_id = $batch", parameters={"batch": name})
        rows = _rows(store, policy, problems, provenance, key, seed)
        store.append("evaluations", rows, producer=f"eval/{policy_id}/{key}", sequence=0)
    return summary_of(policy_id, stored(store, policy_id, key))


def _rows(
    store: Store,
    policy: Policy | Sampler,
    problems: pl.DataFrame,
    provenance: Provenance,
    key: str,
    seed: int,
) -> pl.DataFrame:
    """Rows for `evaluations` from the judged samples of a rollout: one per problem, also without any sample
    or verdict.
    """
    with connect_for(store, SAMPLES) as connection:
        samples = query(connection, SAMPLES, {"name": provenance.name})
    language = json.loads(key).get("language", "python3")
    entropies = None
    if isinstance(policy, Policy):
        entropies = _entropies(store, policy, problems, samples, language)
    counts = per_problem(samples, entropies)
    if not counts["samples"].sum():
        raise EvaluationError(
            f"{provenance.policy_id}: none of {samples.height} samples has a verdict;"
            " see spo doctor and spo label, then evaluate again"
        )
    rows = problems.select("problem_id", "split").join(counts, on="problem_id", how="left")
    return rows.with_columns(
        pl.col("samples", "correct", "distinct_correct", "judge_errors").fill_null(0),
        policy_id=pl.lit(provenance.policy_id),
        settings=pl.lit(key),
        run_id=pl.lit(provenance.run_id, dtype=pl.String),
        seed=pl.lit(seed, dtype=pl.Int64),
        step=pl.lit(provenance.policy_step, dtype=pl.Int64),
        evaluated_at=pl.lit(datetime.now(UTC)),
    ).select(Evaluations.column_names())


def settings_key(settings: SamplingSettings, problems: pl.DataFrame, seed: int) -> str:
    """JSON of everything but the policy that decides the outcome of an evaluation: sampling, problem set,
    seed and judge.
    """
    which = digest({"problems": " ".join(problems["problem_id"].sort())})
    fields = settings.model_dump(exclude={"batch_size"})
    return json.dumps(
        {**fields, "problems": problems.height, "set": which, "seed": seed, "judge": judge_version()},
        sort_keys=True,
    )


def stored(store: Store, policy_id: str, settings: str) -> pl.DataFrame:
    """Rows of `evaluations` for a policy under these settings with any seed; empty if there are none."""
    rows = store.read("evaluations").filter(pl.col("policy_id") == policy_id)
    same = [without_seed(text) == without_seed(settings) for text in rows["settings"]]
    return rows.filter(pl.Series(same, dtype=pl.Boolean))


def _entropies(
    store: Store, policy: Policy, problems: pl.DataFrame, samples: pl.DataFrame, language: str
) -> pl.DataFrame:
    """Columns problem_id and token_entropy: nats per token, over each problem's first samples."""
    first = samples.filter(pl.col("sample_index") < ENTROPY_SAMPLES, pl.col("token_ids").list.len() > 0)
    first = first.join(problems.select("problem_id", "statement"), on="problem_id")
    prompts = [policy.prompt_ids(problem) for problem in problems_of(store, first, language)]
    rows = pl.DataFrame(
        token_entropy(policy, prompts, first["token_ids"].to_list()),
        schema={"total": pl.Float64, "tokens": pl.Int64},
        orient="row",
    )
    sums = first.select("problem_id").hstack(rows).group_by("problem_id").agg(pl.col("total", "tokens").sum())
    return sums.select("problem_id", token_entropy=pl.col("total") / pl.col("tokens"))


def per_problem(samples: pl.DataFrame, entropies: pl.DataFrame | None = None) -> pl.DataFrame:
    """Counts of samples, successes and distinct successes of each problem, sorted by its id.

    Samples without a verdict are counted in `judge_errors` alone; a problem that has no others is kept with
    `samples` 0.
    """
    if entropies is None:
        entropies = pl.DataFrame(schema={"problem_id": pl.String, "token_entropy": pl.Float64})
    correct = pl.col("verdict") == "accepted"
    no_verdict = pl.col("verdict").is_in(NOT_A_REWARD)
    hashes = sign(samples["program"], "python3").token_hash
    return (
        samples.with_columns(token_hash=pl.Series(hashes, dtype=pl.String))
        .group_by("problem_id")
        .agg(
            samples=(~no_verdict).sum().cast(pl.Int32),
            correct=correct.sum().cast(pl.Int32),
            distinct_correct=pl.col("token_hash").filter(correct).n_unique().cast(pl.Int32),
            judge_errors=no_verdict.sum().cast(pl.Int32),
            verdicts=pl.col("verdict").sort(),
        )
        .with_columns(pl.col("verdicts").map_elements(_counts, return_dtype=pl.String))
        .join(entropies, on="problem_id", how="left")
        .sort("problem_id")
    )


def _counts(verdicts: pl.Series) -> str:
    return json.dumps(dict(Counter(verdicts.to_list())))


def summary_of(policy_id: str, rows: pl.DataFrame) -> Evaluation:
    """The figures of a policy from its rows of `evaluations`, see `stored`. Raises EvaluationError without a
    verdict.
    """
    estimates = rates(rows)
    pass_at_1, distinct = estimates["pass@1"], estimates["distinct correct"]
    if pass_at_1 is None or distinct is None:
        raise EvaluationError(
            f"{policy_id}: none of its samples has a verdict; evaluate it with another seed"
        )
    return Evaluation(
        policy_id=policy_id,
        problems=rows["problem_id"].n_unique(),
        samples=int(rows["samples"].sum()),
        pass_at_1=pass_at_1,
        pass_at_10=estimates["pass@10"],
        distinct_correct=distinct.mean,
        judge_errors=int(rows["judge_errors"].sum()),
        pass_at_100=estimates["pass@100"],
        token_entropy=mean_entropy(rows),
        verdicts=verdict_mix(rows),
        evaluations=rows["settings"].n_unique(),
    )
