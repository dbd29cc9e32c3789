"""What surrounds the model in training: adapters, activation checkpointing, the optimiser and its learning rate."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor

from trainer.policies import MissingExtra, Policy

Schedule = Literal["constant", "linear", "cosine"]
Optimiser = Literal["adamw", "adamw8bit"]


def new_optimiser(policy: Policy, kind: Optimiser = "adamw") -> torch.optim.Optimizer:
    """AdamW on what is trainable; adamw8bit keeps its moments in 8 bits (torchao; Dettmers et al., arXiv 2110.02861)."""
    parameters = [parameter for parameter in policy.model.parameters() if parameter.requires_grad]
    options: dict[str, Any] = {"lr": 0.0, "betas": (0.9, 0.95), "weight_decay": 0.0}
    if kind == "adamw":
        return torch.optim.AdamW(parameters, **options)
    try:
        from torchao.optim import AdamW8bit
    except ImportError as error:
        raise MissingExtra(
            "adamw8bit needs the extra `adam8bit` (torchao is missing): pip install 'spo[adam8bit]'"
        ) from error
    optimiser = AdamW8bit(parameters, **options)
    if policy.device.type == "cpu":  # torchao would compile its update with a C++ compiler, for minutes
        optimiser.step = torch.compiler.set_stance("force_eager")(optimiser.step)
    return optimiser


def rate_at(
    step: int, *, steps: int, peak: float, warmup_steps: int, schedule: Schedule, final_share: float
) -> float:
    """The learning rate at a step: a linear rise, and along the schedule down to `final_share` of the peak."""
    rise = min(1.0, (step + 1) / max(1, warmup_steps))
    if schedule == "constant":
        return peak * rise
    if schedule == "linear":
        return peak * rise * (1 - (1 - final_share) * step / steps)
    return peak * rise * ((1 + final_share) / 2 + (1 - final_share) / 2 * math.cos(math.pi * step / steps))


def set_learning_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    for group in optimiser.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate
