"""How much of a batch's gradient is signal: the agreement of batches at the start of a run.

Gradients of batches that are drawn apart share the expected gradient and nothing else. The mean cosine of two
of them is therefore the share of the squared norm that is signal, and its inverse about the number of batches
whose mean is as much signal as noise. Adam scales a step by the size of the gradient, noise included: where
the share is small, a run is a random walk unless the rate is small or the batch is large.

Samples of the start are on-policy before the first step, so that no fresh ones are needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.store import Store
from tests.benchmarks.rivals_cells import GROUP, METHODS, REFERENCE, Budget, Cell, config_of
from trainer.data import Source
from trainer.distributed import SINGLE
from trainer.run.execution import load_start, open_stream
from trainer.run.optim import preparation
from trainer.run.step import Trainer

BATCHES = 36
SAMPLES = f"j.policy_id = '{REFERENCE}'"
HUMAN = "j.origin = 'human' and j.verdict = 'accepted'"


def sources(*shares: tuple[str, float], group: int | None = None) -> list[Source]:
    """Sources by predicate and share. Samples as they come are all counted, programs by people once."""
    return [
        Source(
            name=where, where=where, weight=share, group=group, unique="token" if where == HUMAN else "all"
        )
        for where, share in shares
    ]


RIGHT, WRONG = f"{SAMPLES} and j.verdict = 'accepted'", f"{SAMPLES} and j.verdict <> 'accepted'"
# Name, method, settings that differ, sources; None: those of the method's cell.
TRIED: tuple[tuple[str, str, dict[str, Any], list[Source]], ...] = (
    ("SPO, own samples as they come", "spo", {}, sources((SAMPLES, 1.0))),
    ("the same, smoothing 0.05", "spo", {"smoothing": 0.05}, sources((SAMPLES, 1.0))),
    ("the same, failures weigh at most 0.1", "spo", {"failure_weight_cap": 0.1}, sources((SAMPLES, 1.0))),
    ("SPO, own samples, 70 % right", "spo", {}, sources((RIGHT, 0.7), (WRONG, 0.3))),
    ("SPO, human programs that are right", "spo", {}, sources((HUMAN, 1.0))),
    ("SPO, half human, half own as they come", "spo", {}, sources((HUMAN, 1.0), (SAMPLES, 1.0))),
    ("SPO, half human, half own, 70 % right", "spo", {}, sources((HUMAN, 1.0), (RIGHT, 0.7), (WRONG, 0.3))),
    ("GRPO, own samples in groups", "grpo", {}, sources((SAMPLES, 1.0), group=GROUP)),
    ("PPO, own samples", "ppo", {}, sources((SAMPLES, 1.0))),
    ("SFT, human programs that are right", "sft", {}, sources((HUMAN, 1.0))),
)


def signal_share(gradients: Tensor) -> tuple[float, float]:
    """Mean cosine of two different gradients of [N, parameters], and its standard error (jackknife).
    A gradient of zeros, of a batch that teaches nothing, agrees with none.
    """
    units = gradients / gradients.norm(dim=1, keepdim=True).clamp(min=1e-12)
    cosines, count = units @ units.T, len(units)

    def mean(kept: list[int]) -> float:
        part = cosines[kept][:, kept]
        return float((part.sum() - part.diagonal().sum()) / (len(kept) * (len(kept) - 1)))

    without = torch.tensor([mean([i for i in range(count) if i != left]) for left in range(count)])
    error = ((count - 1) / count * (without - without.mean()).square().sum()).sqrt()
    return mean(list(range(count))), float(error)


def measure(place: Path, budget: Budget) -> Iterator[dict[str, Any]]:
    """A row for each of TRIED: name, norm of a gradient, share of signal with its standard error."""
    for name, method, settings, drawn in TRIED:
        gradients = torch.stack(list(_gradients(place, budget, method, settings, drawn)))
        share, error = signal_share(gradients)
        yield {
            "name": name,
            "norm": round(float(gradients.norm(dim=1).mean()), 3),
            "share": round(share, 4),
            "error": round(error, 4),
        }


def _gradients(
    place: Path, budget: Budget, method: str, settings: dict[str, Any], drawn: list[Source]
) -> Iterator[Tensor]:
    """The gradient of the policy on each of the first batches, all at its start."""
    cell = Cell(method, METHODS[method].conditions[0], 1e-4, 0, "tune", settings)
    config = config_of(cell, budget, place)
    config = config.model_copy(update={"source": drawn, "online": None})
    policy, objective = load_start(config), config.objective.build()
    stream = open_stream(config, Store(config.store), policy, objective.needs)
    stream.advance(stream.latest())
    prepared = preparation(config.optimiser, objective.needs.value_network, activation_checkpointing=False)
    learner, _ = SINGLE.start(policy, prepared, None)
    trainer = Trainer(learner, objective, config.training, config.optimiser)
    for step in range(BATCHES):
        learner.policy.model.zero_grad(set_to_none=True)
        trainer.backward(step, stream.batch(step))
        parts = (p.grad.flatten() for p in learner.policy.model.parameters() if p.grad is not None)
        yield torch.cat(list(parts))
