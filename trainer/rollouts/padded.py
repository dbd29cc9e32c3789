"""Samples in batches padded on the left: for models whose state is not keys and values by position.

All rows of a batch share a column per step. Rows that have ended are dropped while the batch runs; their
slots stay empty, unlike in `continuous.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from transformers import DynamicCache

from trainer.policies import Policy
from trainer.rollouts.token_draw import draw_tokens

# Ended rows are dropped once this share or less is running: each drop copies the cache.
KEEP_SHARE = 0.8


@dataclass
class _Rows:
    """The rows of a batch that are still in the cache; `row` is the index of each in the batch.

    Shapes: row, position, running [R]; mask [R, prompt + max_new_tokens], 1 from the prompt's first token on.
    """

    row: torch.Tensor
    position: torch.Tensor
    running: torch.Tensor
    mask: torch.Tensor
    cache: DynamicCache

    def select(self, index: torch.Tensor) -> None:
        self.row, self.position = self.row[index], self.position[index]
        self.running, self.mask = self.running[index], self.mask[index]
        self.cache.batch_select_indices(index)


def draw_padded(
    policy: Policy,
    prompts: list[list[int]],
    temperature: float,
    top_p: float,
    max_new_tokens: int,
    generator: torch.Generator,
) -> list[tuple[list[int], list[float]]]:
    """Token ids and their log-probabilities of one completion for each prompt of a batch."""
    logits, rows = _prefill(policy, prompts, max_new_tokens)
    stops = torch.tensor(sorted(policy.stop_ids), device=policy.device)
    tokens = torch.full((len(prompts), max_new_tokens), -1, device=policy.device)
    logprobs = torch.zeros(len(prompts), max_new_tokens, device=policy.device)
    for step in range(max_new_tokens):
        token, logprob = draw_tokens(logits, temperature, top_p, generator)
        tokens[rows.row, step] = token.where(rows.running, -1)
        logprobs[rows.row, step] = logprob
        rows.running &= ~torch.isin(token, stops)
        running = rows.running.nonzero().squeeze(1)
        if len(running) == 0 or step + 1 == max_new_tokens:
            break
        if len(running) <= KEEP_SHARE * len(rows.row):
            rows.select(running)
            token = token[running]
        logits = _advance(policy, rows, token)
    completions = [[token for token in row if token >= 0] for row in tokens.tolist()]
    return [(ids, row[: len(ids)]) for ids, row in zip(completions, logprobs.tolist(), strict=True)]


def _prefill(policy: Policy, prompts: list[list[int]], max_new_tokens: int) -> tuple[torch.Tensor, _Rows]:
    """Run each distinct prompt once, left-padded, and copy its cache to its rows. Logits are [R, V]."""
    distinct = list(dict.fromkeys(map(tuple, prompts)))
    width = max(map(len, distinct))
    padded = [[policy.pad_id] * (width - len(prompt)) + list(prompt) for prompt in distinct]
    attention = [[0] * (width - len(prompt)) + [1] * (len(prompt) + max_new_tokens) for prompt in distinct]
    ids, mask = torch.tensor(padded, device=policy.device), torch.tensor(attention, device=policy.device)
    positions = (mask[:, :width].cumsum(dim=1) - 1).clamp(min=0)
    cache = DynamicCache(config=policy.model.config)
    out = policy.model(
        input_ids=ids,
        attention_mask=mask[:, :width],
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    index_of = {prompt: number for number, prompt in enumerate(distinct)}
    index = torch.tensor([index_of[tuple(prompt)] for prompt in prompts], device=policy.device)
    rows = _Rows(
        torch.arange(len(distinct)),
        positions[:, -1],
        torch.ones(len(distinct), dtype=torch.bool),
        mask,
        cache,
    )
    rows.row, rows.running = rows.row.to(policy.device), rows.running.to(policy.device)
    rows.select(index)
    rows.row = torch.arange(len(prompts), device=policy.device)
    return out.logits[index, -1], rows


def _advance(policy: Policy, rows: _Rows, token: torch.Tensor) -> torch.Tensor:
    """Feed one token per row; returns logits [R, V] of the next. Rows that have ended stay in the batch until
    they are dropped.
    """
    rows.position = rows.position + 1
    length = rows.cache.get_seq_length() + 1
    out = policy.model(
        input_ids=token[:, None],
        attention_mask=rows.mask[:, :length],
        position_ids=rows.position[:, None],
        past_key_values=rows.cache,
        use_cache=True,
    )
    return out.logits[:, -1]
