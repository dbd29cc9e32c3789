"""Flows that sample through an inference server, or by search, instead of from a policy in this process."""

from __future__ import annotations

from contextlib import ExitStack

from prefect import flow, task

from flows.display.terminal import progress
from flows.runtime.rules import IN_MEMORY, TASK_RETRIES
from flows.runtime.turns import done
from flows.work.artifacts import report_table
from flows.work.rollouts import select_problems
from pipeline.store import Store
from sandbox import Pool
from trainer.policies import load_policy
from trainer.rollouts import (
    Endpoint,
    Provenance,
    SamplingSettings,
    SearchSettings,
    ServedSampler,
    rollout,
    search,
)


@flow(name="rollout-server", flow_run_name="{provenance[name]}", **IN_MEMORY)
def served_rollout_flow(
    store: str,
    url: str,
    model: str,
    endpoint: Endpoint | None,
    concurrency: int,
    folder: str | None,
    provenance: dict,
    sampling: dict,
    problems_sql: str,
    problem_ids: list[str] | None = None,
    seed: int = 0,
) -> int:
    """Sample a model of an OpenAI-compatible server, and append the trajectories.

    `folder`: the folder of the policy that is served, if it is one of ours.
    """
    sampled = served_rollout_task(
        store,
        url,
        model,
        endpoint,
        concurrency,
        folder,
        Provenance(**provenance),
        SamplingSettings(**sampling),
        problems_sql,
        problem_ids,
        seed,
    )
    report_table(
        "rollout", f"Sampled {model} at {url}", [{"rollout": provenance["name"], "samples": sampled}]
    )
    return done(sampled, f"{sampled:,} samples of {model} at {url}", cached=not sampled)


@task(name="sample through a server", **TASK_RETRIES)
def served_rollout_task(
    store: str,
    url: str,
    model: str,
    endpoint: Endpoint | None,
    concurrency: int,
    folder: str | None,
    provenance: Provenance,
    sampling: SamplingSettings,
    problems_sql: str,
    problem_ids: list[str] | None,
    seed: int,
) -> int:
    policy = load_policy(folder) if folder else None
    sampler = ServedSampler(url, model, endpoint, policy, concurrency)
    with progress(f"sample {provenance.name}", "samples") as update:
        return rollout(
            Store(store),
            sampler,
            select_problems(store, problems_sql, problem_ids),
            sampling,
            provenance,
            seed=seed,
            on_progress=update,
        )


@flow(name="search", flow_run_name="{provenance[name]}", **IN_MEMORY)
def search_flow(
    store: str, folder: str, provenance: dict, settings: dict, problems_sql: str, seed: int
) -> int:
    """Search for programs that plain sampling does not find, and append them with origin `search`."""
    count = search_task(
        store, folder, Provenance(**provenance), SearchSettings(**settings), problems_sql, seed
    )
    report_table(
        "search", f"Search by {settings['method']}", [{"search": provenance["name"], "trajectories": count}]
    )
    return done(count, f"{count:,} trajectories found by {settings['method']}", cached=not count)


@task(name="search", **TASK_RETRIES)
def search_task(
    store: str, folder: str, provenance: Provenance, settings: SearchSettings, problems_sql: str, seed: int
) -> int:
    problems = select_problems(store, problems_sql)
    with ExitStack() as stack:
        pool = stack.enter_context(Pool()) if settings.method == "best_of" else None
        update = stack.enter_context(progress(f"search {provenance.name}", "problems"))
        return search(
            Store(store),
            load_policy(folder),
            problems,
            settings,
            provenance,
            seed=seed,
            pool=pool,
            on_progress=update,
        )
