"""The rollout worker: samples a run's newest policy, round after round, beside the trainer and bound to it by
the store alone.

A round is one commit under the worker's own key, so that a killed worker goes on where it was and nothing is
there twice; a worker started twice under one number by mistake loses the later twin's work and no more. The
worker stops sampling while too many of the run's rollouts wait for a verdict or while the newest policy has
been sampled enough: the trainer need not wait for it, and it does not run ahead of the trainer.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from pipeline.store import Store
from trainer.policies import Found, Policy, has_weights, is_finished, newest_policy
from trainer.rollouts.choosing import WATERMARK_TABLES, Choice, choose, counted
from trainer.rollouts.generation import LocalSampler, Provenance, SamplingSettings, chunk_seed, trajectories


class WorkerSettings(BaseModel):
    """What a rollout worker does in a round, and how far ahead of grader and trainer it may be."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    run: str = Field(description="run whose newest policy is sampled")
    where: str = Field("split = 'train'", description="SQL predicate on `problems`: what may be sampled")
    choice: Choice = Field("uniform", description="how the problems of a round are chosen")
    problems: int = Field(32, ge=1, description="problems a round")
    sampling: SamplingSettings = SamplingSettings(samples_per_problem=4)
    seed: int = 0
    worker: int = Field(0, ge=0, description="number of this worker, from 0")
    workers: int = Field(1, ge=1, description="how many there are")
    max_waiting: int = Field(
        1024, ge=1, description="no new round while as many rollouts of the run have no verdict"
    )
    max_per_policy: int = Field(
        1024, ge=1, description="rollouts of one policy, all workers together; then a newer one is awaited"
    )


@dataclass(frozen=True)
class Outcome:
    """What one look at the store led to. `rows` were appended; `reason` says why there are none."""

    rows: int = 0
    reason: str = ""
    finished: bool = False  # nothing more will come
    details: dict = field(default_factory=dict)


@dataclass
class RolloutWorker:
    """One worker of a run; `work()` is called again and again."""

    store: Store
    settings: WorkerSettings
    _loaded: tuple[str, Policy] | None = None
    _full: tuple[object, str] = (None, "")  # what the store was when it was last found full, and why

    @property
    def producer(self) -> str:
        return f"rollout/{self.settings.run}/worker-{self.settings.worker}"

    def name(self, round_number: int) -> str:
        return f"{self.settings.run}/worker-{self.settings.worker}/round-{round_number}"

    def work(self) -> Outcome:
        """Sample one round, or say why not."""
        if is_finished(self.store, self.settings.run):
            return Outcome(reason=f"run {self.settings.run} is done", finished=True)
        newest = newest_policy(self.store, self.settings.run)
        if newest is None:
            return Outcome(reason=f"run {self.settings.run} has published no policy yet")
        now = (newest.policy_id, self.store.pins(["trajectories", "verdicts"]))
        if self._full[0] != now:
            self._full = (now, self.too_far_ahead(newest))
        if self._full[1]:
            return Outcome(reason=self._full[1])
        try:
            policy = self.loaded(newest)
        except OSError:
            if has_weights(str(newest.folder)):
                raise
            return Outcome(reason=f"policy {newest.policy_id} was replaced while it was read")
        return self.sample_round(newest, policy)

    def too_far_ahead(self, newest: Found) -> str:
        """Why no further round is wanted now; empty if one is."""
        mine = (
            self.store.snapshot("trajectories")
            .scan()
            .filter((pl.col("origin") == "online") & (pl.col("run_id") == self.settings.run))
        )
        rows = mine.select("trajectory_id", "policy_id").collect()
        judged = self.store.snapshot("verdicts").scan().select("trajectory_id").unique().collect()
        waiting = rows.join(judged, on="trajectory_id", how="anti").height
        if waiting >= self.settings.max_waiting:
            return f"{waiting} rollouts wait for a verdict"
        drawn = rows.filter(pl.col("policy_id") == newest.policy_id).height
        if drawn >= self.settings.max_per_policy:
            return f"{drawn} rollouts of {newest.policy_id} are there; waiting for a newer policy"
        return ""

    def loaded(self, newest: Found) -> Policy:
        if self._loaded is None or self._loaded[0] != newest.policy_id:
            self._loaded = (newest.policy_id, newest.load())
        return self._loaded[1]

    def sample_round(self, newest: Found, policy: Policy) -> Outcome:
        started, settings = time.monotonic(), self.settings
        round_number = self.store.last_sequence("trajectories", self.producer) + 1
        watermark = self.store.pins(list(WATERMARK_TABLES))
        problems = choose(
            counted(self.store, settings.where, newest.parent_id or newest.policy_id, watermark),
            settings.choice,
            settings.problems,
            seed=settings.seed,
            round_number=round_number,
            worker=settings.worker,
            workers=settings.workers,
        )
        provenance = Provenance(
            name=self.name(round_number),
            policy_id=newest.policy_id,
            run_id=settings.run,
            policy_step=newest.step,
        )
        samples = LocalSampler(policy).draw(
            problems["statement"].to_list(), settings.sampling, chunk_seed(settings.seed, provenance.name, 0)
        )
        rows = trajectories(list(samples), problems["problem_id"].to_list(), settings.sampling, provenance)
        added = self.store.append("trajectories", rows, producer=self.producer, sequence=round_number)
        details = {
            "round": round_number,
            "policy": newest.policy_id,
            "seconds": round(time.monotonic() - started, 1),
        }
        if not added:
            return Outcome(
                reason=f"another worker {settings.worker} has made round {round_number}", details=details
            )
        return Outcome(rows=rows.height, details=details | {"watermark": watermark})
