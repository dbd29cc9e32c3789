"""Warm start: supervised training on correct programs turns an untrained policy into a reference policy.

Batches hold sequences of similar length, padded on the right. A causal model never reads to the right, so no
attention mask is needed, and the loss excludes the padding.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random

import torch
from torch.nn.functional import cross_entropy

from trainer.policies.policy import Policy
from trainer.policies.problems import Problem

IGNORED = -100
WARM_UP_SHARE = 0.05
FINAL_SHARE = 0.05  # the cosine ends at this share of the learning rate
BUCKET = 16  # sequences are sorted by length within this many batches


@dataclass(frozen=True)
class WarmStartProgress:
    """After a step: `loss` is the mean over the step's completion tokens (nats), `tokens` counts all
    tokens so far.
    """

    step: int
    steps: int
    loss: float
    tokens: int
    tokens_per_s: float


@dataclass(frozen=True)
class WarmStartReport:
    """Result of the training: `loss` is the mean of the last tenth of the steps; times in seconds."""

    steps: int
    epochs: float
    tokens: int
    loss: float
    seconds: float
    cpu_seconds: float


@dataclass(frozen=True)
class Batch:
    """Token ids [B, T], padded on the right, and labels [B, T] with IGNORED outside completions."""

    ids: torch.Tensor
    labels: torch.Tensor


def warm_start(
    policy: Policy,
    pairs: Sequence[tuple[Problem | str, str]],
    *,
    steps: int = 300,
    batch_tokens: int = 2048,
    learning_rate: float = 3e-3,
    weight_decay: float = 0.01,
    seed: int = 0,
    on_progress: Callable[[WarmStartProgress], None] | None = None,
) -> WarmStartReport:
    """Train `policy.model` in place for exactly `steps` optimiser steps on pairs of a problem (or
    a statement alone) and a correct program.

    `batch_tokens` bounds rows x longest row of a batch. Raises ValueError without a pair, or if one is
    longer than the model's positions.
    """
    sequences = [_sequence(policy, asked, program) for asked, program in pairs]
    _check(policy, sequences)
    optimiser = torch.optim.AdamW(
        policy.model.parameters(), lr=learning_rate, betas=(0.9, 0.95), weight_decay=weight_decay
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: rate_at(step, steps))
    batches = endless_batches(sequences, policy.pad_id, batch_tokens, seed)
    start, cpu_start, tokens, rows, losses = time.monotonic(), time.process_time(), 0, 0, []
    policy.model.train()
    for step in range(1, steps + 1):
        batch = next(batches)
        losses.append(_step(policy, batch, optimiser))
        schedule.step()
        tokens += batch.ids.numel()
        rows += len(batch.ids)
        if on_progress:
            rate = tokens / max(time.monotonic() - start, 1e-9)
            on_progress(WarmStartProgress(step, steps, losses[-1], tokens, rate))
    policy.model.eval()
    recent = losses[-max(1, steps // 10) :]
    seconds, cpu_seconds = time.monotonic() - start, time.process_time() - cpu_start
    return WarmStartReport(steps, rows / len(pairs), tokens, sum(recent) / len(recent), seconds, cpu_seconds)


def rate_at(step: int, steps: int) -> float:
    """Share of the learning rate at a step: a linear rise, then a cosine down to FINAL_SHARE."""
    rise = max(1, round(WARM_UP_SHARE * steps))
    if step < rise:
        return (step + 1) / rise
    progress = min(1.0, (step - rise) / max(1, steps - rise))
    return FINAL_SHARE + (1 - FINAL_SHARE) * 0.5 * (1 + math.cos(math.pi * progress))


def endless_batches(
    sequences: list[tuple[list[int], list[int]]], pad_id: int, batch_tokens: int, seed: int
) -> Iterator[Batch]:
    """Endless batches: each pass is shuffled, cut into pools, sorted by length in a pool, and the batches
    shuffled again.
    """
    random = Random(seed)
    longest = max(len(prompt) + len(completion) for prompt, completion in sequences)
    pool_size = BUCKET * max(1, batch_tokens // longest)
    while True:
        order = random.sample(range(len(sequences)), len(sequences))
        groups: list[list[int]] = []
        for start in range(0, len(order), pool_size):
            groups.extend(_groups(sequences, order[start : start + pool_size], batch_tokens))
        random.shuffle(groups)
        for group in groups:
            yield _batch([sequences[index] for index in group], pad_id)


def _groups(
    sequences: list[tuple[list[int], list[int]]], pool: list[int], batch_tokens: int
) -> list[list[int]]:
    groups: list[list[int]] = [[]]
    for index in sorted(pool, key=lambda index: (sum(map(len, sequences[index])), index)):
        # Sorted, so the newest is the longest and sets the width.
        if groups[-1] and (len(groups[-1]) + 1) * sum(map(len, sequences[index])) > batch_tokens:
            groups.append([])
        groups[-1].append(index)
    return groups


def _batch(sequences: list[tuple[list[int], list[int]]], pad_id: int) -> Batch:
    width = max(len(prompt) + len(completion) for prompt, completion in sequences)
    ids, labels = [], []
    for prompt, completion in sequences:
        padding = width - len(prompt) - len(completion)
        ids.append(prompt + completion + [pad_id] * padding)
        labels.append([IGNORED] * len(prompt) + completion + [IGNORED] * padding)
    return Batch(torch.tensor(ids), torch.tensor(labels))


def _step(policy: Policy, batch: Batch, optimiser: torch.optim.Optimizer) -> float:
    ids, labels = batch.ids.to(policy.device), batch.labels.to(policy.device)
    logits = policy.model(input_ids=ids, use_cache=False).logits[:, :-1]
    wanted = labels[:, 1:] != IGNORED
    loss = cross_entropy(logits[wanted].float(), labels[:, 1:][wanted])
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(policy.model.parameters(), 1.0)
    optimiser.step()
    return float(loss.detach())


def fitting_pairs(
    policy: Policy, pairs: Sequence[tuple[Problem, str]], max_tokens: int
) -> list[tuple[Problem, str]]:
    """The pairs whose prompt and completion have at most `max_tokens` tokens, and positions in the model."""
    limit = min(max_tokens, policy.model.config.max_position_embeddings)
    return [pair for pair in pairs if sum(map(len, _sequence(policy, *pair))) <= limit]


def _sequence(policy: Policy, asked: Problem | str, program: str) -> tuple[list[int], list[int]]:
    return policy.prompt_ids(asked), policy.completion_ids(policy.completion_of_program(program))


def _check(policy: Policy, sequences: list[tuple[list[int], list[int]]]) -> None:
    if not sequences:
        raise ValueError("a warm start needs at least one correct program")
    limit = policy.model.config.max_position_embeddings
    for index, (prompt, completion) in enumerate(sequences):
        if len(prompt) + len(completion) > limit:
            raise ValueError(
                f"pair {index} has {len(prompt) + len(completion)} tokens, the model has {limit} positions"
            )
