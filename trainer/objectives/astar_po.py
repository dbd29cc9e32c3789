"""A*-PO: least-squares regression of the reward on the value of the prompt and the log-ratio.

    loss = (V(x) + beta * log(pi(y|x) / pi_ref(y|x)) - r)^2
    V(x) = value_beta * log mean_k exp(r_k / value_beta)             r_k: rewards of samples of pi_ref

Source: Brantley et al., "Accelerating RL for LLM Reasoning with Optimal Advantage Regression", arXiv
2505.20686. It is SPO's squared loss but for the two temperatures: the value is estimated with a much larger
one than the regression uses, because a plain estimate from few samples collapses at a small temperature.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Literal

from jaxtyping import Bool
from pydantic import Field
from torch import Tensor

from trainer.objectives.base import Batch, Loss, Needs, Objective, ObjectiveSettings, RewardSamples
from trainer.objectives.soft_value import estimate_soft_value


class AStarPoSettings(ObjectiveSettings):
    """Section [objective] with name = "astar_po". The defaults are the paper's."""

    name: Literal["astar_po"] = "astar_po"
    beta: float = Field(1e-3, gt=0, description="temperature of the regression, in units of reward")
    value_beta: float = Field(0.5, gt=0, description="temperature of the value of a prompt")
    drop_unsolved: bool = Field(
        True, description="leave out prompts for which no sample of the reference has the highest reward"
    )

    def build(self) -> AStarPo:
        return AStarPo(self)


class AStarPo(Objective):
    """Squared residual per sequence; needs no group and no behaviour log-probability."""

    needs = Needs(reference_logprob=True, reference_rewards=True)
    headline: ClassVar[Mapping[str, str]] = {"residual": "residual", "left_out": "left out"}

    def __init__(self, settings: AStarPoSettings):
        self.settings = settings

    def loss(self, batch: Batch) -> Loss:
        """Columns: `residual` (V + beta * log-ratio - r, of the rows that count), `left_out` (1 where the
        prompt is left out).
        """
        settings, samples = self.settings, batch.reference_rewards
        value = estimate_soft_value(samples, settings.value_beta, smoothing=0.0)
        log_ratio = batch.policy_logprob - batch.reference_logprob
        residual = value.to(log_ratio.dtype) + settings.beta * log_ratio - batch.reward
        left_out = ~is_solved(samples) & settings.drop_unsolved
        per_sequence = residual.square().masked_fill(left_out, 0.0)
        return Loss(
            value=per_sequence.sum() / batch.batch_sequences,
            per_sequence=per_sequence.detach(),
            columns={
                "residual": residual.detach().masked_fill(left_out, math.nan),
                "left_out": left_out.to(log_ratio.dtype),
            },
        )


def is_solved(samples: RewardSamples) -> Bool[Tensor, " N"]:
    """Whether any sample of the reference has the highest reward."""
    best = samples.highest[:, None].to(samples.rewards.dtype)
    return ((samples.rewards >= best) & samples.counted).any(dim=1)
