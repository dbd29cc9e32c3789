"""One token per row from logits, and its log-probability."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor


def draw_tokens(
    logits: Float[Tensor, "R V"], temperature: float, top_p: float, generator: torch.Generator
) -> tuple[Int[Tensor, " R"], Float[Tensor, " R"]]:
    """A token of each row, and its log-probability in nats under softmax(logits), in fp32.

    Nucleus sampling (Holtzman et al. 2020) keeps the smallest set of most likely tokens whose mass reaches
    `top_p`. The token is the inverse of the cumulative distribution at one uniform number per row, which
    costs one random number where `torch.multinomial` draws one for each entry of the vocabulary.
    """
    logits = logits.float()
    logprobs = logits - logits.logsumexp(dim=-1, keepdim=True)
    probabilities = logprobs.exp() if temperature == 1.0 else torch.softmax(logits / temperature, dim=-1)
    if top_p < 1.0:
        ordered, index = probabilities.sort(dim=-1, descending=True)
        outside = ordered.cumsum(dim=-1) - ordered >= top_p
        probabilities = probabilities.scatter(-1, index, ordered.masked_fill(outside, 0.0))
    token = _inverse_of_cumulative(probabilities, generator)
    return token.squeeze(1), logprobs.gather(-1, token).squeeze(1)


def _inverse_of_cumulative(
    probabilities: Float[Tensor, "R V"], generator: torch.Generator
) -> Int[Tensor, "R 1"]:
    """The first entry whose cumulative mass is above a uniform number; never one of probability 0."""
    cumulative = probabilities.cumsum(dim=-1, dtype=torch.float64)
    uniform = torch.rand(
        len(probabilities), 1, dtype=torch.float64, device=probabilities.device, generator=generator
    )
    total = cumulative[:, -1:]
    # Below the total, so that no entry of probability 0 at the end is drawn.
    level = torch.minimum(uniform * total, torch.nextafter(total, torch.zeros_like(total)))
    return torch.searchsorted(cumulative, level, right=True)
