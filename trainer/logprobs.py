"""Log-probabilities of completions under a policy, without ever holding a [tokens, vocabulary] tensor.

The trainer and the reference scorer share this one code path: their difference is summed over the tokens of a completion,
and 0.01 nat a token is 10 nats at 1,000 tokens. log-softmax is taken in fp32 whatever the dtype of the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

HEAD_CHUNK_TOKENS = 2048


@dataclass(frozen=True)
class TokenBatch:
    """Sequences side by side, prompt then completion, padded on the right: causal attention never looks at the padding."""

    token_ids: Tensor  # [N, L] int64
    prompt_lengths: Tensor  # [N] tokens
    lengths: Tensor  # [N] tokens, prompt and completion

    @property
    def tokens(self) -> int:
        return int(self.lengths.sum())

    def to(self, device: torch.device) -> TokenBatch:
        return TokenBatch(self.token_ids.to(device), self.prompt_lengths.to(device), self.lengths.to(device))


def token_batch(prompts: Sequence[Sequence[int]], completions: Sequence[Sequence[int]]) -> TokenBatch:
    """Put N prompts and completions together: token_ids [N, longest], zeros as padding."""
    rows = [[*prompt, *completion] for prompt, completion in zip(prompts, completions, strict=True)]
    token_ids = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    for i, row in enumerate(rows):
        token_ids[i, : len(row)] = torch.tensor(row)
    return TokenBatch(token_ids, torch.tensor([len(p) for p in prompts]), torch.tensor([len(r) for r in rows]))


def completion_logprobs(model: Any, batch: TokenBatch, head_chunk_tokens: int = HEAD_CHUNK_TOKENS) -> tuple[Tensor, Tensor]:
    """log pi of every completion token: (values [C], sequence index of each [C]), C completion tokens in row order, fp32.

    `model` is a transformers causal LM: a backbone under `base_model` and a linear head from `get_output_embeddings()`.
    Only positions that predict a completion token go through the head, a chunk at a time; each chunk is recomputed in
    the backward pass, so that memory grows with chunk x vocabulary and not with tokens x vocabulary.
    """
    hidden = model.base_model(input_ids=batch.token_ids, use_cache=False).last_hidden_state
    position = torch.arange(batch.token_ids.shape[1], device=hidden.device)
    predicts = (position >= batch.prompt_lengths[:, None] - 1) & (position < batch.lengths[:, None] - 1)
    sequence, column = predicts.nonzero(as_tuple=True)
    states, targets = hidden[sequence, column], batch.token_ids[sequence, column + 1]
    head = model.get_output_embeddings()
    values = [
        checkpoint(chosen_logprob, head, chunk, chosen, use_reentrant=False)
        for chunk, chosen in zip(states.split(head_chunk_tokens), targets.split(head_chunk_tokens), strict=True)
    ]
    return torch.cat(values), sequence


def chosen_logprob(head: nn.Module, states: Tensor, targets: Tensor) -> Tensor:
    """log softmax(head(states))[targets]: [C] fp32 from states [C, width] and targets [C]."""
    logits = head(states).float()
    return logits.gather(1, targets[:, None]).squeeze(1) - logits.logsumexp(dim=1)


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
