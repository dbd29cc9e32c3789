"""Evaluation: estimate pass@k of a policy on held-out problems."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefect import flow, task

from flows.display.terminal import progress
from flows.runtime.rules import IN_MEMORY, TASK_RETRIES
from flows.runtime.turns import done, processors
from flows.work.artifacts import report_table
from pipeline.store import Store
from sandbox import Pool

if TYPE_CHECKING:
    from trainer.evaluation import Evaluation
    from trainer.rollouts import SamplingSettings


@flow(name="evaluate", flow_run_name="{policy_id}", **IN_MEMORY)
def evaluate_flow(
    store: str,
    folder: str,
    policy_id: str,
    problems_sql: str,
    sampling: dict,
    run_id: str | None = None,
    seed: int = 0,
) -> dict:
    """Estimate pass@k of a policy on the problems that the SQL condition `problems_sql` selects."""
    from trainer.rollouts import SamplingSettings

    with processors():
        result = _row(
            evaluate_task(store, folder, policy_id, problems_sql, SamplingSettings(**sampling), run_id, seed)
        )
    report_table("evaluate", f"Evaluated {policy_id}", [result])
    return done(
        result,
        f"pass@1 {result['pass@1']:.3f} over {result['problems']:,} problems, {result['samples']:,} samples",
    )


@task(name="sample and judge", **TASK_RETRIES)
def evaluate_task(
    store: str,
    folder: str,
    policy_id: str,
    problems_sql: str,
    sampling: SamplingSettings,
    run_id: str | None,
    seed: int,
) -> Evaluation:
    from flows.work.rollouts import select_problems
    from trainer.evaluation import evaluate
    from trainer.policies import load_policy

    problems = select_problems(store, problems_sql)
    with Pool() as pool, progress(f"evaluate {policy_id}", "samples") as update:
        return evaluate(
            Store(store),
            pool,
            load_policy(folder),
            policy_id,
            problems,
            sampling,
            seed=seed,
            run_id=run_id,
            on_progress=update,
        )


def _row(result: Evaluation) -> dict:
    """The figures of an evaluation as one row of a table."""
    return {
        "policy": result.policy_id,
        "problems": result.problems,
        "samples": result.samples,
        "pass@1": round(result.pass_at_1.mean, 4),
        "pass@10": None if result.pass_at_10 is None else round(result.pass_at_10.mean, 4),
        "left out of pass@10": result.problems if result.pass_at_10 is None else result.pass_at_10.left_out,
        "distinct correct": round(result.distinct_correct, 3),
        "judge errors": result.judge_errors,
    }
