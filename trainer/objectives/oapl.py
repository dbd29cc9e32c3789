"""OAPL: regression of the advantage on the log-ratio to the policy that sampled the group.

    V(x) = value_beta * log mean of exp(r / value_beta) over the group
    loss = (V + beta * log(pi(y|x) / mu(y|x)) - r)^2

Source: Ritter et al., "LLMs can learn to reason via off-policy RL", arXiv 2602.19362. mu is the
lagged policy that the sampler holds; the anchor moves when rows of a newer policy come, so that a large drift
is never asked for at once. Rows of a group are of one policy where its source has rows of one policy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field

from trainer.objectives.base import Batch, Loss, Needs, Objective, ObjectiveSettings
from trainer.objectives.groups import groups_of
from trainer.objectives.importance import known_rows


class OaplSettings(ObjectiveSettings):
    """Section [objective] with name = "oapl"."""

    name: Literal["oapl"] = "oapl"
    beta: float = Field(1e-3, gt=0, description="temperature of the regression, in units of reward")
    value_beta: float = Field(1.0, gt=0, description="temperature of the value of a prompt")

    def build(self) -> Oapl:
        return Oapl(self)


class Oapl(Objective):
    """Needs groups and the behaviour log-probability of every row; no reference."""

    needs = Needs(behaviour_logprob=True, groups=True)
    headline: ClassVar[Mapping[str, str]] = {"residual": "residual"}

    def __init__(self, settings: OaplSettings):
        self.settings = settings

    def loss(self, batch: Batch) -> Loss:
        """Columns: `residual` (V + beta * log-ratio - r), `value` (V).

        Raises ValueError where mu of a row is unknown.
        """
        behaviour = known_rows(batch.behaviour_logprob, self.settings.name)
        settings, groups = self.settings, groups_of(batch)
        highest = groups.largest(batch.reward)  # subtracted, so that no exponential over- or underflows
        mean = groups.mean(torch.exp((batch.reward - highest) / settings.value_beta))
        value = highest + settings.value_beta * mean.log()
        log_ratio = batch.policy_logprob - behaviour
        residual = value + settings.beta * log_ratio - batch.reward
        per_sequence = residual.square()
        return Loss(
            value=per_sequence.sum() / batch.batch_sequences,
            per_sequence=per_sequence.detach(),
            columns={"residual": residual.detach(), "value": value},
        )
