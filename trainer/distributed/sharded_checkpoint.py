"""Checkpoints across numbers of ranks: written by several and read by any, or written by one and read by
several.

Bit-equal on as many ranks, within rounding on others, whose sums run in another order. With adapters a
checkpoint holds the adapters alone.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)

from trainer.distributed import checkpoint
from trainer.distributed.base import State, ValueLearner
from trainer.distributed.moments import load_moments, part_for, save_moments, spread_moments
from trainer.policies import Policy, adapter_state


def save_sharded(
    folder: Path,
    policy: Policy,
    optimiser: torch.optim.Optimizer,
    value: ValueLearner | None,
    rank: int,
    world: int,
) -> None:
    """Write what this rank holds; every rank calls this at the same time."""
    dcp.save(_sharded_state(policy, optimiser) | _value_state(value), checkpoint_id=folder)
    if _in_8_bits(optimiser):
        save_moments(optimiser, folder, rank, world)


def load_sharded(
    folder: Path,
    policy: Policy,
    optimiser: torch.optim.Optimizer,
    value: ValueLearner | None,
    rank: int,
    world: int,
) -> State:
    """Read a checkpoint of several ranks into a prepared policy: each rank takes its part. Returns the
    saved state.
    """
    state = _sharded_state(policy, optimiser) | _value_state(value)
    dcp.load(state, checkpoint_id=folder)
    strict = not adapter_state(policy.model)
    set_model_state_dict(policy.model, state["model"], options=StateDictOptions(strict=strict))
    if _in_8_bits(optimiser):
        load_moments(optimiser, folder, rank, world)
    else:
        set_optimizer_state_dict(policy.model, optimiser, state["optimiser"])
    if value:
        set_model_state_dict(value.network, state["value"])
        set_optimizer_state_dict(value.network, value.optimiser, state["value_optimiser"])
    return json.loads((folder / checkpoint.SHARDED).read_text())


def spread_single(
    saved: dict[str, Any], policy: Policy, optimiser: torch.optim.Optimizer, value: ValueLearner | None
) -> State:
    """Keep this rank's part of the adapters, the value network and the moments that one process wrote.
    Returns the saved state.
    """
    _spread(saved["adapter"], saved["optimiser"], policy.model, optimiser)
    if value:
        _spread(saved["value"]["network"], saved["value"]["optimiser"], value.network, value.optimiser)
    return checkpoint.saved_state(saved)


@torch.no_grad()
def _spread(
    weights: dict[str, Tensor],
    moments: dict[str, Any],
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
) -> None:
    parameters = dict(model.named_parameters())
    for name, whole in weights.items():
        parameters[name].copy_(part_for(parameters[name], whole))
    numbered = moments["state"]
    spread_moments(optimiser, [numbered[number] for number in sorted(numbered)])


def _value_state(value: ValueLearner | None) -> dict[str, Any]:
    if value is None:
        return {}
    return {
        "value": get_model_state_dict(value.network),
        "value_optimiser": get_optimizer_state_dict(value.network, value.optimiser),
    }


def _sharded_state(policy: Policy, optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    """Adapters alone where there are any, and moments unless they are in 8 bits."""
    model_state = get_model_state_dict(policy.model)
    adapters = {name: value for name, value in model_state.items() if "lora_" in name}
    state: dict[str, Any] = {"model": adapters or model_state}
    if _in_8_bits(optimiser):
        return state
    return state | {"optimiser": get_optimizer_state_dict(policy.model, optimiser)}


def _in_8_bits(optimiser: torch.optim.Optimizer) -> bool:
    return not isinstance(optimiser, torch.optim.AdamW)
