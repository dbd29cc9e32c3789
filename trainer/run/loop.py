"""The training loop: stream -> step -> log line, with checkpoints from which a killed run resumes.

A run is a folder: `metrics.jsonl` (a line per step: the watermark, the weights and the figures),
`rows.jsonl` (the same steps, row by row), `checkpoint-<step>/` (policy, optimiser, state of stream and
objective; the newest two are kept) and `final/` once it is done.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pipeline.store import connect_for, query
from trainer.data import Stream
from trainer.distributed import SINGLE, Learner, Ranks, newest_whole
from trainer.objectives import Objective
from trainer.policies import Policy, Publisher, damage, load_policy
from trainer.run.checks import check_settings
from trainer.run.disk_full import full_disk_named
from trainer.run.exclusive import exclusive_run
from trainer.run.folder import FINAL, has_whole_final, inspect_folder
from trainer.run.log import RunLog, flush_log, forget_replay, truncate_log
from trainer.run.loggers import Sample, open_loggers
from trainer.run.optim import OptimiserSettings, preparation
from trainer.run.row_log import RowLog
from trainer.run.settings import TrainingSettings
from trainer.run.speed import speed_figures
from trainer.run.step import Trainer
from trainer.run.validation import Validation
from trainer.run.weights import WeightChanges

LOGGED_SAMPLES = 8
SOME_SAMPLES = """
select t.problem_id, coalesce(j.verdict, 'no verdict') as verdict, coalesce(t.completion, t.program) as text
from trajectories t left join judged j using (trajectory_id)
where t.policy_id = $policy order by t.sample_index, t.problem_id limit $limit
"""


class FreshRows(Protocol):
    """What adds rows to the store during a run (`trainer.rollouts.FreshData`)."""

    def due(self, step: int) -> bool:
        """Whether rows are to be added before this step."""

    def make(self, step: int, policy: Policy) -> dict[str, int]:
        """Add rows that the policy of this step samples; returns counts to be logged."""


@dataclass(kw_only=True)
class TrainingJob:
    """All parts of a training. `policy` is the start; the stream and the objective keep its
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
    validation: Validation | None = None
    on_step: Callable[[dict], None] | None = None
    ranks: Ranks = SINGLE


def train(job: TrainingJob) -> Policy:
    """Train, or resume a training, in `job.folder`; returns the final policy. That of a finished one is read
    from there.

    A killed run repeats the steps since its last checkpoint to the bit: watermark and weights come from the
    log. A damaged checkpoint is named in the log of the process, and the newest whole one taken.

    Raises TrainingError on a failed gate, an outlier or a loss that is not finite, RunBusy where another
    process or thread trains in the folder, and DiskFull.
    """
    first_rank = job.ranks.rank == 0
    with full_disk_named(job.folder), exclusive_run(job.folder) if first_rank else nullcontext():
        if job.ranks.agree(has_whole_final(job.folder) if first_rank else None):
            return load_policy(job.folder / FINAL)
        check_settings(job.settings, job.objective.needs)
        return _train(job)


def _train(job: TrainingJob) -> Policy:
    first_rank = job.ranks.rank == 0
    if first_rank:
        inspect_folder(job.folder)
    learner, first_step = start_or_resume(job)
    names = [source.name for source in job.stream.mixture.source]
    changes = WeightChanges(job.folder, names)
    steps = job.settings.steps
    logged = job.ranks.agree(truncate_log(job.folder, first_step, steps, names) if first_rank else None)
    names_of_loggers = job.settings.loggers if first_rank else ()
    loggers = open_loggers(names_of_loggers, job.folder, job.stream.run_id or job.folder.name, first_step)
    log = RunLog(job.folder, loggers=loggers, sent=logged, enabled=first_rank)
    with log, RowLog(job.folder, enabled=first_rank) as row_log:
        trainer = Trainer(
            learner, job.objective, job.settings, job.optimiser, job.ranks, on_rows=row_log.write
        )
        for step in range(first_step, steps):
            started = time.monotonic()
            fresh_seconds, fresh = advance_data(job, learner, step, logged.get(step), changes)
            rows = job.stream.batch(step)
            data_seconds = time.monotonic() - started
            figures = trainer.step(step, rows)
            job.objective.after_step(figures)
            seconds = time.monotonic() - started
            figures |= {"seconds": seconds, "data_seconds": data_seconds, "fresh_seconds": fresh_seconds}
            figures |= speed_figures(learner.policy, rows, seconds, job.settings.peak_flops, job.ranks.world)
            figures |= data_figures(job.stream, step) | ({"fresh": fresh} if fresh else {})
            figures |= validation_figures(job, learner, step + 1)
            log.write(figures)
            if loggers and (fresh or "validation" in figures):
                sampled = step if fresh else step + 1
                log.write_samples(step, some_samples(job.stream, sampled))
            if job.on_step:
                job.on_step(figures)
            if job.validation and job.validation.ends:
                break
            if step + 1 < steps:
                save_progress(job, learner, step + 1)
    if first_rank:
        forget_replay(job.folder)
    with full_disk_named(job.folder / FINAL):
        return learner.finish(job.folder / FINAL)


