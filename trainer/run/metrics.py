"""What a step is watched by: the quantities of every source, the distance to the reference, speed and memory."""

from __future__ import annotations

import resource
import sys
from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trainer.data import Row

# Dense bf16 FLOP/s of the data sheets.
PEAK_BF16_FLOPS = {
    "B200": 2250e12,
    "H200": 989e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "RTX 4090": 165e12,
}
KL_WEIGHT_CAP = 10.0


@dataclass(frozen=True)
class Scored:
    """What one step found for each of its rows, in the order of `rows`; tensors [N] on the CPU."""

    rows: list[Row]
    loss: Tensor  # weighted loss
    terminal_q: Tensor
    residual: Tensor  # Q_T - r
    log_ratio: Tensor  # log pi - log pi_ref
    entropy: Tensor  # nats a token, NaN where it was not looked at


def figures_of(scored: Scored, beta: float) -> dict:
    """What to watch (method, section 9), over the batch and for every source of the mixture separately."""
    # Not every reward has its successes at 0 and above; without a verdict it is taken to.
    success = torch.tensor(
        [row.verdict == "accepted" if row.verdict else row.reward >= 0 for row in scored.rows]
    )
    columns = {name: getattr(scored, name) for name in ("loss", "terminal_q", "residual", "log_ratio")}

    def summary(chosen: Tensor) -> dict:
        q = scored.terminal_q
        return {name: float(values[chosen].mean()) for name, values in columns.items()} | {
            "max_log_ratio": float(scored.log_ratio[chosen].abs().max()),
            "rows": int(chosen.sum()),
            "success_share": float(success[chosen].float().mean()),
            "q_success": mean_or_none(q[chosen & success]),
            "q_failure": mean_or_none(q[chosen & ~success]),
            "q_above_zero": float((q[chosen] > 0).float().mean()),
            "token_entropy": mean_or_none(scored.entropy[chosen & ~scored.entropy.isnan()]),
            **mix(scored.rows, chosen, success),
            **kl_figures(scored, chosen),
        }

    sources = sorted({row.source for row in scored.rows})
    by_source = {name: summary(torch.tensor([row.source == name for row in scored.rows])) for name in sources}
    return summary(torch.ones_like(success)) | {"beta": beta, "sources": by_source}


def mix(rows: list[Row], chosen: Tensor, success: Tensor) -> dict:
    """How often each verdict, how many problems, and how many distinct completions among the successes (problem and tokens)."""
    taken = [rows[i] for i in chosen.nonzero().flatten().tolist()]
    correct = [rows[i] for i in (chosen & success).nonzero().flatten().tolist()]
    return {
        "verdicts": dict(sorted(Counter(row.verdict for row in taken if row.verdict).items())),
        "problems": len({row.problem_id for row in taken}),
        "distinct_correct": len({(row.problem_id, tuple(row.completion_ids)) for row in correct}),
    }


def kl_figures(scored: Scored, chosen: Tensor) -> dict[str, float | None]:
    """KL(pi || pi_ref) in nats a sequence and the effective number of samples behind it, over the chosen rows."""
    behaviour = torch.tensor([row.behaviour_logprob for row in scored.rows])[chosen]
    reference = torch.tensor([row.reference_logprob for row in scored.rows])[chosen]
    kl, samples = kl_estimate(scored.log_ratio[chosen], reference, behaviour)
    return {"kl": kl, "kl_samples": samples}


def kl_estimate(
    log_ratio: Tensor, reference_logprob: Tensor, behaviour_logprob: Tensor
) -> tuple[float | None, float]:
    """Self-normalised, truncated importance sampling of E_pi[log pi - log pi_ref] from samples of any known mu.

    Returns the estimate (None where no behaviour log-probability is known) and the effective sample size of pi/mu.
    """
    known = torch.isfinite(behaviour_logprob)
    if not bool(known.any()):
        return None, 0.0
    ratio = (reference_logprob + log_ratio - behaviour_logprob)[known].double()
    weight = ratio.clamp(max=20.0).exp().clamp(max=KL_WEIGHT_CAP)
    if float(weight.sum()) == 0.0:
        return None, 0.0
    kl = (weight * log_ratio[known].double()).sum() / weight.sum()
    return float(kl), float(weight.sum().square() / weight.square().sum())


def mean_or_none(values: Tensor) -> float | None:
    return float(values.mean()) if len(values) else None


def model_flops(model: Any, rows: list[Row]) -> float:
    """Floating-point operations that one training step on these rows needs, recomputation not counted.

        6 x body parameters x tokens                       (2 forward, 4 backward, for each weight and token)
      + 6 x head parameters x completion tokens            (only places that predict a completion token reach the head)
      + 6 x layers x width x sum over sequences of length^2 (two causal products forward, four backward, half a square each)

    Embedding look-ups cost nothing and are not counted; width is heads x head size. A weight that is not trained
    (beside adapters) counts 4 and not 6: its gradient is not computed.
    """
    head = model.get_output_embeddings().weight
    embedding = model.get_input_embeddings().weight
    outside = {id(head), id(embedding)}
    body = sum(cost_of(p) * p.numel() for p in model.parameters() if id(p) not in outside)
    config = model.config
    head_size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    width = config.num_attention_heads * head_size
    lengths = [row.tokens for row in rows]
    completions = sum(len(row.completion_ids) for row in rows)
    squares = float(sum(length * length for length in lengths))
    return (
        body * sum(lengths)
        + cost_of(head) * head.numel() * completions
        + 6.0 * config.num_hidden_layers * width * squares
    )


def cost_of(weight: Tensor) -> float:
    """Operations a token and weight: two forward, two for the gradient of what came in, two for its own where it is trained."""
    return 6.0 if weight.requires_grad else 4.0


def peak_flops(device: torch.device) -> float | None:
    """The data sheet's dense bf16 FLOP/s of a GPU that is known by name."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((flops for part, flops in PEAK_BF16_FLOPS.items() if part in name), None)


def peak_memory_gb(device: torch.device) -> float:
    """Most memory held so far: on the GPU by torch, else by the process (resident)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def speed_figures(
    model: Any, rows: list[Row], seconds: float, device: torch.device, peak: float | None, world: int
) -> dict:
    """tokens/s of all ranks, memory of this one, and MFU = model FLOPs / (seconds x peak FLOP/s x ranks) if the peak is known."""
    peak = peak or peak_flops(device)
    figures = {
        "tokens_per_s": sum(row.tokens for row in rows) / seconds,
        "peak_memory_gb": peak_memory_gb(device),
    }
    return figures | {"mfu": model_flops(model, rows) / (seconds * peak * world) if peak else None}
