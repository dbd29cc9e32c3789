"""Fresh rollouts while training: sample the policy, label, score under the reference, all through the store.

With several ranks each samples its share of every chunk; rank 0 asks for it, and alone writes to the store
and has it judged, so that a round is appended once whatever was killed, and goes on with however many ranks
there are then.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from pipeline.labelling import label
from pipeline.store import Store, alone
from sandbox import Pool
from trainer.distributed import SINGLE, Ranks
from trainer.policies import Policy, Precision, publish_policy, score
from trainer.rollouts.choosing import in_turn
from trainer.rollouts.generation import (
    LocalSampler,
    Provenance,
    Sampler,
    SamplingSettings,
    chunk_seed,
    rollout,
)
from trainer.rollouts.sampling import Sample


class OnlineSettings(BaseModel):
    """When fresh data is made and how much. Every ten steps or so is enough for SPO, which needs no fresh
    samples.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    from_step: int = Field(ge=0, description="first step with fresh data")
    every: int = Field(10, ge=1, description="steps between rollouts")
    problems: int = Field(32, ge=1, description="problems a rollout, in turn through a shuffle of all")
    sampling: SamplingSettings = SamplingSettings(samples_per_problem=4)


@dataclass(frozen=True)
class SharedSampler:
    """Rank 0's sampler: all ranks draw together what it is asked for."""

    own: Sampler
    ranks: Ranks

    def draw(self, statements: list[str], settings: SamplingSettings, seed: int) -> list[Sample]:
        return self._together(*self.ranks.agree((statements, settings, seed)))

    def help(self) -> None:
        """Draw what rank 0 asks for, until it has enough."""
        while request := self.ranks.agree(None):
            self._together(*request)

    def _together(self, statements: list[str], settings: SamplingSettings, seed: int) -> list[Sample]:
        """Every rank's share, on every rank; which statements those are and their seed follow from the rank."""
        rank = self.ranks.rank
        indices = range(rank, len(statements), self.ranks.world)
        samples = self.own.draw([statements[i] for i in indices], settings, chunk_seed(seed, "rank", rank))
        own = [replace(sample, prompt_index=indices[sample.prompt_index]) for sample in samples]
        of_rank = self.ranks.gather({rank: own})
        return [sample for rank in sorted(of_rank) for sample in of_rank[rank]]


@contextmanager
def shared(own: Sampler, ranks: Ranks) -> Iterator[Sampler | None]:
    """The sampler of rank 0; None on the others, once they have helped."""
    if ranks.world == 1:
        yield own
    elif ranks.rank == 0:
        yield SharedSampler(own, ranks)
        ranks.agree(None)
    else:
        SharedSampler(own, ranks).help()
        yield None


@dataclass(kw_only=True)
class FreshData:
    """Fresh rows of a training run: trajectories of origin `online`, each judged, and scored if there is a
    reference.
    """

    store: Store
    judges: Pool | None = None  # of rank 0
    reference: Policy | None  # None: the objective needs no reference scores
    problems: pl.DataFrame  # columns problem_id, statement: what may be sampled
    settings: OnlineSettings
    run_id: str
    seed: int
    precision: Precision = "fp32"
    ranks: Ranks = SINGLE

    def due(self, step: int) -> bool:
        """Whether a round is made before this step."""
        return self._round_at(step) is not None

    def make(self, step: int, policy: Policy) -> None:
        """Sample the policy of this step; on rank 0 also append, judge and score. Every rank takes part."""
        round_number = self._round_at(step)
        if round_number is None:
            raise ValueError(f"no round is due at step {step}")
        with shared(LocalSampler(policy), self.ranks) as sampler:
            if sampler:
                provenance = self.provenance(step)
                self.record(policy, provenance.policy_id, step)
                rollout(
                    self.store,
                    sampler,
                    self.chosen(round_number),
                    self.settings.sampling,
                    provenance,
                    seed=self.seed,
                )
        if self.judges:
            with alone(self.store.location, "label"):
                label(self.store, self.judges)
        if self.judges and self.reference:
            mine, values = "p.split = 'train' and t.batch_id = $batch", {"batch": self.provenance(step).name}
            with alone(self.store.location, "score"):
                score(self.store, self.reference, where=mine, parameters=values, precision=self.precision)

    def _round_at(self, step: int) -> int | None:
        number, rest = divmod(step - self.settings.from_step, self.settings.every)
        return None if number < 0 or rest else number

    def provenance(self, step: int) -> Provenance:
        name, policy_id = f"{self.run_id}/step-{step}", f"{self.run_id}@{step}"
        return Provenance(name=name, policy_id=policy_id, run_id=self.run_id, policy_step=step)

    def record(self, policy: Policy, policy_id: str, step: int) -> None:
        """Once, also where a run goes on elsewhere with other last bits. By this row `score` knows whose
        tokens the samples are; without it, it would encode their programs again, and end those that were
        cut."""
        if policy_id not in self.store.read("policies", ["policy_id"])["policy_id"].to_list():
            publish_policy(self.store, policy, None, policy_id=policy_id, run_id=self.run_id, step=step)

    def chosen(self, round_number: int) -> pl.DataFrame:
        """The problems of a round: a pure function of seed and round, in turn through one shuffle after
        another.
        """
        size, count = self.problems.height, min(self.settings.problems, self.problems.height)
        return self.problems[in_turn(size, count, round_number, self.seed, self.run_id, "problems")]
