"""RLOO: the policy gradient with the mean reward of the other rows of the group as baseline.

    loss = -min(pi/mu, cap) * (r - mean reward of the group's other rows) * log pi(y|x)

Source: Ahmadian et al., "Back to Basics: Revisiting REINFORCE Style Optimization", arXiv 2402.14740; here
also on stored groups, with a truncated importance weight.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from trainer.objectives.base import Batch, Loss, Needs, Objective, ObjectiveSettings
from trainer.objectives.groups import groups_of
from trainer.objectives.importance import importance_ratio, importance_weight


class RlooSettings(ObjectiveSettings):
    """Section [objective] with name = "rloo"."""

    name: Literal["rloo"] = "rloo"
    importance_cap: float | None = Field(
        None, gt=0, description="weigh rows by min(pi/mu, cap) where mu is known; null: all weights are 1"
    )

    def build(self) -> Rloo:
        return Rloo(self)


class Rloo(Objective):
    """Needs groups; with `importance_cap` also behaviour log-probabilities."""

    headline: ClassVar[Mapping[str, str]] = {"mixed_group": "rows of groups with both outcomes"}

    def __init__(self, settings: RlooSettings):
        self.settings = settings
        self.needs = Needs(groups=True, behaviour_logprob=settings.importance_cap is not None)

    def loss(self, batch: Batch) -> Loss:
        """Columns: `advantage`; `mixed_group` (1 where rewards differ; only then rows teach)."""
        logprob, groups = batch.policy_logprob, groups_of(batch)
        deviation = batch.reward - groups.mean(batch.reward)
        advantage = deviation * groups.size / (groups.size - 1)
        spread = groups.mean(deviation.abs())
        per_sequence = -advantage * logprob
        if self.settings.importance_cap is not None:
            ratio = importance_ratio(logprob, batch.behaviour_logprob)
            weight = importance_weight(ratio, self.settings.importance_cap)
            per_sequence = weight * per_sequence
        return Loss(
            value=per_sequence.sum() / batch.batch_sequences,
            per_sequence=per_sequence.detach(),
            columns={"advantage": advantage, "mixed_group": (spread > 0).to(logprob.dtype)},
        )
