"""Adam's moments in checkpoints, where a rank holds a part of each: whole ones are cut, parts of other ranks
put together.

Moments in 8 bits are kept as they are, because quantised again they would not be the same. Each rank then
writes its own, and only where the number of ranks changes are they turned into numbers, joined, cut for the
ranks there are now, and quantised again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor


def _file_of(folder: Path, rank: int) -> Path:
    return folder / f"moments-{rank}.pt"


def save_moments(optimiser: torch.optim.Optimizer, folder: Path, rank: int, world: int) -> None:
    """Write what this rank holds of the moments of each parameter."""
    moments = [
        {name: _local(value) for name, value in optimiser.state[p].items()} for p in _parameters_of(optimiser)
    ]
    torch.save({"world": world, "moments": moments}, _file_of(folder, rank))


def load_moments(optimiser: torch.optim.Optimizer, folder: Path, rank: int, world: int) -> None:
    """Read the moments that `save_moments` wrote: bit-equal on the same number of ranks, within rounding
    on others.
    """
    first = _read(folder, 0)
    if first["world"] == world:
        own = first if rank == 0 else _read(folder, rank)
        for parameter, saved in zip(_parameters_of(optimiser), own["moments"], strict=True):
            state = _new_state(optimiser, parameter, saved)
            for name in _moments_in(saved):
                _local(state[name]).copy_(saved[name])
        return
    parts = [first, *(_read(folder, other) for other in range(1, first["world"]))]
    for parameter, *saved in zip(
        _parameters_of(optimiser), *(part["moments"] for part in parts), strict=True
    ):
        # FSDP2 cuts a parameter along its first dimension.
        joined = {
            name: torch.cat([numbers_of(part[name]) for part in saved]) for name in _moments_in(saved[0])
        }
        _put_whole(optimiser, parameter, {**saved[0], **joined})


def spread_moments(optimiser: torch.optim.Optimizer, whole: Sequence[dict[str, Tensor]]) -> None:
    """Give each parameter this rank's part of its whole moments, as a single process saved them."""
    for parameter, saved in zip(_parameters_of(optimiser), whole, strict=True):
        _put_whole(optimiser, parameter, {name: numbers_of(value) for name, value in saved.items()})


def _put_whole(optimiser: torch.optim.Optimizer, parameter: Tensor, saved: dict[str, Tensor]) -> None:
    state = _new_state(optimiser, parameter, saved)
    for name in _moments_in(saved):
        state[name].copy_(part_for(parameter, saved[name]))


def _new_state(
    optimiser: torch.optim.Optimizer, parameter: Tensor, saved: dict[str, Tensor]
) -> dict[str, Any]:
    """Empty moments of a parameter, and its count of steps, in the optimiser."""
    make = getattr(optimiser, "_new_buffer", None)  # torchao's, which decides what is kept in 8 bits
    state = {
        name: make(parameter, name == "exp_avg") if make else torch.zeros_like(parameter)
        for name in _moments_in(saved)
    }
    optimiser.state[parameter] = {"step": saved["step"], **state}
    return optimiser.state[parameter]


def _moments_in(saved: dict[str, Tensor]) -> list[str]:
    return [name for name in saved if name != "step"]


def _parameters_of(optimiser: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimiser.param_groups for parameter in group["params"]]


def part_for(parameter: Tensor, whole: Tensor) -> Tensor:
    """What a rank holds of a whole tensor that is cut like the parameter; every rank has the whole one."""
    whole = whole.to(parameter.device)
    if not isinstance(parameter, DTensor):
        return whole
    return distribute_tensor(whole, parameter.device_mesh, parameter.placements, src_data_rank=None)


def _local(value: Tensor) -> Tensor:
    return value.to_local() if isinstance(value, DTensor) else value


def numbers_of(value: Tensor) -> Tensor:
    """Moments in 8 bits as numbers."""
    return value.dequantize() if hasattr(value, "codes") else value


def _read(folder: Path, rank: int) -> dict[str, Any]:
    return torch.load(_file_of(folder, rank), weights_only=True, map_location="cpu")
