"""Flows that only schedules need: publish a corpus from its file, train from a configuration file, evaluate a
published policy, run a chain.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact

from flows import stages
from flows.runtime.rules import IN_MEMORY
from flows.runtime.turns import done
from flows.stages.train import train_run
from pipeline.corpora import read_spec
from pipeline.store import Store

if TYPE_CHECKING:
    from trainer.run import RunConfig


@flow(name="publish", flow_run_name="{spec_file}", **IN_MEMORY)
def publish_file_flow(store: str, spec_file: str) -> dict:
    """Publish the corpus that a .toml or .sql file defines, from the current store. Publishing the same rows
    again adds nothing.
    """
    spec = read_spec(spec_file)
    fields = {
        "name": spec.name,
        "query": spec.query,
        "reward": spec.reward,
        "parameters": dict(spec.parameters),
    }
    result = stages.publish_flow(store, fields | {"description": spec.description})
    return done(result, f"corpus {result['name']}: {result['rows']:,} rows, {result['corpus']}")


@flow(name="train-from-config", flow_run_name="{config}", **IN_MEMORY)
def train_file_flow(config: str, repeat: bool = False) -> str:
    """Train from a configuration file. An existing run resumes; a finished run is looked up.

    With `repeat`, a new run starts next to a finished one: run, run-2, run-3, ...
    """
    from trainer.run import load_config

    chosen = load_config(Path(config))
    return train_run(next_run(chosen) if repeat else chosen)


def next_run(config: RunConfig) -> RunConfig:
    """The configuration, with the first of these folders whose run is not finished."""
    number, chosen = 1, config
    while (chosen.run / "final" / "config.json").exists():
        number += 1
        chosen = config.model_copy(update={"run": config.run.with_name(f"{config.run.name}-{number}")})
    return chosen


@flow(name="evaluate-published", flow_run_name="{policy}", **IN_MEMORY)
def evaluate_published_flow(
    store: str,
    policy: str = "newest",
    problems: str = "split = 'test'",
    samples_per_problem: int = 10,
    max_new_tokens: int = 512,
    temperature: float = 1.0,
    seed: int = 0,
) -> dict:
    """Evaluate a published policy, by its id or the newest one. A stored evaluation with the same settings is
    looked up.
    """
    from trainer.policies import find_policy, newest_published

    chosen = newest_published(Store(store)) if policy == "newest" else find_policy(Store(store), policy)
    sampling = {
        "samples_per_problem": samples_per_problem,
        "max_new_tokens": max_new_tokens,
        "temperature": temperature,
    }
    result = stages.evaluate_flow(
        store, str(chosen.folder), chosen.policy_id, problems, sampling, run_id=chosen.run_id, seed=seed
    )
    return done(
        result, f"{chosen.policy_id}: pass@1 {result['pass@1']:.3f} over {result['problems']:,} problems"
    )


FLOWS: dict[str, Callable[..., Any]] = {
    "ingest": stages.ingest_flow,
    "deduplicate": stages.deduplicate_flow,
    "label": stages.label_flow,
    "score": stages.score_flow,
    "publish": publish_file_flow,
    "train": train_file_flow,
    "evaluate": evaluate_published_flow,
    "maintain": stages.maintain_flow,
}


@flow(name="chain", flow_run_name="{name}", **IN_MEMORY)
def chain_flow(steps: list[dict], name: str = "chain") -> list[str]:
    """Run entries of a schedule (`{"name", "stage", "parameters"}`) one after another until one fails."""
    rows = []
    for step in steps:
        started = time.monotonic()
        FLOWS[step["stage"]](**step["parameters"])
        rows.append(f"| {step['name']} | {step['stage']} | {time.monotonic() - started:.1f} |")
    create_markdown_artifact(
        "| step | stage | seconds |\n|---|---|---:|\n" + "\n".join(rows), key="chain", description="Steps"
    )
    names = [step["name"] for step in steps]
    return done(names, f"{len(names)} steps: {', '.join(names)}")
