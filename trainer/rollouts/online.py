"""Fresh rollouts during training: sample the policy, label, and score under the reference, all through the
store.

With several ranks each samples its share of every chunk. Only rank 0 writes to the store and has rows judged,
so that a killed round is appended once, and may resume with another number of ranks.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from pipeline.labelling import label
from pipeline.store import Store, connect_for, exclusive, query
from sandbox import Pool
from trainer.distributed import SINGLE, Ranks
from trainer.policies import Policy, Precision, Problem, publish_policy, score
from trainer.rollouts.choosing import shuffled_indices
from trainer.rollouts.generation import (
    LocalSampler,
    Provenance,
    Sampler,
    SamplingSettings,
    chunk_seed,
    has_begun,
    rollout,
)
from trainer.rollouts.sampling import Sample

WRITTEN = ("trajectories", "verdicts", "reference_scores")
COUNTS_OF_ROUND = """
select count(*) as rows, count(*) filter (
    trajectory_id not in (select trajectory_id from verdicts where verdict <> 'judge_error')
) as judge_errors
from trajectories where batch_id = $batch
"""


class TooLong(RuntimeError):
    """Too many fresh rows are too long to train on; the message says how many, and names the settings."""


class OnlineSettings(BaseModel):
    """When fresh data is made and how much. Every ten steps is enough for SPO, which does not need fresh
    samples.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    from_step: int = Field(ge=0, description="first step with fresh data")
    every: int = Field(10, ge=1, description="steps between rollouts")
    problems: int = Field(32, ge=1, description="problems per rollout, from passes over a shuffled order")
    max_tokens: int | None = Field(
        None,
        ge=1,
        description="fresh rows with more tokens, prompt included, are not trained on, and are counted;"
        " null: what the model has positions for",
    )
    max_too_long: float = Field(
        0.5, ge=0, le=1, description="a round with a larger share of rows that are too long stops the run"
    )
    sampling: SamplingSettings = SamplingSettings(samples_per_problem=4)


@dataclass(frozen=True)
class SharedSampler:
    """Rank 0's sampler: all ranks draw the samples together."""

    own: Sampler
    ranks: Ranks

    def draw(self, problems: list[Problem], settings: SamplingSettings, seed: int) -> list[Sample]:
        return self._together(*self.ranks.agree((problems, settings, seed)))

    def help(self) -> None:
        """Draw samples for rank 0 until it has enough."""
        while request := self.ranks.agree(None):
            self._together(*request)

    def _together(self, problems: list[Problem], settings: SamplingSettings, seed: int) -> list[Sample]:
        """The samples of all ranks, on every rank. The rank decides on its problems and seed."""
        rank = self.ranks.rank
        indices = range(rank, len(problems), self.ranks.world)
        samples = self.own.draw([problems[i] for i in indices], settings, chunk_seed(seed, "rank", rank))
        own = [replace(sample, prompt_index=indices[sample.prompt_index]) for sample in samples]
        by_rank = self.ranks.gather({rank: own})
        return [sample for rank in sorted(by_rank) for sample in by_rank[rank]]


@contextmanager
def shared_sampler(own: Sampler, ranks: Ranks) -> Iterator[Sampler | None]:
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
    all_tests: bool = False  # a reward counts the tests, so that none may be left out
    ranks: Ranks = SINGLE

    def due(self, step: int) -> bool:
        """Whether a round is made before this step."""
        return self._round_at(step) is not None

    def make(self, step: int, policy: Policy) -> dict[str, int]:
        """Sample the policy of this step; on rank 0 also append, judge and score. Every rank takes part.

        Returns counts of the round, empty on other ranks: `rows`, `judge_errors`, `too_long`. Raises
        TooLong if a larger share than `max_too_long` cannot be trained on.
        """
        round_number = self._round_at(step)
        if round_number is None:
            raise ValueError(f"no round is due at step {step}")
        since: dict[str, int] | None = None
        with shared_sampler(LocalSampler(policy), self.ranks) as sampler:
            if sampler:
                provenance = self.provenance(step)
                if not has_begun(self.store, provenance):
                    since = {name: self.store.version(name) for name in WRITTEN}
                self.record(policy, provenance.policy_id, step)
                rollout(
                    self.store,
                    sampler,
                    self._problems_of_round(round_number),
                    self.settings.sampling,
                    provenance,
                    seed=self.seed,
                )
        return self._judged_and_scored(step, since) if self.judges else {}

    def _judged_and_scored(self, step: int, since: dict[str, int] | None) -> dict[str, int]:
        """Judge and score the rows of this round, and no others: they may be another process's to do. What
        the round added is looked at alone: `since` has the versions of tables before it, and is None if a
        process that was killed has begun it.
        """
        batch = {"batch": self.provenance(step).name}
        with exclusive(self.store.location, "label"):
            label(
                self.store,
                self.judges,
                where="t.batch_id = $batch",
                parameters=batch,
                all_tests=self.all_tests,
            )
        too_long = 0
        if self.reference:
            with exclusive(self.store.location, "score"):
                too_long = score(
                    self.store,
                    self.reference,
                    where="p.split = 'train' and t.batch_id = $batch",
                    parameters=batch,
                    max_tokens=self._longest(self.reference),
                    precision=self.precision,
                    since=since,
                ).too_long
        with connect_for(self.store, COUNTS_OF_ROUND, since=since) as connection:
            counts = query(connection, COUNTS_OF_ROUND, batch).row(0, named=True)
        if too_long > self.settings.max_too_long * counts["rows"]:
            raise TooLong(
                f"step {step}: {too_long} of {counts['rows']} fresh rows have more than"
                f" {self._longest(self.reference)} tokens; lower online.sampling.max_new_tokens, or raise"
                " online.max_tokens or online.max_too_long"
            )
        return {**counts, "too_long": too_long}

    def _longest(self, reference: Policy | None) -> int:
        """Tokens of the longest row that is scored."""
        positions = getattr(reference and reference.model.config, "max_position_embeddings", None) or 2**31
        return min(self.settings.max_tokens or positions, positions)

    def _round_at(self, step: int) -> int | None:
        number, rest = divmod(step - self.settings.from_step, self.settings.every)
        return None if number < 0 or rest else number

    def provenance(self, step: int) -> Provenance:
        name, policy_id = f"{self.run_id}/step-{step}", f"{self.run_id}@{step}"
        return Provenance(name=name, policy_id=policy_id, run_id=self.run_id, policy_step=step)

    def record(self, policy: Policy, policy_id: str, step: int) -> None:
        """Publish the policy without weights, once, even if the run resumed on another machine with other
        last bits. From this row `score` knows whose tokens the samples have; without it, it would encode the
        programs again, and add an end token to completions that were cut."""
        if policy_id not in self.store.read("policies", ["policy_id"])["policy_id"].to_list():
            publish_policy(self.store, policy, None, policy_id=policy_id, run_id=self.run_id, step=step)

    def _problems_of_round(self, round_number: int) -> pl.DataFrame:
        """The problems of a round: a pure function of seed and round, from passes over a shuffled
        order.
        """
        size, count = self.problems.height, min(self.settings.problems, self.problems.height)
        return self.problems[shuffled_indices(size, count, round_number, self.seed, self.run_id, "problems")]
