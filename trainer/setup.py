"""What surrounds the model in training: adapters, activation checkpointing, the optimiser and its learning rate."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from trainer.policy import Policy

Schedule = Literal["constant", "linear", "cosine"]
Optimiser = Literal["adamw", "adamw8bit"]


class LoraSettings(BaseModel):
    """Low-rank adapters on every linear layer but the head (Hu et al., arXiv 2106.09685); only they are trained."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    rank: int = Field(16, ge=1)
    alpha: int = Field(32, ge=1, description="adapters are scaled by alpha / rank")


class MissingExtra(ImportError):
    """An optional package that a setting asks for is not installed; the message names the extra."""


def prepare(policy: Policy, *, lora: LoraSettings | None, activation_checkpointing: bool) -> None:
    """Make the model what the settings ask for, in place. At step 0 an adapter adds nothing."""
    if lora:
        inject_lora(policy.model, lora)
    if activation_checkpointing:
        enable = getattr(policy.model, "activation_checkpointing_enable", None)
        if enable:
            enable({"use_reentrant": False})
        else:  # its name in older transformers
            policy.model.gradient_checkpointing_enable({"use_reentrant": False})


def inject_lora(model: Any, settings: LoraSettings) -> None:
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise MissingExtra("lora needs the extra `lora` (peft is missing): pip install 'spo[lora]'") from error
    head = model.get_output_embeddings()
    linear = sorted(
        {name.rsplit(".", 1)[-1] for name, part in model.named_modules() if isinstance(part, nn.Linear) and part is not head}
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # the first adapter is a function of nothing but the model
        inject_adapter_in_model(LoraConfig(r=settings.rank, lora_alpha=settings.alpha, target_modules=linear), model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lora_" in name)


def adapter_state(model: Any) -> dict[str, Tensor]:
    """The adapter's tensors, empty where there is none."""
    return {name: tensor for name, tensor in model.state_dict().items() if "lora_" in name}


def load_adapter(model: Any, state: dict[str, Tensor]) -> None:
    if state:
        unexpected = model.load_state_dict(state, strict=False).unexpected_keys
        if unexpected:
            raise ValueError(f"the checkpoint's adapter has tensors that the model lacks: {', '.join(unexpected[:3])}")


def merge_adapter(model: Any) -> None:
    """Put the adapters into the weights and take them off, so that the policy is saved like any other."""
    if not adapter_state(model):
        return
    from peft.tuners.lora import LoraLayer

    for name, part in list(model.named_modules()):
        if isinstance(part, LoraLayer):
            part.merge()
            parent, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(parent), leaf, part.get_base_layer())
    model.requires_grad_(True)
    # peft leaves its settings on the model, which would then save itself as an adapter.
    for trace in ("peft_config", "_hf_peft_config_loaded"):
        if trace in vars(model):
            delattr(model, trace)


def new_optimiser(policy: Policy, kind: Optimiser = "adamw") -> torch.optim.Optimizer:
    """AdamW on what is trainable; adamw8bit keeps its moments in 8 bits (torchao; Dettmers et al., arXiv 2110.02861)."""
    parameters = [parameter for parameter in policy.model.parameters() if parameter.requires_grad]
    options: dict[str, Any] = {"lr": 0.0, "betas": (0.9, 0.95), "weight_decay": 0.0}
    if kind == "adamw":
        return torch.optim.AdamW(parameters, **options)
    try:
        from torchao.optim import AdamW8bit
    except ImportError as error:
        raise MissingExtra("adamw8bit needs the extra `adam8bit` (torchao is missing): pip install 'spo[adam8bit]'") from error
    optimiser = AdamW8bit(parameters, **options)
    if policy.device.type == "cpu":  # torchao would compile its update with a C++ compiler, for minutes
        optimiser.step = torch.compiler.set_stance("force_eager")(optimiser.step)
    return optimiser


def rate_at(step: int, *, steps: int, peak: float, warmup_steps: int, schedule: Schedule, final_share: float) -> float:
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
