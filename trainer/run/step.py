"""One optimiser step: a global batch in micro-batches, forward and backward under an objective, and the
figures.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trainer.data import Row
from trainer.distributed import SINGLE, Learner, Ranks
from trainer.objectives import Batch, Loss, Objective, RewardSamples
from trainer.policies import (
    CompletionLogprobs,
    autocast,
    length_buckets,
    pack_groups,
    packed_batch,
    token_batch,
)
from trainer.run.checks import check_gate, check_rows
from trainer.run.metrics import StepRows, step_figures
from trainer.run.optim import OptimiserSettings, rate_at, set_learning_rate
from trainer.run.settings import TrainingSettings


@dataclass(frozen=True)
class Trainer:
    """Trains a learner under an objective, one batch after another."""

    learner: Learner
    objective: Objective
    settings: TrainingSettings
    optimiser: OptimiserSettings
    ranks: Ranks = SINGLE

    def step(self, step: int, rows: list[Row]) -> dict:
        """One optimiser step on a global batch; returns its figures. Raises TrainingError before bad rows
        reach the weights.
        """
        self.learner.policy.model.train()
        rate = rate_at(step, self.settings.steps, self.optimiser)
        set_learning_rate(self.learner.optimiser, rate)
        computed = self._backward(step, rows)
        if step == 0 and self.objective.needs.reference_logprob:
            check_gate(computed, self.settings.gate_nats)
        norm = self.learner.update(self.optimiser.clip_norm)
        ids = " ".join(row.trajectory_id for row in rows)
        return {
            "step": step,
            "learning_rate": rate,
            "rows_digest": hashlib.blake2b(ids.encode(), digest_size=8).hexdigest(),
            "tokens": sum(row.tokens for row in rows),
            "gradient_norm": norm,
            **step_figures(computed),
            **self.objective.figures(),
        }

    def _backward(self, step: int, rows: list[Row]) -> StepRows:
        """Gradients of this rank's micro-batches, and the columns of all ranks' rows."""
        groups = micro_batches(rows, self.settings)
        computed: dict[int, dict[str, list[float]]] = {}
        for index, counts in self.ranks.share(len(groups)):
            part = [rows[i] for i in groups[index]]
            loss, columns = micro_batch_loss(self.learner, self.objective, self.settings, part, rows)
            check_rows(part, columns, self.settings, step)
            # FSDP takes the mean over ranks; a micro-batch that only keeps the ranks together weighs nothing.
            (loss.value * (self.ranks.world if counts else 0.0)).backward()
            if counts:
                computed[index] = {name: values.tolist() for name, values in columns.items()}
        parts = [part for _, part in sorted(self.ranks.gather(computed).items())]
        columns = {name: torch.tensor([x for part in parts for x in part[name]]) for name in parts[0]}
        return StepRows([rows[i] for group in groups for i in group], columns)


def micro_batches(rows: list[Row], settings: TrainingSettings) -> list[list[int]]:
    """The cut of a global batch into groups of indices, the same on every rank."""
    lengths = [row.tokens for row in rows]
    if settings.layout == "packed":
        return pack_groups(lengths, settings.row_tokens, settings.batch_tokens)
    return length_buckets(lengths, settings.batch_tokens)


def micro_batch_loss(
    learner: Learner,
    objective: Objective,
    settings: TrainingSettings,
    rows: list[Row],
    batch_rows: list[Row],
) -> tuple[Loss, dict[str, Tensor]]:
    """The loss of some of a global batch's rows, and the columns of each, detached: [N]."""
    prompts, completions = [r.prompt_ids for r in rows], [r.completion_ids for r in rows]
    if settings.layout == "packed":
        tokens = packed_batch(prompts, completions, settings.row_tokens)
    else:
        tokens = token_batch(prompts, completions)
    device = learner.policy.device
    with autocast(device, settings.precision):
        forward = learner.logprobs(tokens.to(device), settings.head, settings.entropy_tokens)
    batch = _batch(rows, forward, batch_rows)
    loss = objective.loss(batch)
    own = {
        "loss": loss.per_sequence,
        "log_ratio": (batch.policy_logprob - batch.reference_logprob).detach(),
        "token_entropy": forward.entropy,
    }
    if taken := own.keys() & loss.columns.keys():
        raise ValueError(f"a column of the objective has a name of the loop's: {', '.join(sorted(taken))}")
    return loss, own | loss.columns


def _batch(rows: list[Row], forward: CompletionLogprobs, batch_rows: list[Row]) -> Batch:
    """What the objective sees of these rows, on the device of the forward pass."""
    device = forward.logprob.device

    def column(values: list[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=device)

    return Batch(
        token_logprob=forward.logprob,
        sequence=forward.sequence,
        reference_logprob=column([row.reference_logprob for row in rows]),
        behaviour_logprob=column([row.behaviour_logprob for row in rows]),
        reward=column([row.reward for row in rows]),
        success=torch.tensor([row.success for row in rows], device=device),
        reference_rewards=_reward_samples(rows, device),
        batch_sequences=len(batch_rows),
        batch_tokens=sum(len(row.completion_ids) for row in batch_rows),
    )


def _reward_samples(rows: list[Row], device: torch.device) -> RewardSamples:
    """The reference rewards of each row's problem, padded to the longest list."""
    longest = max(len(row.reference_rewards) for row in rows)
    rewards, counted = np.zeros((len(rows), longest)), np.zeros((len(rows), longest), dtype=bool)
    for i, row in enumerate(rows):
        rewards[i, : len(row.reference_rewards)] = row.reference_rewards
        counted[i, : len(row.reference_rewards)] = True
    limits = torch.tensor([row.reward_range for row in rows], dtype=torch.float64, device=device)
    return RewardSamples(
        torch.from_numpy(rewards).to(device), torch.from_numpy(counted).to(device), limits[:, 0], limits[:, 1]
    )
