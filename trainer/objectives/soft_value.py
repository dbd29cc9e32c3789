"""Q0, the soft value of a prompt, from the stored rewards of reference samples; and the temperature beta.

    V*(x) = beta * log E_{y ~ pi_ref}[exp(r / beta)]            (Cohen et al., arXiv 2503.05453)

The store keeps the raw rewards, never Q0, so that beta and the reward can change later. Identical samples are
separate samples here: deduplication must not touch this estimate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from trainer.objectives.base import RewardSamples

LARGEST_ERROR = 0.2  # of the KL, as a share of its target, that one step of dual ascent acts on


def estimate_soft_value(
    samples: RewardSamples, beta: float, *, smoothing: float = 0.5, floor: float | None = None
) -> Float[Tensor, " N"]:
    """Smoothed Monte-Carlo estimate of V*(x) from the rewards of N prompts' samples: [N] fp64.

    `smoothing` pseudo-samples are added at the lowest reward (or at `floor`) and at the highest, so that a
    prompt none of whose samples succeeded does not collapse to the lowest; 0 gives the plain estimate, biased
    low by about beta(1-p)/(2Kp). A prompt without any sample gets the value of the pseudo-samples alone, or
    NaN when smoothing is 0.
    """
    rewards = samples.rewards.double()
    highest = samples.highest.double()
    low = samples.lowest.double() if floor is None else torch.full_like(highest, floor)
    ends = torch.stack([low, highest], dim=1)
    weight = torch.cat([samples.counted.double(), torch.full_like(ends, smoothing)], dim=1)
    exponents = torch.cat([rewards, ends], dim=1) / beta
    total = torch.logsumexp(
        exponents.masked_fill(weight == 0, -torch.inf) + weight.clamp(min=1e-300).log(), dim=1
    )
    return beta * (total - weight.sum(dim=1).log())


@dataclass
class DualTemperature:
    """Adaptive temperature: dual ascent on log beta toward a target KL(pi || pi_ref), nats per sequence."""

    beta: float
    target_kl: float
    rate: float = 0.1
    floor: float = 1e-2
    ceiling: float = 10.0

    def update(self, kl: float) -> float:
        """Raise beta when the policy has moved too far, lower it when it could move further. Returns the
        new beta.

        The error is relative to the target and clipped: KL is in nats per sequence and grows with the length,
        so that one estimate could otherwise move beta by any factor.
        """
        error = min(LARGEST_ERROR, max(-LARGEST_ERROR, (kl - self.target_kl) / self.target_kl))
        self.beta = min(self.ceiling, max(self.floor, self.beta * math.exp(self.rate * error)))
        return self.beta
