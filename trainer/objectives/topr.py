"""TOPR: successes are pulled like supervised fine-tuning, failures pushed with a truncated importance weight.

    gradient of the loss = - grad log pi(y|x)                        where the program was accepted
                           + min(pi(y|x) / mu(y|x), cap) * grad log pi(y|x)   elsewhere

Source: Le Roux et al., "Tapered Off-Policy REINFORCE", arXiv 2503.14286. The weight of a failure fades as it
becomes unlikely, so that no KL to a reference is needed. mu is the policy that sampled the row.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field

from trainer.objectives.base import Batch, Loss, Needs, Objective, ObjectiveSettings


class ToprSettings(ObjectiveSettings):
    """Section [objective] with name = "topr"."""

    name: Literal["topr"] = "topr"
    failure_cap: float = Field(1.0, gt=0, description="largest importance weight of a failure")
    failure_weight: float = Field(1.0, ge=0, description="weight of a failure beside a success, whose is 1")

    def build(self) -> Topr:
        return Topr(self)


class Topr(Objective):
    """Needs the behaviour log-probability of failures, none of successes, and no reference."""

    needs = Needs(behaviour_logprob=True)
    headline: ClassVar[Mapping[str, str]] = {"failure_weight": "weight of failures"}

    def __init__(self, settings: ToprSettings):
        self.settings = settings

    def loss(self, batch: Batch) -> Loss:
        """Column: `failure_weight`, min(pi/mu, cap) of failures. Raises ValueError where mu of a failure is
        unknown.
        """
        failure = ~batch.success
        if bool((failure & torch.isnan(batch.behaviour_logprob)).any()):
            raise ValueError(
                "topr needs the behaviour log-probability of each failure; select them with"
                " where = \"j.verdict = 'accepted' or j.behaviour_logprob is not null\""
            )
        logprob = batch.policy_logprob
        log_ratio = logprob.detach() - batch.behaviour_logprob
        weight = log_ratio.clamp(max=math.log(self.settings.failure_cap)).exp()
        push = self.settings.failure_weight * weight
        per_sequence = torch.where(failure, push, -torch.ones_like(logprob)) * logprob
        return Loss(
            value=per_sequence.sum() / batch.batch_sequences,
            per_sequence=per_sequence.detach(),
            columns={"failure_weight": weight.masked_fill(batch.success, math.nan)},
        )
