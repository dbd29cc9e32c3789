"""The training loop: stream -> step -> log line, with checkpoints from which a killed run goes on.

A run is a folder: `metrics.jsonl` (a line per step: the watermark, the weights and the figures),
`checkpoint-<step>/` (policy, optimiser, state of stream and objective; the newest two are kept) and `final/`
once it is done.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from trainer.data import Stream
from trainer.distributed import SINGLE, Learner, Preparation, Ranks, checkpoints
from trainer.objectives import Objective
from trainer.policies import Policy, Publisher, has_weights, load_policy, prepare
from trainer.run.checks import check_settings
from trainer.run.log import RunLog, flush_log, forget_replay, truncate_log
from trainer.run.optim import OptimiserSettings, new_optimiser
from trainer.run.settings import TrainingSettings
from trainer.run.speed import speed_figures
from trainer.run.step import Trainer
from trainer.run.weights import changed_weights

FINAL = "final"


class FreshRows(Protocol):
    """What adds rows to the store while a run goes on (`trainer.rollouts.FreshData`)."""

    def due(self, step: int) -> bool:
        """Whether rows are to be added before this step."""

    def make(self, step: int, policy: Policy) -> None:
        """Add rows that the policy of this step samples."""


@dataclass(kw_only=True)
class TrainingJob:
    """All that a training consists of. `policy` is where it starts; the stream and the objective keep its
    state.
    """

    folder: Path
    policy: Policy
    stream: Stream
    objective: Objective
    settings: TrainingSettings
    optimiser: OptimiserSettings
    fresh: FreshRows | None = None
    publisher: Publisher | None = None
    on_step: Callable[[dict], None] | None = None
    ranks: Ranks = SINGLE


def train(job: TrainingJob) -> Policy:
    """Train, or go on with a training, in `job.folder`; returns the final policy. A finished one is read from
    there.

    A killed run repeats the steps since its last checkpoint to the bit: watermark and weights come from the
    log. Raises TrainingError on a failed gate, an outlier or a loss that is not finite.
    """
    if has_weights(str(job.folder / FINAL)):
        return load_policy(job.folder / FINAL)
    check_settings(job.settings, job.objective.needs)
    job.folder.mkdir(parents=True, exist_ok=True)
    learner, first_step = start_or_resume(job)
    trainer = Trainer(learner, job.objective, job.settings, job.optimiser, job.ranks)
    first_rank = job.ranks.rank == 0
    logged = job.ranks.agree(truncate_log(job.folder, first_step) if first_rank else None)
    log = RunLog(job.folder, first_step, tensorboard=job.settings.tensorboard, enabled=first_rank)
    with log:
        for step in range(first_step, job.settings.steps):
            started = time.monotonic()
            fresh_seconds = advance_data(job, learner, step, logged.get(step))
            rows = job.stream.batch(step)
            data_seconds = time.monotonic() - started
            figures = trainer.step(step, rows)
            job.objective.after_step(figures)
            seconds = time.monotonic() - started
            figures |= {"seconds": seconds, "data_seconds": data_seconds, "fresh_seconds": fresh_seconds}
            figures |= speed_figures(learner.policy, rows, seconds, job.settings.peak_flops, job.ranks.world)
            figures |= data_figures(job.stream, step)
            log.write(figures)
            if job.on_step:
                job.on_step(figures)
            if step + 1 < job.settings.steps:
                save_progress(job, learner, step + 1)
    if first_rank:
        forget_replay(job.folder)
    return learner.finish(job.folder / FINAL)


def start_or_resume(job: TrainingJob) -> tuple[Learner, int]:
    """The learner and the first step: at the start, or where the newest checkpoint left policy, stream and
    objective.
    """
    preparation = Preparation(
        prepare=lambda policy: prepare(
            policy,
            lora=job.optimiser.lora,
            activation_checkpointing=job.settings.activation_checkpointing,
        ),
        new_optimiser=lambda policy: new_optimiser(policy, job.optimiser.kind),
    )
    saved = checkpoints(job.folder)
    learner, state = job.ranks.start(job.policy, preparation, saved[-1] if saved else None)
    if not state:
        return learner, 0
    job.objective.load_state(state["objective"])
    job.stream.restore(state["stream"])
    return learner, state["step"]


def advance_data(job: TrainingJob, learner: Learner, step: int, logged: dict | None) -> float:
    """Apply the mixture weights and store snapshot for this step: the logged ones on replay, else those of
    now.

    Returns the seconds in which fresh rows were made.
    """
    stream, ranks = job.stream, job.ranks
    if logged:
        stream.weight_overrides = dict(logged["overrides"])
        stream.advance(logged["watermark"])
        return 0.0
    started, makes = time.monotonic(), job.fresh is not None and job.fresh.due(step)
    if job.fresh and makes:
        job.fresh.make(step, learner.whole())
    fresh_seconds = time.monotonic() - started if makes else 0.0
    every = stream.mixture.follow_every
    if makes or not stream.watermark or (every and step % every == 0):
        stream.advance(ranks.agree(stream.latest()))
    stream.weight_overrides = ranks.agree(changed_weights(job.folder))
    return fresh_seconds


def data_figures(stream: Stream, step: int) -> dict:
    """What the batch of a step was drawn by: the replay of the step needs it."""
    return {
        "watermark": stream.watermark,
        "weights": stream.requested_weights(step),
        "overrides": dict(stream.weight_overrides),
    }


def save_progress(job: TrainingJob, learner: Learner, step: int) -> None:
    """Publish the policy and write a checkpoint before a step, where they are due.

    Published first: a run killed between the two repeats the step, and finds that it is published.
    """
    every = job.settings.publish_every
    if job.publisher and every and step % every == 0:
        publish(job, learner, job.publisher, step)
    if step % job.settings.checkpoint_every == 0:
        state = {"step": step, "stream": job.stream.state, "objective": job.objective.state()}
        flush_log(job.folder)
        learner.save_checkpoint(job.folder, step, state)


def publish(job: TrainingJob, learner: Learner, publisher: Publisher, step: int) -> None:
    """Write the policy of a step and record it, unless that was done before this process was started again."""
    ranks, target = job.ranks, job.folder / f"policy-{step}"
    if ranks.agree(publisher.is_published(step)):
        return
    if not ranks.agree(target.exists()):
        learner.write(target)
    if ranks.rank == 0:
        publisher.publish(step, target)
