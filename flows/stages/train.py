"""Training: the only path from a configuration to a published policy, with or without a schedule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact

from flows.display.terminal import progress
from flows.runtime.rules import IN_MEMORY, TASK_RETRIES
from flows.runtime.turns import done, processors

if TYPE_CHECKING:
    from trainer.run import RunConfig


@flow(name="train", flow_run_name="{config[run]}", **IN_MEMORY)
def train_flow(config: dict[str, Any]) -> str:
    """Train a policy as a run's configuration says, and publish it. Returns the policy's folder.

    `config` has the keys of `trainer.run.RunConfig`. An existing run resumes; a finished run is looked up.
    """
    from trainer.run import RunConfig

    return train_run(RunConfig.model_validate(config))


def train_run(config: RunConfig) -> str:
    """The body of every training flow: train unless the run is finished, and record the policy as an
    artifact.
    """
    from trainer.run import is_finished

    final = config.run / "final"
    if is_finished(config):
        return done(str(final), f"{config.run} was finished before", cached=True)
    with processors():
        train_task(config)
    create_markdown_artifact(f"`{final}`", key="policy", description=f"Policy {config.run_id}")
    return done(str(final), f"{config.training.steps:,} steps, policy {config.run_id} in {final}")


@task(name="train policy", **TASK_RETRIES)
def train_task(config: RunConfig) -> None:
    from trainer.run import run

    with progress(f"train {config.run_id}", "steps") as update:
        run(config, on_step=lambda figures: update(figures["step"] + 1, config.training.steps))
