"""Low-rank adapters and activation checkpointing: what is done to a model before it is trained."""

from __future__ import annotations

import re
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from trainer.policies.logprobs import Precision
from trainer.policies.policy import Policy

# Attributes of modules in transformers that are probabilities or sizes of noise.
_RANDOM = re.compile(r"dropout|_pdrop|layerdrop|jitter_noise")


class LoraSettings(BaseModel):
    """Low-rank adapters on every linear layer but the head (Hu et al., arXiv 2106.09685); only they are
    trained.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    rank: int = Field(16, ge=1, description="of the matrices that are added to each layer")
    alpha: int = Field(32, ge=1, description="adapters are scaled by alpha / rank")


class MissingExtra(ImportError):
    """An optional package that a setting asks for is not installed; the message names the extra."""


def prepare(
    policy: Policy,
    *,
    lora: LoraSettings | None,
    activation_checkpointing: bool,
    precision: Precision = "fp32",
) -> None:
    """Add what the settings ask for to the model, in place, and turn its dropout off: a reference is scored
    without it. At step 0 an adapter adds nothing. With `bf16-weights` an adapter stays in fp32.
    """
    turn_dropout_off(policy.model)
    if precision == "bf16-weights":
        policy.model.to(torch.bfloat16)
    if lora:
        _inject_lora(policy.model, lora)
    if activation_checkpointing:
        enable = getattr(policy.model, "activation_checkpointing_enable", None)
        if enable:
            enable({"use_reentrant": False})
        else:  # its name in older transformers
            policy.model.gradient_checkpointing_enable({"use_reentrant": False})


def turn_dropout_off(model: nn.Module) -> None:
    """Make the forward pass of a model in training mode that of evaluation mode: no dropout of states,
    attention or layers, no noise in the router of experts.
    """
    for part in model.modules():
        if isinstance(part, nn.modules.dropout._DropoutNd):
            part.p = 0.0
        for name, value in vars(part).items():
            if isinstance(value, float) and _RANDOM.search(name):
                setattr(part, name, 0.0)


def _inject_lora(model: Any, settings: LoraSettings) -> None:
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise MissingExtra(
            "lora needs the extra `lora` (peft is missing): pip install 'spo[lora]'"
        ) from error
    head = model.get_output_embeddings()
    linear = sorted(
        {
            name.rsplit(".", 1)[-1]
            for name, part in model.named_modules()
            if isinstance(part, nn.Linear | Conv1D) and part is not head
        }
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # the initial adapter depends only on the model
        inject_adapter_in_model(
            LoraConfig(r=settings.rank, lora_alpha=settings.alpha, target_modules=linear), model
        )
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lora_" in name)


def adapter_state(model: Any) -> dict[str, Tensor]:
    """The adapter's tensors, empty without an adapter."""
    return {name: tensor for name, tensor in model.state_dict().items() if "lora_" in name}


def load_adapter(model: Any, state: dict[str, Tensor]) -> None:
    if state:
        unexpected = model.load_state_dict(state, strict=False).unexpected_keys
        if unexpected:
            raise ValueError(
                f"the checkpoint's adapter has tensors that the model lacks: {', '.join(unexpected[:3])}"
            )


def merge_adapter(model: Any) -> None:
    """Merge the adapters into the weights and remove them, so that the policy is saved like any other."""
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
    for attribute in ("peft_config", "_hf_peft_config_loaded"):
        if attribute in vars(model):
            delattr(model, attribute)
