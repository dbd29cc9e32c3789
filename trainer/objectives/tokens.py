"""What the policy gradients per token share: advantages of tokens, and the clipped ratio."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor


def ends_of(sequence: Int[Tensor, " C"], count: int) -> Int[Tensor, " M"]:
    """Index of the last token of each of the sequences, of `count`, that have one."""
    lengths = torch.bincount(sequence, minlength=count)
    return lengths.cumsum(0)[lengths > 0] - 1


def generalised_advantage(
    reward: Float[Tensor, " C"],
    value: Float[Tensor, " C"],
    sequence: Int[Tensor, " C"],
    count: int,
    decay: float,
) -> Float[Tensor, " C"]:
    """A_t = sum over l of decay^l (r_{t+l} + V_{t+l+1} - V_{t+l}), where V after the last token is 0.

    `value` is that of the state before each token; tokens of a sequence are side by side. Nothing is
    discounted. Source: Schulman et al., "High-dimensional continuous control using generalized advantage
    estimation", arXiv 1506.02438, equation 16 with gamma 1.
    """
    lengths = torch.bincount(sequence, minlength=count)
    column = torch.arange(len(sequence), device=sequence.device) - (lengths.cumsum(0) - lengths)[sequence]
    shape = (count, int(lengths.max()) + 1)
    rewards, values = reward.new_zeros(shape), value.new_zeros(shape)
    rewards[sequence, column], values[sequence, column] = reward, value
    advantages = torch.zeros_like(values)
    for t in range(shape[1] - 2, -1, -1):
        delta = rewards[:, t] + values[:, t + 1] - values[:, t]
        advantages[:, t] = delta + decay * advantages[:, t + 1]
    return advantages[sequence, column]


def clipped_gain(
    log_ratio: Float[Tensor, " C"],
    advantage: Float[Tensor, " C"],
    low: float,
    high: float,
    dual: float | None = None,
) -> tuple[Float[Tensor, " C"], Float[Tensor, " C"]]:
    """min(rho A, clip(rho, 1 - low, 1 + high) A), at least dual * A where A is negative; and 1 for tokens
    that this leaves without a gradient, else 0.

    Sources: Schulman et al., "Proximal policy optimization algorithms", arXiv 1707.06347; Ye et al. (dual
    clip), arXiv 1912.09729.
    """
    ratio = torch.exp(log_ratio)
    free = ratio * advantage
    gain = torch.minimum(free, ratio.clamp(1 - low, 1 + high) * advantage)
    if dual is not None:
        gain = torch.where(advantage < 0, torch.maximum(gain, dual * advantage), gain)
    return gain, (gain != free).to(gain.dtype)


def sequence_mean(
    values: Float[Tensor, " C"], sequence: Int[Tensor, " C"], count: int
) -> Float[Tensor, " {count}"]:
    """The mean over the tokens of each sequence, 0 without any."""
    sums = values.new_zeros(count).index_add(0, sequence, values)
    return sums / torch.bincount(sequence, minlength=count).clamp(min=1)


def known_tokens(logprob: Float[Tensor, " C"] | None, objective: str) -> Float[Tensor, " C"]:
    """The behaviour log-probabilities of all tokens. Raises ValueError if one is unknown."""
    if logprob is None or bool(torch.isnan(logprob).any()):
        raise ValueError(
            f"{objective} needs the behaviour log-probability of each token: rows that were sampled here at"
            " temperature 1 and top_p 1, or came with token_logprobs, have them; select these with"
            ' where = "j.token_logprobs is not null"'
        )
    return logprob
