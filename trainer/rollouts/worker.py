"""The rollout worker: samples a run's newest policy in rounds, while the trainer runs. The two share nothing
but the store.

A round is one commit under the worker's own key, so that a killed worker resumes and no row is stored twice.
If two workers run under one number by mistake, the rounds of the slower one are dropped. A worker pauses
while too many rollouts of the run wait for a verdict, or while the newest policy has enough samples, so that
it does not run ahead of the trainer.

With servers, each round is sampled through those that serve the newest policy: they are verified before and
after it, and the round is dropped and made again if one changed. A server that does not answer is left out,
and tried again before the next round.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from pipeline.labelling import WaitingRows
from pipeline.store import Store
from trainer.policies import (
    Policy,
    Problem,
    PublishedPolicy,
    has_weights,
    is_finished,
    newest_policy,
    problems_of,
)
from trainer.rollouts.choosing import WATERMARK_TABLES, Choice, choose_problems, problem_counts
from trainer.rollouts.generation import LocalSampler, Provenance, SamplingSettings, chunk_seed, trajectories
from trainer.rollouts.sampling import Sample
from trainer.rollouts.served import ServedSampler, ServerError
from trainer.rollouts.weight_servers import FollowingServers


class WorkerSettings(BaseModel):
    """What a rollout worker does in a round, and how far it may run ahead of the judge and the trainer."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    run: str = Field(description="run whose newest policy is sampled")
    where: str = Field("split = 'train'", description="SQL predicate on `problems`: what may be sampled")
    choice: Choice = Field("uniform", description="how the problems of a round are chosen")
    problems: int = Field(32, ge=1, description="problems per round")
    sampling: SamplingSettings = SamplingSettings(samples_per_problem=4)
    seed: int = 0
    worker: int = Field(0, ge=0, description="number of this worker, from 0")
    workers: int = Field(1, ge=1, description="how many there are")
    max_waiting: int = Field(
        1024, ge=1, description="no new round while this number of the run's rollouts have no verdict"
    )
    max_per_policy: int = Field(
        1024, ge=1, description="rollouts of one policy, all workers together; then it waits for a newer one"
    )


@dataclass(frozen=True)
class Outcome:
    """Result of one call of `work`: `rows` were appended; `reason` says why there are none."""

    rows: int = 0
    reason: str = ""
    finished: bool = False  # nothing more will come
    details: dict = field(default_factory=dict)


@dataclass
class RolloutWorker:
    """One worker of a run; `work()` is called again and again."""

    store: Store
    settings: WorkerSettings
    servers: FollowingServers | None = None  # None: the policy is sampled in this process
    _loaded: tuple[str, Policy] | None = None
    _rows: WaitingRows | None = None
    _full: tuple[object, str] = (None, "")  # state of the store when the worker last paused, and why

    @property
    def producer(self) -> str:
        return f"rollout/{self.settings.run}/worker-{self.settings.worker}"

    def name(self, round_number: int) -> str:
        return f"{self.settings.run}/worker-{self.settings.worker}/round-{round_number}"

    def work(self) -> Outcome:
        """Sample one round, or report why not."""
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
            policy = self._load(newest)
        except OSError:
            if has_weights(str(newest.folder)):
                raise
            return Outcome(reason=f"policy {newest.policy_id} was replaced while it was read")
        return self.sample_round(newest, policy)

    def too_far_ahead(self, newest: PublishedPolicy) -> str:
        """Why the worker pauses now; empty if it does not."""
        if self._rows is None:
            self._rows = WaitingRows(self.store, self.settings.run)
        self._rows.update()
        waiting = self._rows.waiting
        if waiting >= self.settings.max_waiting:
            return f"{waiting} rollouts wait for a verdict"
        samples = self._rows.samples[newest.policy_id]
        if samples >= self.settings.max_per_policy:
            return f"{samples} rollouts of {newest.policy_id} are there; waiting for a newer policy"
        return ""

    def _load(self, newest: PublishedPolicy) -> Policy:
        if self._loaded is None or self._loaded[0] != newest.policy_id:
            self._loaded = (newest.policy_id, newest.load())
        return self._loaded[1]

    def _served(
        self,
        servers: FollowingServers,
        newest: PublishedPolicy,
        policy: Policy,
        problems: list[Problem],
        seed: int,
    ) -> list[Sample]:
        """Samples of the servers that have the policy, before and after the round. Raises ServerError: the
        samples of a server that lost the weights, or went away, are those of no known policy.
        """
        samplers, reason = servers.samplers(newest.policy_id, newest.folder or Path(), policy)
        if not samplers:
            raise ServerError(f"no server is ready: {reason}")
        samples = draw_from_all(samplers, problems, self.settings.sampling, seed)
        if not servers.still_serve(samplers, policy):
            raise ServerError("a server changed its weights during the round, whose samples are dropped")
        return samples

    def sample_round(self, newest: PublishedPolicy, policy: Policy) -> Outcome:
        started, settings = time.monotonic(), self.settings
        round_number = self.store.last_sequence("trajectories", self.producer) + 1
        watermark = self.store.pins(list(WATERMARK_TABLES))
        problems = choose_problems(
            problem_counts(self.store, settings.where, newest.parent_id or newest.policy_id, watermark),
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
        asked = problems_of(self.store, problems, settings.sampling.language)
        seed = chunk_seed(settings.seed, provenance.name, 0)
        if self.servers is None:
            samples = list(LocalSampler(policy).draw(asked, settings.sampling, seed))
        else:
            try:
                samples = self._served(self.servers, newest, policy, asked, seed)
            except ServerError as error:
                return Outcome(reason=f"round {round_number} is tried again: {error}")
        rows = trajectories(samples, problems["problem_id"].to_list(), settings.sampling, provenance)
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


def draw_from_all(
    samplers: list[ServedSampler], problems: list[Problem], settings: SamplingSettings, seed: int
) -> list[Sample]:
    """Samples of all problems; every n-th problem is asked of one server. Raises ServerError."""
    count = len(samplers)

    def draw(number: int) -> list[Sample]:
        part = problems[number::count]
        samples = samplers[number].draw(part, settings, chunk_seed(seed, "server", number) % 2**31)
        return [replace(one, prompt_index=number + one.prompt_index * count) for one in samples]

    with ThreadPoolExecutor(count) as threads:
        return [one for part in threads.map(draw, range(count)) for one in part]