def start_or_resume(job: TrainingJob) -> tuple[Learner, int]:
    """The learner and the first step: at the start, or as the newest whole checkpoint left policy, stream
    and objective.
    """
    prepared = preparation(
        job.optimiser,
        job.objective.needs.value_network,
        activation_checkpointing=job.settings.activation_checkpointing,
        precision=job.settings.precision,
    )
    newest = job.ranks.agree(newest_whole(job.folder) if job.ranks.rank == 0 else None)
    learner, state = job.ranks.start(job.policy, prepared, newest)
    if not state:
        return learner, 0
    job.objective.load_state(state["objective"])
    job.stream.restore(state["stream"])
    if job.validation and state.get("validation"):
        job.validation.load_state(state["validation"])
    return learner, state["step"]


def advance_data(
    job: TrainingJob, learner: Learner, step: int, logged: dict | None, changes: WeightChanges
) -> tuple[float, dict[str, int]]:
    """Apply the mixture weights and store snapshot for this step: the logged ones on replay, else those of
    now.

    Returns the seconds in which fresh rows were made, and their counts.
    """
    stream, ranks = job.stream, job.ranks
    if logged:
        stream.weight_overrides = dict(logged["overrides"])
        stream.advance(logged["watermark"])
        return 0.0, logged.get("fresh", {})
    started, makes = time.monotonic(), job.fresh is not None and job.fresh.due(step)
    fresh = job.fresh.make(step, learner.whole()) if job.fresh and makes else {}
    fresh_seconds = time.monotonic() - started if makes else 0.0
    every = stream.mixture.follow_every
    if makes or not stream.watermark or (every and step % every == 0):
        stream.advance(ranks.agree(stream.latest()))
    stream.weight_overrides = ranks.agree(changes.now() if ranks.rank == 0 else None)
    return fresh_seconds, fresh


def validation_figures(job: TrainingJob, learner: Learner, step: int) -> dict:
    """Figures of the policy after this number of steps, where they are due."""
    if job.validation is None or not job.validation.due(step, job.settings.steps):
        return {}
    return {"validation": job.validation.evaluate(step, learner)}


def some_samples(stream: Stream, step: int) -> list[Sample]:
    """Completions that the policy of a step wrote: of fresh rows, or of a validation."""
    with connect_for(stream.store, SOME_SAMPLES) as connection:
        policy = {"policy": f"{stream.run_id}@{step}", "limit": LOGGED_SAMPLES}
        return list(query(connection, SOME_SAMPLES, policy).iter_rows())


def data_figures(stream: Stream, step: int) -> dict:
    """What determines the batch of a step: the replay of the step needs it."""
    success, failure = stream.selection_weights(step)
    return {
        "selection_weights": {
            name: None if math.isnan(weight) else weight
            for name, weight in (("success", success), ("failure", failure))
        },
        "watermark": stream.watermark,
        "weights": stream.requested_weights(step),
        "overrides": dict(stream.weight_overrides),
    }


def save_progress(job: TrainingJob, learner: Learner, step: int) -> None:
    """Publish the policy and write a checkpoint before a step, if they are due.

    Published first: a run killed between the two repeats the step, and finds that it is published.
    """
    every = job.settings.publish_every
    if job.publisher and every and step % every == 0:
        publish(job, learner, job.publisher, step)
    if step % job.settings.checkpoint_every == 0:
        state = {"step": step, "stream": job.stream.state, "objective": job.objective.state()}
        if job.validation:
            state["validation"] = job.validation.state()
        flush_log(job.folder)
        with full_disk_named(f"{job.folder}: the checkpoint of step {step}"):
            learner.save_checkpoint(job.folder, step, state)


def publish(job: TrainingJob, learner: Learner, publisher: Publisher, step: int) -> None:
    """Write the policy of a step and record it, unless it was done before the run was resumed."""
    ranks, target = job.ranks, job.folder / f"policy-{step}"
    if ranks.agree(publisher.is_published(step)):
        return
    with full_disk_named(f"{job.folder}: the policy of step {step}"):
        if ranks.agree(damage(target) if ranks.rank == 0 else None):
            learner.write(target)
        if ranks.rank == 0:
            publisher.publish(step, target)
