"""Importance weights pi/mu of rows whose behaviour log-probability is known."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

MEMORY = 0.9  # share of the mean ratio that a step keeps
SMALLEST_MEAN = 1e-6


def known_rows(behaviour_logprob: Float[Tensor, " N"], objective: str) -> Float[Tensor, " N"]:
    """The behaviour log-probabilities of all rows. Raises ValueError if one is unknown."""
    if bool(torch.isnan(behaviour_logprob).any()):
        raise ValueError(
            f"{objective} needs the behaviour log-probability of each row; select them with"
            ' where = "j.behaviour_logprob is not null"'
        )
    return behaviour_logprob


def importance_ratio(
    policy_logprob: Float[Tensor, " N"],
    behaviour_logprob: Float[Tensor, " N"],
    selection_weight: Float[Tensor, " N"] | None = None,
) -> Float[Tensor, " N"]:
    """pi/mu, detached; NaN where mu is unknown. With `selection_weight` mu is what the rows are drawn from,
    because a source may select by verdict (`trainer/data/selection_weights.py`).
    """
    ratio = torch.exp((policy_logprob.detach() - behaviour_logprob).clamp(max=20.0))
    return ratio if selection_weight is None else ratio * selection_weight.nan_to_num(1.0)


def importance_weight(ratio: Float[Tensor, " N"], cap: float, mean_ratio: float = 1.0) -> Float[Tensor, " N"]:
    """min(ratio / mean_ratio, cap), and 1 where the ratio is unknown (NaN).

    Without the mean, a few nats of staleness would give all weight to the rows whose mu is unknown. With it,
    rows of known mu keep on average the share of a batch that the mixture gives them.
    """
    weight = (ratio / mean_ratio).clamp(max=cap)
    return torch.where(torch.isnan(ratio), torch.ones_like(weight), weight)


@dataclass
class MeanRatio:
    """A running mean of the ratios of the steps so far."""

    value: float = 1.0

    def update(self, mean_of_step: float | None) -> None:
        """Take in the mean ratio of a step, None if no row had one."""
        if mean_of_step is not None:
            self.value = max(SMALLEST_MEAN, MEMORY * self.value + (1 - MEMORY) * mean_of_step)
