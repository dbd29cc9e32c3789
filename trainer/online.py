"""Fresh rollouts while training: sample the policy, label, score under the reference, all through the store."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from pipeline.label import label
from pipeline.locks import alone
from pipeline.store import Store
from sandbox import Pool
from trainer.choosing import in_turn
from trainer.logprobs import Precision
from trainer.policy import Policy
from trainer.reference import score
from trainer.rollout import Provenance, SamplingSettings, publish_policy, rollout


class OnlineSettings(BaseModel):
    """When fresh data is made and how much. Every ten steps or so is enough for SPO, which needs no fresh samples."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    from_step: int = Field(ge=0, description="first step with fresh data")
    every: int = Field(10, ge=1, description="steps between rollouts")
    problems: int = Field(32, ge=1, description="problems a rollout, in turn through a shuffle of all")
    sampling: SamplingSettings = SamplingSettings(samples_per_problem=4)


@dataclass
class FreshData:
    """`before_step` of a training run: appends trajectories of origin `online`, each with a verdict and a reference score."""

    store: Store
    pool: Pool
    reference: Policy
    problems: pl.DataFrame  # columns problem_id, statement: what may be sampled
    settings: OnlineSettings
    run_id: str
    seed: int
    precision: Precision = "fp32"

    def before_step(self, step: int, policy: Policy) -> bool:
        round_number, rest = divmod(step - self.settings.from_step, self.settings.every)
        if round_number < 0 or rest:
            return False
        provenance = Provenance(
            name=f"{self.run_id}/step-{step}", policy_id=f"{self.run_id}@{step}", run_id=self.run_id, policy_step=step
        )
        self.record(policy, provenance.policy_id, step)
        rollout(self.store, policy, self.chosen(round_number), self.settings.sampling, provenance, seed=self.seed)
        with alone(self.store.location, "label"):
            label(self.store, self.pool)
        mine = f"p.split = 'train' and t.batch_id = '{provenance.name}'"
        with alone(self.store.location, "score"):
            score(self.store, self.reference, where=mine, precision=self.precision)
        return True

    def record(self, policy: Policy, policy_id: str, step: int) -> None:
        """Once, also where a run goes on elsewhere with other last bits. By this row `score` knows whose tokens the samples are;
        without it, it would encode their programs anew, and end those that were cut."""
        if policy_id not in self.store.read("policies", ["policy_id"])["policy_id"].to_list():
            publish_policy(self.store, policy, None, policy_id=policy_id, run_id=self.run_id, step=step)

    def chosen(self, round_number: int) -> pl.DataFrame:
        """The problems of a round: a pure function of seed and round, in turn through one shuffle after another."""
        size, count = self.problems.height, min(self.settings.problems, self.problems.height)
        return self.problems[in_turn(size, count, round_number, self.seed, self.run_id, "problems")]
