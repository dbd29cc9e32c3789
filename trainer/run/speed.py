"""How fast a step was and what memory it needed: tokens/s, MFU, peak memory."""

from __future__ import annotations

import resource
import sys
from typing import Any

import torch
from torch import Tensor

from trainer.data import Row
from trainer.policies import Policy

# Dense bf16 FLOP/s of the data sheets.
PEAK_BF16_FLOPS = {
    "B200": 2250e12,
    "H200": 989e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "RTX 4090": 165e12,
}


def speed_figures(policy: Policy, rows: list[Row], seconds: float, peak: float | None, world: int) -> dict:
    """tokens/s of all ranks, memory of this one, and MFU = model FLOPs / (seconds x peak FLOP/s x ranks),
    or null.
    """
    peak = peak or peak_flops(policy.device)
    return {
        "tokens_per_s": sum(row.tokens for row in rows) / seconds,
        "peak_memory_gb": peak_memory_gb(policy.device),
        "mfu": model_flops(policy.model, rows) / (seconds * peak * world) if peak else None,
    }


def model_flops(model: Any, rows: list[Row]) -> float:
    """Floating-point operations that one training step on these rows needs, recomputation not counted.

        6 x body parameters x tokens                       (2 forward, 4 backward, for each weight and token)
      + 6 x head parameters x completion tokens            (only positions that predict a completion token
      reach the head) + 6 x layers x width x sum over sequences of length^2 (two causal products forward, four
      backward, half a square each)

    Embedding look-ups cost nothing and are not counted; width is heads x head size. A weight that is not
    trained (beside adapters) counts 4 and not 6: its gradient is not computed.
    """
    head = model.get_output_embeddings().weight
    embedding = model.get_input_embeddings().weight
    outside = {id(head), id(embedding)}
    body = sum(_flops_per_token(p) * p.numel() for p in model.parameters() if id(p) not in outside)
    config = model.config
    head_size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    width = config.num_attention_heads * head_size
    lengths = [row.tokens for row in rows]
    completions = sum(len(row.completion_ids) for row in rows)
    squares = float(sum(length * length for length in lengths))
    return (
        body * sum(lengths)
        + _flops_per_token(head) * head.numel() * completions
        + 6.0 * config.num_hidden_layers * width * squares
    )


def peak_flops(device: torch.device) -> float | None:
    """The data sheet's dense bf16 FLOP/s of a GPU that is known by name."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((flops for part, flops in PEAK_BF16_FLOPS.items() if part in name), None)


def peak_memory_gb(device: torch.device) -> float:
    """Most memory used so far, in GiB: on the GPU by torch, else by the process (resident)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def _flops_per_token(weight: Tensor) -> float:
    """Two forward, two for the gradient of its input, and two for its own where it is trained."""
    return 6.0 if weight.requires_grad else 4.0
