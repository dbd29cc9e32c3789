"""The optimiser of a run and its learning rate: section [optimiser]."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator
from torch import Tensor

from trainer.distributed import Preparation, ValueLearner
from trainer.objectives import ValueNetworkSettings
from trainer.policies import (
    LoraSettings,
    MissingExtra,
    Policy,
    Precision,
    ValueNetwork,
    new_value_network,
    prepare,
)


class OptimiserSettings(BaseModel):
    """Which weights are trained, and at what rate."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    kind: Literal["adamw", "adamw8bit"] = Field(
        "adamw", description="adamw8bit: moments in 8 bits, needs the extra `adam8bit`"
    )
    learning_rate: float = Field(3e-4, gt=0, description="at its peak, after the warm-up")
    warmup_steps: int = Field(10, ge=0, description="steps in which the learning rate rises to its peak")
    schedule: Literal["constant", "linear", "cosine"] = Field(
        "cosine", description="learning rate after the warm-up"
    )
    final_share: float = Field(
        0.1, ge=0, le=1, description="share of the learning rate at the end of the schedule"
    )
    clip_norm: float = Field(1.0, gt=0, description="largest norm of the gradient")
    betas: tuple[float, float] = Field(
        (0.9, 0.95), description="decay of the means of the gradient and of its square, each in [0, 1)"
    )
    epsilon: float = Field(1e-8, gt=0, description="added to the root of the second moment")
    weight_decay: float = Field(0.0, ge=0, description="share of a weight that a rate of 1 would take away")
    lora: LoraSettings | None = Field(
        None, description="train low-rank adapters only, needs the extra `lora`; null: all weights"
    )

    @field_validator("betas")
    @classmethod
    def betas_are_shares(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not all(0 <= beta < 1 for beta in value):
            raise ValueError("each beta must be at least 0 and below 1")
        return value


def new_optimiser(policy: Policy, settings: OptimiserSettings | None = None) -> torch.optim.Optimizer:
    """AdamW on what is trainable; adamw8bit keeps its moments in 8 bits (torchao; Dettmers et al., arXiv
    2110.02861). Weights in bfloat16 are rounded stochastically (torchao): most updates are smaller than half
    of the distance between two such numbers, and would be lost.
    """
    parameters = [parameter for parameter in policy.model.parameters() if parameter.requires_grad]
    settings = settings or OptimiserSettings()
    options: dict[str, Any] = {
        "lr": 0.0,
        "betas": settings.betas,
        "eps": settings.epsilon,
        "weight_decay": settings.weight_decay,
    }
    halved = any(parameter.dtype == torch.bfloat16 for parameter in parameters)
    if settings.kind == "adamw" and not halved:
        return torch.optim.AdamW(parameters, **options)
    try:
        from torchao.optim import AdamW8bit, _AdamW
    except ImportError as error:
        asked = "adamw8bit" if settings.kind == "adamw8bit" else 'precision = "bf16-weights"'
        raise MissingExtra(
            f"{asked} needs the extra `adam8bit` (torchao is missing): pip install 'spo[adam8bit]'"
        ) from error
    kind = AdamW8bit if settings.kind == "adamw8bit" else _AdamW
    optimiser = kind(parameters, bf16_stochastic_round=halved, **options)
    if policy.device.type == "cpu":  # torchao would compile its update with a C++ compiler, for minutes
        optimiser.step = torch.compiler.set_stance("force_eager")(optimiser.step)
    return optimiser


def new_value_learner(
    network: ValueNetwork, settings: OptimiserSettings, needed: ValueNetworkSettings
) -> ValueLearner:
    """A value network with an AdamW of its own."""
    optimiser = torch.optim.AdamW(
        network.parameters(),
        lr=0.0,
        betas=settings.betas,
        eps=settings.epsilon,
        weight_decay=settings.weight_decay,
    )
    return ValueLearner(network, optimiser, needed.rate_factor, needed.clip_norm)


def preparation(
    settings: OptimiserSettings,
    needed: ValueNetworkSettings | None,
    *,
    activation_checkpointing: bool,
    precision: Precision = "fp32",
) -> Preparation:
    """How a policy is made ready for training under these settings."""

    def value_learner(network: ValueNetwork | None) -> ValueLearner | None:
        return new_value_learner(network, settings, needed) if network and needed else None

    return Preparation(
        prepare=lambda policy: prepare(
            policy,
            lora=settings.lora,
            activation_checkpointing=activation_checkpointing,
            precision=precision,
        ),
        new_optimiser=lambda policy: new_optimiser(policy, settings),
        new_value_network=lambda policy: new_value_network(policy) if needed else None,
        new_value_learner=value_learner,
    )


def rate_at(step: int, steps: int, settings: OptimiserSettings) -> float:
    """The learning rate at a step: a linear rise, then the schedule down to `final_share` of the peak."""
    rise = min(1.0, (step + 1) / max(1, settings.warmup_steps))
    peak, final = settings.learning_rate, settings.final_share
    if settings.schedule == "constant":
        return peak * rise
    if settings.schedule == "linear":
        return peak * rise * (1 - (1 - final) * step / steps)
    return peak * rise * ((1 + final) / 2 + (1 - final) / 2 * math.cos(math.pi * step / steps))


def set_learning_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Set the rate of all parameters. torchao's optimisers hold it as a tensor."""
    for group in optimiser.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate
