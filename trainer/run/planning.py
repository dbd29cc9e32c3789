"""The plan of a run before its first step: its needs, what each source would give, and about how long it
takes.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np
import torch

from trainer.data import Row, Source, Stream
from trainer.distributed import SINGLE
from trainer.objectives import Needs, Objective
from trainer.policies import Policy
from trainer.run.config import RunConfig
from trainer.run.optim import preparation
from trainer.run.step import batch_statistics, micro_batch_loss, micro_batches

SAMPLED_STEPS = 32  # whose batches are drawn to estimate those of all steps


@dataclass(frozen=True)
class SourcePlan:
    """What one source would give over the planned steps."""

    source: str
    rows: int
    tokens: int
    success: float  # share of rows that were accepted
    share: float  # mean share of the batches
    rows_drawn: int  # rows over all steps
    epochs: float  # drawn / rows
    without_q0: int  # problems left out because no reference sample of theirs has a verdict
    too_long: int  # rows left out
    dry_at_step: int | None  # where its rows have been used as often as `uses` allows, unless fresh ones come


@dataclass(frozen=True)
class Plan:
    """A run before its first step. Times are estimated from one micro-batch, without fresh data."""

    objective: str
    needs: Needs
    sources: list[SourcePlan]
    steps: int
    sequences_per_step: float
    tokens_per_step: float
    tokens_per_s: float
    hours: float


def make_plan(
    config: RunConfig, stream: Stream, objective: Objective, policy: Policy, *, timed: bool = True
) -> Plan:
    """Draw batches of steps over the whole run from a stream at its watermark, and time one micro-batch."""
    steps = config.training.steps
    rows = tokens = 0
    rows_drawn = dict.fromkeys(stream.rows_drawn, 0)
    shares = np.zeros(len(config.source))
    sampled = [int(step) for step in np.linspace(0, steps - 1, min(steps, SAMPLED_STEPS))]
    first: list[Row] = []
    for step in sampled:
        weights = stream.available_weights(step)
        shares += weights / weights.sum() / len(sampled)
        batch = stream.batch(step)
        first = first or batch
        rows, tokens = rows + len(batch), tokens + sum(row.tokens for row in batch)
        for row in batch:
            rows_drawn[row.source] += 1
    scale, per_step = steps / len(sampled), tokens / len(sampled)
    speed = _micro_batch_speed(config, objective, policy, first) if timed else float("nan")
    sources = [
        _source_plan(stream, source, float(share), round(rows_drawn[source.name] * scale), steps)
        for source, share in zip(config.source, shares, strict=True)
    ]
    return Plan(
        objective=config.objective.name,
        needs=objective.needs,
        sources=sources,
        steps=steps,
        sequences_per_step=rows / len(sampled),
        tokens_per_step=per_step,
        tokens_per_s=speed,
        hours=per_step * steps / speed / 3600,
    )


def _source_plan(stream: Stream, source: Source, share: float, rows_drawn: int, steps: int) -> SourcePlan:
    pool = stream.pool(source.name)
    success = float((pool.verdicts == "accepted").mean()) if len(pool) else 0.0
    most = source.uses * pool.rows_ever if source.uses else math.inf
    return SourcePlan(
        source=source.name,
        rows=len(pool),
        tokens=int(pool.lengths.sum()),
        success=success,
        share=share,
        rows_drawn=rows_drawn,
        epochs=rows_drawn / len(pool) if len(pool) else 0.0,
        without_q0=pool.problems_without_rewards,
        too_long=pool.too_long,
        dry_at_step=int(steps * most / rows_drawn) if rows_drawn > most else None,
    )


def _micro_batch_speed(config: RunConfig, objective: Objective, policy: Policy, rows: list[Row]) -> float:
    """Tokens/s of forward and backward on the largest micro-batch of a batch: the faster of two, the first
    one warms up.
    """
    settings = config.training
    prepared = preparation(
        config.optimiser,
        objective.needs.value_network,
        activation_checkpointing=settings.activation_checkpointing,
        precision=settings.precision,
    )
    learner, _ = SINGLE.start(policy, prepared, None)
    policy.model.train()
    groups = micro_batches(rows, settings, whole_groups=objective.needs.groups)
    group = max(groups, key=lambda group: sum(rows[i].tokens for i in group))
    part, seconds = [rows[i] for i in group], []
    statistics = batch_statistics(learner, objective, settings, part, [list(range(len(part)))])
    for _ in range(2):
        started = time.perf_counter()
        loss, _ = micro_batch_loss(learner, objective, settings, part, part, statistics)
        loss.value.backward()
        policy.model.zero_grad(set_to_none=True)
        if policy.device.type == "cuda":
            torch.cuda.synchronize(policy.device)
        seconds.append(time.perf_counter() - started)
    return sum(row.tokens for row in part) / min(seconds)
