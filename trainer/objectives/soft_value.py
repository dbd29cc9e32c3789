"""Q0, the soft value of a prompt, from the stored rewards of reference samples; and the temperature beta.

    V*(x) = beta * log E_{y ~ pi_ref}[exp(r / beta)]            (Cohen et al., arXiv 2503.05453)

The store keeps the raw rewards, never Q0, so that beta and the reward can change later. Identical samples are separate
samples here: deduplication must not touch this estimate.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


def estimate_soft_value(
    rewards: Tensor, counted: Tensor, beta: float, *, smoothing: float = 0.5, floor: float, ceiling: float
) -> Tensor:
    """Smoothed Monte-Carlo estimate of V*(x) for P prompts: [P] from rewards [P, K] and a mask of counted samples [P, K].

    `smoothing` pseudo-samples are added at the reward's floor and at its ceiling, so that a prompt none of whose samples
    succeeded does not collapse to the floor; 0 gives the plain estimate, biased low by about beta(1-p)/(2Kp).
    A prompt without any sample gets the value of the pseudo-samples alone, or NaN when smoothing is 0.
    """
    rewards = rewards.double()
    weight = torch.cat(
        [counted.double(), torch.full((len(rewards), 2), smoothing, dtype=torch.float64)], dim=1
    )
    ends = torch.tensor([floor, ceiling], dtype=torch.float64).expand(len(rewards), 2)
    exponents = torch.cat([rewards, ends], dim=1) / beta
    total = torch.logsumexp(
        exponents.masked_fill(weight == 0, -torch.inf) + weight.clamp(min=1e-300).log(), dim=1
    )
    return beta * (total - weight.sum(dim=1).log())


def soft_value_of_counts(successes: Tensor, trials: Tensor, beta: float, *, smoothing: float = 0.5) -> Tensor:
    """The same for rewards in {-1, 0}, from successes and trials: [P]."""
    successes, trials = successes.double(), trials.double()
    rate = (successes + smoothing) / (trials + 2 * smoothing)
    return beta * torch.logaddexp(rate.log(), torch.log1p(-rate) - 1 / beta)


def optimal_kl(rewards: Tensor, beta: float) -> Tensor:
    """KL(pi* || pi_ref) estimated from K reference rewards of one prompt: [] from [K], nats."""
    log_weight = torch.log_softmax(rewards.double() / beta, dim=0)
    return (log_weight.exp() * (log_weight + torch.log(torch.tensor(float(len(rewards)))))).sum()


def solve_temperature(
    rewards: Tensor, target_kl: float, *, floor: float = 1e-3, ceiling: float = 1e3
) -> float:
    """Offline temperature of one prompt: the beta at which KL(pi* || pi_ref) of its stored rewards [K] is `target_kl`.

    For binary rewards the KL cannot exceed -log p; then the floor is returned. Bisection on log beta, to 1e-6.
    """
    low, high = torch.tensor(floor).log().item(), torch.tensor(ceiling).log().item()
    if optimal_kl(rewards, floor) < target_kl:
        return floor
    while high - low > 1e-6:
        middle = (low + high) / 2
        if optimal_kl(rewards, float(torch.tensor(middle).exp())) > target_kl:
            low = middle
        else:
            high = middle
    return float(torch.tensor(high).exp())


@dataclass
class DualTemperature:
    """Adaptive temperature: dual ascent on log beta toward a target KL(pi || pi_ref), in nats a sequence."""

    beta: float
    target_kl: float
    rate: float = 0.05
    floor: float = 1e-2

    def update(self, kl: float) -> float:
        """Raise beta when the policy has moved too far, lower it when it could move further. Q0 must then be recomputed."""
        step = self.rate * (kl - self.target_kl)
        self.beta = max(self.floor, self.beta * float(torch.tensor(step).exp()))
        return self.beta
