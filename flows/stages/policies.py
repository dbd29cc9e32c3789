"""Flows that create policies and sample them: warm start, adoption of a pretrained model, rollout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow, task

from flows.display.terminal import progress
from flows.runtime.rules import IN_MEMORY, TASK_RETRIES
from flows.runtime.turns import done
from flows.work.rollouts import sample_policy
from pipeline.store import Store, publish_folder
from trainer.policies import SolvedRows, load_policy, new_policy, publish_policy, warm_start
from trainer.rollouts import Provenance, SamplingSettings


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


rollout_task = task(name="sample completions", **TASK_RETRIES)(sample_policy)


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
