"""Flows that make policies and sample them: warm start, adoption of a pretrained model, rollout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
from prefect import flow, task

from flows.display.terminal import progress
from flows.runtime.rules import IN_MEMORY, PATIENT, done
from pipeline.store import Store, connect, predicate, publish_folder, query
from trainer.policies import load_policy, new_policy, publish_policy, warm_start
from trainer.rollouts import Provenance, SamplingSettings, rollout


@flow(name="warm-start", flow_run_name="{policy_id}", **IN_MEMORY)
def warm_start_flow(store: str, folder: str, policy_id: str, settings: dict[str, Any]) -> str:
    """Make the reference policy: supervised training on some of the correct programs. Returns its folder."""
    made = warm_start_task(store, folder, policy_id, settings)
    return done(made, f"policy {policy_id} in {made}")


@task(name="supervised training", **PATIENT)
def warm_start_task(store_path: str, folder: str, policy_id: str, settings: dict[str, Any]) -> str:
    store, target = Store(store_path), Path(folder)
    if not (target / "config.json").exists():
        pairs = warm_start_pairs(store, settings["share"], settings["programs"])
        policy = new_policy(warm_start_texts(store), seed=settings["seed"], **settings["model"])
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


def warm_start_pairs(store: Store, share: float, programs: int) -> list[tuple[str, str]]:
    """A few correct programs for each of a share of the training problems, chosen by hash; the rest is
    left to the RL.
    """
    with connect(store) as connection:
        found = query(
            connection,
            """
            with chosen as (select problem_id from problems where split = 'train' and source = 'starter'),
            picked as (select problem_id from chosen order by md5(problem_id) limit (select round($share * count(*)) from chosen))
            select p.statement, j.program from judged j join problems p using (problem_id) join picked using (problem_id)
            where j.origin = 'human' and j.language = 'python3' and j.verdict = 'accepted'
            qualify row_number() over (partition by j.problem_id order by j.trajectory_id) <= $programs
            order by j.problem_id, j.trajectory_id
            """,
            {"share": share, "programs": programs},
        )
    return list(found.iter_rows())


def warm_start_texts(store: Store) -> list[str]:
    with connect(store) as connection:
        found = query(
            connection,
            """
            select statement as text from problems where source = 'starter' and split = 'train'
            union all
            select program from judged
            where source = 'starter' and split = 'train' and origin = 'human' and language = 'python3' and verdict = 'accepted'
            """,
        )
    return sorted(found["text"].to_list())


@flow(name="adopt-model", flow_run_name="{policy_id}", **IN_MEMORY)
def adopt_flow(store: str, model: str, folder: str, policy_id: str) -> str:
    """Take a pretrained model as the reference policy: a folder, a Hub name or a GGUF file. Returns its
    folder in the run.
    """
    made = adopt_task(store, model, folder, policy_id)
    return done(made, f"policy {policy_id}, from {model}, in {made}")


@task(name="load and save model", **PATIENT)
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
    chosen: list[str] | None = None,
    seed: int = 0,
) -> int:
    """Sample a policy on the problems that `problems_sql` selects, or on those `chosen`, and append the
    trajectories.
    """
    count = rollout_task(
        store, folder, Provenance(**provenance), SamplingSettings(**sampling), problems_sql, chosen, seed
    )
    return done(count, f"{count:,} samples of {provenance['policy_id']}", cached=not count)


@task(name="sample completions", **PATIENT)
def rollout_task(
    store: str,
    folder: str,
    provenance: Provenance,
    sampling: SamplingSettings,
    problems_sql: str,
    chosen: list[str] | None,
    seed: int,
) -> int:
    policy = load_policy(folder)
    with progress(f"sample {provenance.name}", "samples") as update:
        return rollout(
            Store(store),
            policy,
            select_problems(store, problems_sql, chosen),
            sampling,
            provenance,
            seed=seed,
            on_progress=update,
        )


def select_problems(store: str, sql: str, chosen: list[str] | None = None) -> pl.DataFrame:
    """problem_id, statement and split of the problems that a condition selects, or of those chosen from them."""
    where, values = sql, None
    if chosen is not None:
        where, values = "list_contains($chosen, problem_id)", {"chosen": chosen}
    with connect(Store(store)) as connection:
        return query(
            connection,
            "select problem_id, statement, split from problems"
            f" where {predicate(where, values, name='problems')} order by md5(problem_id)",
            values,
        )
