"""Log-probabilities of completions under a policy, without ever holding a [tokens, vocabulary] tensor.

The trainer and the reference scorer share this one code path: their difference is summed over the tokens of a completion,
and 0.01 nat a token is 10 nats at 1,000 tokens. log-softmax is taken in fp32 whatever the dtype of the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

HEAD_CHUNK_TOKENS = 2048
Head = Literal["chunked", "fused"]
Precision = Literal["fp32", "bf16"]
Tokens = Sequence[int] | np.ndarray


@dataclass(frozen=True)
class TokenBatch:
    """N sequences, prompt then completion, in R rows of tokens: one a row and padded on the right, or packed end to end.

    Causal attention never looks at padding on the right. Packed sequences are kept apart by `position_ids`, which start at 0
    with each: given these and no mask, transformers attends within a sequence only (an all-ones mask would mix them silently).
    """

    token_ids: Tensor  # [R, L] int64
    prompt_lengths: Tensor  # [N] tokens
    lengths: Tensor  # [N] tokens, prompt and completion
    row: Tensor  # [N] the row that holds each sequence
    start: Tensor  # [N] its first column there
    position_ids: Tensor | None = None  # [R, L], for packed rows

    @property
    def tokens(self) -> int:
        return int(self.lengths.sum())

    def to(self, device: torch.device) -> TokenBatch:
        return TokenBatch(
            self.token_ids.to(device),
            self.prompt_lengths.to(device),
            self.lengths.to(device),
            self.row.to(device),
            self.start.to(device),
            None if self.position_ids is None else self.position_ids.to(device),
        )

    def predicting(self) -> tuple[Tensor, Tensor, Tensor]:
        """Places that predict a completion token, in sequence order: (sequence, row, column), each [C]."""
        completion_lengths = self.lengths - self.prompt_lengths
        sequence = torch.repeat_interleave(
            torch.arange(len(self.lengths), device=self.lengths.device), completion_lengths
        )
        before = completion_lengths.cumsum(0) - completion_lengths
        offset = torch.arange(len(sequence), device=sequence.device) - before[sequence]
        return sequence, self.row[sequence], (self.start + self.prompt_lengths - 1)[sequence] + offset


@dataclass
class EntropyProbe:
    """Entropy of the policy's next token at a few evenly spaced places of each micro-batch; `take` empties it."""

    tokens: int  # places a micro-batch, at most
    entropy: Tensor | None = None  # [n] nats
    sequence: Tensor | None = None  # [n] the sequence of each place

    def look(self, head: Any, states: Tensor, sequence: Tensor) -> None:
        """At `tokens` of the states [C, width] that predict a completion token: one small product with the head, no gradient."""
        every = -(-len(states) // self.tokens)
        with torch.no_grad():
            logprobs = head(states.detach()[::every]).float().log_softmax(dim=1)
            self.entropy, self.sequence = -(logprobs.exp() * logprobs).sum(dim=1), sequence[::every]

    def take(self, count: int) -> Tensor:
        """Mean entropy of each of `count` sequences, NaN where no place was looked at: [count]."""
        assert self.entropy is not None and self.sequence is not None, "a forward pass comes first"
        total, places = (
            sequence_logprob(x, self.sequence, count) for x in (self.entropy, torch.ones_like(self.entropy))
        )
        self.entropy = self.sequence = None
        return total / places


def token_batch(prompts: Sequence[Tokens], completions: Sequence[Tokens]) -> TokenBatch:
    """Put N prompts and completions side by side: token_ids [N, longest], zeros as padding."""
    count = len(prompts)
    places = [(i, 0) for i in range(count)]
    width = max(len(p) + len(c) for p, c in zip(prompts, completions, strict=True))
    return _fill(prompts, completions, places, (count, width), packed=False)


def packed_batch(prompts: Sequence[Tokens], completions: Sequence[Tokens], row_tokens: int) -> TokenBatch:
    """Pack N sequences end to end into rows of `row_tokens`; a longer sequence widens all rows to its own length."""
    lengths = [len(p) + len(c) for p, c in zip(prompts, completions, strict=True)]
    places, width = [(0, 0)] * len(lengths), 0
    rows = pack_rows(lengths, row_tokens)
    for row, members in enumerate(rows):
        column = 0
        for i in members:
            places[i] = (row, column)
            column += lengths[i]
        width = max(width, column)
    return _fill(prompts, completions, places, (len(rows), width), packed=True)


def pack_rows(lengths: Sequence[int], row_tokens: int) -> list[list[int]]:
    """Indices that share a row: first-fit, longest first. The same rows come out again for the members of some of them."""
    width, shortest, first = max(row_tokens, *lengths), min(lengths), 0
    rows: list[list[int]] = []
    used: list[int] = []
    for length, i in sorted((-length, i) for i, length in enumerate(lengths)):
        while first < len(used) and used[first] + shortest > width:
            first += 1  # a row that is full is not looked at again
        for row in range(first, len(used)):
            if used[row] - length <= width:
                break
        else:
            row = len(used)
            used.append(0)
            rows.append([])
        rows[row].append(i)
        used[row] -= length
    return rows


def pack_groups(lengths: Sequence[int], row_tokens: int, batch_tokens: int) -> list[list[int]]:
    """Cut indices into micro-batches of packed rows that together have at most `batch_tokens` (a group has at least one row)."""
    rows = pack_rows(lengths, row_tokens)
    each = max(1, batch_tokens // max(row_tokens, *lengths))
    return [[i for row in rows[start : start + each] for i in row] for start in range(0, len(rows), each)]


def _fill(
    prompts: Sequence[Tokens],
    completions: Sequence[Tokens],
    places: list[tuple[int, int]],
    shape: tuple[int, int],
    packed: bool,
) -> TokenBatch:
    prompt_lengths, completion_lengths = (
        np.array([len(part) for part in parts]) for parts in (prompts, completions)
    )
    lengths, (rows, starts) = prompt_lengths + completion_lengths, np.array(places).T
    within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    target = np.repeat(rows * shape[1] + starts, lengths) + within
    flat = np.concatenate(
        [part for pair in zip(prompts, completions, strict=True) for part in pair],
        dtype=np.int64,
        casting="unsafe",
    )
    token_ids = np.zeros(shape, dtype=np.int64)
    token_ids.reshape(-1)[target] = flat
    positions = None
    if packed:  # padding at the end of a row is a sequence of its own, which nothing reads
        ends = np.zeros(shape[0], dtype=np.int64)
        np.maximum.at(ends, rows, starts + lengths)
        positions = np.arange(shape[1]) - ends[:, None]
        positions.reshape(-1)[target] = within
    return TokenBatch(
        torch.from_numpy(token_ids),
        torch.from_numpy(prompt_lengths),
        torch.from_numpy(lengths),
        torch.from_numpy(rows.copy()),
        torch.from_numpy(starts.copy()),
        None if positions is None else torch.from_numpy(positions),
    )


def completion_logprobs(
    model: Any,
    batch: TokenBatch,
    head_chunk_tokens: int = HEAD_CHUNK_TOKENS,
    head: Head = "chunked",
    probe: EntropyProbe | None = None,
) -> tuple[Tensor, Tensor]:
    """log pi of every completion token: (values [C], sequence index of each [C]), C completion tokens in sequence order, fp32.

    `model` is a transformers causal LM: a backbone under `base_model` and a linear head from `get_output_embeddings()`.
    Only positions that predict a completion token go through the head, a chunk at a time; each chunk is recomputed in
    the backward pass, so that memory grows with chunk x vocabulary and not with tokens x vocabulary.
    `head="fused"` leaves that to torch's own `linear_cross_entropy`, where torch has it.
    """
    positions = {} if batch.position_ids is None else {"position_ids": batch.position_ids}
    hidden = model.base_model(input_ids=batch.token_ids, use_cache=False, **positions).last_hidden_state
    sequence, row, column = batch.predicting()
    states, targets = hidden[row, column], batch.token_ids[row, column + 1]
    output = model.get_output_embeddings()
    if probe:
        probe.look(output, states, sequence)
    if head == "fused":
        return fused_logprob(output, states, targets, head_chunk_tokens), sequence
    values = [
        checkpoint(chosen_logprob, output, chunk, chosen, use_reentrant=False)
        for chunk, chosen in zip(
            states.split(head_chunk_tokens), targets.split(head_chunk_tokens), strict=True
        )
    ]
    return torch.cat(values), sequence


def chosen_logprob(head: nn.Module, states: Tensor, targets: Tensor) -> Tensor:
    """log softmax(head(states))[targets]: [C] fp32 from states [C, width] and targets [C]."""
    logits = head(states).float()
    return logits.gather(1, targets[:, None]).squeeze(1) - logits.logsumexp(dim=1)


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager:
    """bf16: matrix products in bfloat16 on fp32 weights, log-softmax in fp32 all the same."""
    return torch.autocast(device.type, dtype=torch.bfloat16) if precision == "bf16" else nullcontext()


def has_fused_head() -> bool:
    """Whether this torch computes un-reduced losses from states and head without the logits (`linear_cross_entropy`)."""
    return hasattr(nn.functional, "linear_cross_entropy") and hasattr(nn, "LinearCrossEntropyOptions")


def fused_logprob(head: Any, states: Tensor, targets: Tensor, chunk_tokens: int) -> Tensor:
    """The same as `chosen_logprob`, by torch's chunked kernel in fp32: [C]."""
    options = nn.LinearCrossEntropyOptions(batch_chunk_size=chunk_tokens, chunking_method=None)
    bias = None if head.bias is None else head.bias.float()
    return -nn.functional.linear_cross_entropy(
        states.float(), head.weight.float(), targets, linear_bias=bias, reduction="none", options=options
    )


def sequence_logprob(values: Tensor, sequence: Tensor, count: int) -> Tensor:
    """Sum per-token values [C] into one number a sequence: [count]."""
    return torch.zeros(count, dtype=values.dtype, device=values.device).index_add(0, sequence, values)


def length_buckets(lengths: Sequence[int], batch_tokens: int) -> list[list[int]]:
    """Cut indices into groups of similar length whose padded size stays within `batch_tokens` (a group has at least one)."""
    groups: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
        # Sorted by length, so the newcomer is the longest of its group.
        if groups and (len(groups[-1]) + 1) * lengths[index] <= batch_tokens:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups
