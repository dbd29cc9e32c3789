"""Flows that sample beyond a policy in this process: through a server."""

from __future__ import annotations

from prefect import flow, task

from flows.policies import select_problems
from flows.stages import report_table
from flows.terminal import progress
from pipeline.store import Store
from trainer.policy import load_policy
from trainer.rollout import Provenance, SamplingSettings, rollout
from trainer.served import Endpoint, ServedSampler


@flow(name="rollout-server", flow_run_name="{provenance[name]}")
def served_rollout_flow(
    store: str, url: str, model: str, endpoint: Endpoint | None, concurrency: int, folder: str | None, provenance: dict,
    sampling: dict, problems_sql: str, seed: int,
) -> int:  # fmt: skip
    """Sample a model that an OpenAI-compatible server has, and append the trajectories. `folder`: its policy, if ours."""
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
        seed,
    )
    report_table("rollout", f"Sampled {model} at {url}", [{"rollout": provenance["name"], "samples": sampled}])
    return sampled


@task(name="sample through a server")
def served_rollout_task(
    store: str, url: str, model: str, endpoint: Endpoint | None, concurrency: int, folder: str | None, provenance: Provenance,
    sampling: SamplingSettings, problems_sql: str, seed: int,
) -> int:  # fmt: skip
    policy = load_policy(folder) if folder else None
    sampler = ServedSampler(url, model, endpoint, policy, concurrency)
    with progress(f"sample {provenance.name}", "samples") as update:
        return rollout(
            Store(store), sampler, select_problems(store, problems_sql), sampling, provenance, seed=seed, on_progress=update
        )
