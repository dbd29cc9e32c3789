"""Log-probabilities of completions under a policy, without ever holding a [tokens, vocabulary] tensor.

The trainer and the reference scorer share this one code path: their difference is summed over the tokens of a
completion, and 0.01 nat per token is 10 nats at 1,000 tokens. log-softmax is taken in fp32 whatever the dtype
of the model.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from trainer.policies.batching import TokenBatch, packed_batch, sum_by_sequence, token_batch
from trainer.policies.logits import LogitTransform, logit_transform

HEAD_CHUNK_TOKENS = 2048
PACKING_TOLERANCE_NATS = 1e-3  # of a sequence of 16 tokens
Head = Literal["chunked", "fused"]
# bf16: products in bfloat16 on fp32 weights (autocast). bf16-weights: the weights themselves.
Precision = Literal["fp32", "bf16", "bf16-weights"]


class CompletionLogprobs(NamedTuple):
    """What one forward pass gives for N sequences with C completion tokens, in sequence order.

    A plain tuple of tensors, because FSDP looks for the tensors in what a forward pass returns.
    """

    logprob: Float[Tensor, " C"]  # log pi of each completion token, nats, fp32
    sequence: Int[Tensor, " C"]  # index of its sequence
    entropy: Float[Tensor, " N"]  # mean over positions of a sequence, nats; NaN without any


def completion_logprobs(
    model: Any,
    batch: TokenBatch,
    head_chunk_tokens: int = HEAD_CHUNK_TOKENS,
    head: Head = "chunked",
    entropy_tokens: int = 0,
) -> CompletionLogprobs:
    """log pi of every completion token, and entropies at about `entropy_tokens` evenly spaced positions of
    the batch.

    `model` is a transformers causal LM: a backbone under `base_model` and a linear head from
    `get_output_embeddings()`. Only positions that predict a completion token go through the head, in chunks;
    each chunk is recomputed in the backward pass, so that memory grows with chunk x vocabulary and
    not with tokens x vocabulary. `head="fused"` leaves that to torch's own `linear_cross_entropy`, where
    torch has it, unless the model scales or caps its logits.
    """
    positions = {} if batch.position_ids is None else {"position_ids": batch.position_ids}
    hidden = model.base_model(input_ids=batch.token_ids, use_cache=False, **positions).last_hidden_state
    sequence, row, column = batch.predicting()
    states, targets = hidden[row, column], batch.token_ids[row, column + 1]
    output, transform = model.get_output_embeddings(), logit_transform(model)
    entropy = _sampled_entropy(output, transform, states, sequence, len(batch.lengths), entropy_tokens)
    if head == "fused" and transform.is_identity:
        return CompletionLogprobs(
            _fused_logprob(output, states, targets, head_chunk_tokens), sequence, entropy
        )
    chunks = zip(states.split(head_chunk_tokens), targets.split(head_chunk_tokens), strict=True)
    values = [
        checkpoint(_chunk_logprob, output, transform, chunk, chosen, use_reentrant=False)
        for chunk, chosen in chunks
    ]
    return CompletionLogprobs(torch.cat(values), sequence, entropy)


@torch.no_grad()
def packing_gap(model: Any) -> float:
    """Largest difference that packing two sequences into one row makes to their log-probabilities, in nats a
    sequence. Models with a recurrent state read across the border.
    """
    size = model.get_input_embeddings().num_embeddings
    ids = [[(1 + i * 7919) % size for i in range(first, first + 24)] for first in (1, 40)]
    prompts, completions = [row[:8] for row in ids], [row[8:] for row in ids]
    sums = []
    for batch in (token_batch(prompts, completions), packed_batch(prompts, completions, 48)):
        computed = completion_logprobs(model, batch.to(model.device))
        sums.append(sum_by_sequence(computed.logprob, computed.sequence, 2))
    return float((sums[0] - sums[1]).abs().max())


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager:
    """bf16: matrix products in bfloat16 on fp32 weights, log-softmax still in fp32."""
    return torch.autocast(device.type, dtype=torch.bfloat16) if precision == "bf16" else nullcontext()


def has_fused_head() -> bool:
    """Whether this torch computes un-reduced losses from states and head without the logits
    (`linear_cross_entropy`).
    """
    return hasattr(nn.functional, "linear_cross_entropy") and hasattr(nn, "LinearCrossEntropyOptions")


def _chunk_logprob(
    head: nn.Module,
    transform: LogitTransform,
    states: Float[Tensor, "C width"],
    targets: Int[Tensor, " C"],
) -> Float[Tensor, " C"]:
    """log softmax(head(states))[targets], in fp32."""
    logits = transform(head(states)).float()
    return logits.gather(1, targets[:, None]).squeeze(1) - logits.logsumexp(dim=1)


def _fused_logprob(
    head: Any, states: Float[Tensor, "C width"], targets: Int[Tensor, " C"], chunk_tokens: int
) -> Float[Tensor, " C"]:
    """The same as `_chunk_logprob`, by torch's chunked kernel in fp32."""
    options = nn.LinearCrossEntropyOptions(batch_chunk_size=chunk_tokens, chunking_method=None)
    bias = None if head.bias is None else head.bias.float()
    return -nn.functional.linear_cross_entropy(
        states.float(), head.weight.float(), targets, linear_bias=bias, reduction="none", options=options
    )


def _sampled_entropy(
    head: Any,
    transform: LogitTransform,
    states: Float[Tensor, "C width"],
    sequence: Int[Tensor, " C"],
    count: int,
    tokens: int,
) -> Float[Tensor, " {count}"]:
    """Mean entropy of each of `count` sequences, from one small product with the head without a gradient."""
    if not tokens:
        return torch.full((count,), torch.nan, device=states.device)
    every = -(-len(states) // tokens)
    with torch.no_grad():
        logprobs = transform(head(states.detach()[::every])).float().log_softmax(dim=1)
        entropy, sequence = -(logprobs.exp() * logprobs).sum(dim=1), sequence[::every]
        total, positions = (
            sum_by_sequence(values, sequence, count) for values in (entropy, torch.ones_like(entropy))
        )
        return total / positions
