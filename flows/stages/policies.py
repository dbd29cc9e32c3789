"""Flows that create policies and sample them: warm start, adoption of a pretrained model, rollout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
from prefect import flow, task

from flows.display.terminal import progress
from flows.runtime.rules import IN_MEMORY, TASK_RETRIES
from flows.runtime.turns import done
from pipeline.store import (
    MAY_BE_SAMPLED,
    Store,
    connect,
    predicate,
    publish_folder,
    query,
    report_not_sampled,
)
from trainer.policies import SolvedRows, load_policy, new_policy, publish_policy, warm_start
from trainer.rollouts import Provenance, SamplingSettings, rollout


@flow(name="warm-start", flow_run_name="{policy_id}", **IN_MEMORY)
def warm_start_flow(store: str, folder: str, policy_id: str, settings: dict[str, Any]) -> str:
    """Create the reference policy by supervised training on some correct programs. Returns its folder."""
    policy_folder = warm_start_task(store, folder, policy_id, settings)
    return done(policy_folder, f"policy {policy_id} in {policy_folder}")


@task(name="supervised training", **TASK_RETRIES)
def warm_start_task(store_path: str, folder: str, policy_id: str, settings: dict[str, Any]) -> str:
    store, target = Store(store_path), Path(folder)
    if not (target / "config.json").exists():
        rows = SolvedRows(**settings["rows"])
        pairs = rows.pairs(store)
        policy = new_policy(rows.texts(store), seed=settings["seed"], **settings["model"])
        with progress(f"warm start {policy_id}", "steps") as update:
            warm_start(
                policy,
                pairs,
                seed=settings["seed"],
                on_progress=lambda p: update(p.step, p.steps),
                **settings["training"],
            )
        publish_folder(target, policy.save)
    publish_policy(store, load_policy(target), target, policy_id=policy_id, details={"warm_start": settings})
    return folder


@flow(name="adopt-model", flow_run_name="{policy_id}", **IN_MEMORY)
def adopt_flow(store: str, model: str, folder: str, policy_id: str) -> str:
    """Use a pretrained model (a folder, a Hub name or a GGUF file) as the reference policy. Returns its
    folder in the run.
    """
    policy_folder = adopt_task(store, model, folder, policy_id)
    return done(policy_folder, f"policy {policy_id}, from {model}, in {policy_folder}")


@task(name="load and save model", **TASK_RETRIES)
def adopt_task(store: str, model: str, folder: str, policy_id: str) -> str:
    target = Path(folder)
    if not (target / "config.json").exists():
        publish_folder(target, load_policy(model).save)
    publish_policy(Store(store), load_policy(target), target, policy_id=policy_id, details={"model": model})
    return folder


@flow(name="rollout", flow_run_name="{provenance[name]}", **IN_MEMORY)
def rollout_flow(
    store: str,
    folder: str,
    provenance: dict,
    sampling: dict,
    problems_sql: str,
    problem_ids: list[str] | None = None,
    seed: int = 0,
) -> int:
    """Sample a policy and append the trajectories: on the problems `problem_ids`, or else on those that
    `problems_sql` selects. Returns the number of samples.
    """
    count = rollout_task(
        store, folder, Provenance(**provenance), SamplingSettings(**sampling), problems_sql, problem_ids, seed
    )
    return done(count, f"{count:,} samples of {provenance['policy_id']}", cached=not count)


@task(name="sample completions", **TASK_RETRIES)
def rollout_task(
    store: str,
    folder: str,
    provenance: Provenance,
    sampling: SamplingSettings,
    problems_sql: str,
    problem_ids: list[str] | None,
    seed: int,
) -> int:
    policy = load_policy(folder)
    with progress(f"sample {provenance.name}", "samples") as update:
        return rollout(
            Store(store),
            policy,
            select_problems(store, problems_sql, problem_ids),
            sampling,
            provenance,
            seed=seed,
            on_progress=update,
        )


def select_problems(store: str, sql: str, problem_ids: list[str] | None = None) -> pl.DataFrame:
    """problem_id, statement and split of the problems `problem_ids`, or else of those that `sql` selects;
    without those that may not be sampled."""
    where, values = sql, None
    if problem_ids is not None:
        where, values = "list_contains($problem_ids, problem_id)", {"problem_ids": problem_ids}
    with connect(Store(store)) as connection:
        condition = predicate(where, values, name="problems")
        report_not_sampled(connection, condition, values)
        return query(
            connection,
            "select problem_id, statement, split from problems"
            f" where {condition} and {MAY_BE_SAMPLED} order by md5(problem_id)",
            values,
        )
