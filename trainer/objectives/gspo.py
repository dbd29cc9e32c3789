"""GSPO: group advantages with a clipped ratio of whole sequences.

    s = (pi(y|x) / mu(y|x))^(1 / length)         A = (r - mean of the group) / deviation of the group
    loss = -min(s * A, clip(s, 1 - clip_low, 1 + clip_high) * A)

Source: Zheng et al., "Group Sequence Policy Optimization", arXiv 2507.18071. mu is the policy that sampled
the row. Without the division by the deviation the advantage is that of Dr.GRPO (Liu et al., arXiv
2503.20783).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field

from trainer.objectives.base import Batch, Loss, Needs, Objective, ObjectiveSettings
from trainer.objectives.groups import groups_of
from trainer.objectives.importance import known_rows

SMALLEST_DEVIATION = 1e-6


class GspoSettings(ObjectiveSettings):
    """Section [objective] with name = "gspo". The bounds of the ratio are the paper's."""

    name: Literal["gspo"] = "gspo"
    clip_low: float = Field(3e-4, gt=0, lt=1, description="the ratio is clipped below 1 minus this")
    clip_high: float = Field(4e-4, gt=0, description="the ratio is clipped above 1 plus this")
    divide_by_deviation: bool = Field(True, description="false: the advantage of Dr.GRPO")

    def build(self) -> Gspo:
        return Gspo(self)


class Gspo(Objective):
    """Needs groups and the behaviour log-probability of every row."""

    needs = Needs(behaviour_logprob=True, groups=True)
    headline: ClassVar[Mapping[str, str]] = {"clipped": "clipped"}

    def __init__(self, settings: GspoSettings):
        self.settings = settings

    def loss(self, batch: Batch) -> Loss:
        """Columns: `advantage`; `clipped` (1 where the clipped ratio counts: the row has no gradient).

        Raises ValueError where mu of a row is unknown.
        """
        behaviour = known_rows(batch.behaviour_logprob, self.settings.name)
        settings, groups = self.settings, groups_of(batch)
        advantage = batch.reward - groups.mean(batch.reward)
        if settings.divide_by_deviation:
            advantage = advantage / (groups.mean(advantage.square()).sqrt() + SMALLEST_DEVIATION)
        log_ratio = batch.policy_logprob - behaviour
        ratio = torch.exp(log_ratio / batch.completion_tokens.clamp(min=1))
        bounded = ratio.clamp(1 - settings.clip_low, 1 + settings.clip_high)
        gain = torch.minimum(ratio * advantage, bounded * advantage)
        clipped = (ratio * advantage > bounded * advantage).to(gain.dtype)
        return Loss(
            value=-gain.sum() / batch.batch_sequences,
            per_sequence=-gain.detach(),
            columns={"advantage": advantage, "clipped": clipped},
        )
