"""One optimiser step: a global batch in micro-batches, forward and backward under an objective, and the
figures.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from trainer.data import Row, rows_digest
from trainer.distributed import SINGLE, Learner, Ranks
from trainer.objectives import Batch, Loss, Objective, RewardSamples
from trainer.policies import (
    TokenBatch,
    autocast,
    length_buckets,
    pack_groups,
    packed_batch,
    token_batch,
    whole_group_batches,
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
    on_rows: Callable[[int, StepRows], None] | None = None  # gets what was computed for each row

    def step(self, step: int, rows: list[Row]) -> dict:
        """One optimiser step on a global batch; returns its figures. Raises TrainingError before bad rows
        reach the weights.
        """
        self.learner.policy.model.train()
        rate = rate_at(step, self.settings.steps, self.optimiser)
        set_learning_rate(self.learner.optimiser, rate)
        value = self.learner.value
        if value:
            set_learning_rate(value.optimiser, rate * value.rate_factor)
        computed = self.backward(step, rows)
        if step == 0 and self.objective.needs.reference_logprob:
            check_gate(computed, self.settings.gate_nats)
        if self.settings.precision == "bf16-weights":  # whose rounding is drawn: as in an undisturbed run
            torch.manual_seed(step * self.ranks.world + self.ranks.rank)
        norm = self.learner.update(self.optimiser.clip_norm)
        if self.on_rows:
            self.on_rows(step, computed)
        return {
            "step": step,
            "learning_rate": rate,
            "rows_digest": rows_digest(rows),
            "tokens": sum(row.tokens for row in rows),
            "gradient_norm": norm,
            **({"value_gradient_norm": value.update()} if value else {}),
            **step_figures(computed),
            **self.objective.figures(),
        }

    def backward(self, step: int, rows: list[Row]) -> StepRows:
        """Add the gradients of this rank's micro-batches; returns the columns of all ranks' rows."""
        groups = micro_batches(rows, self.settings, whole_groups=self.objective.needs.groups)
        statistics = batch_statistics(self.learner, self.objective, self.settings, rows, groups, self.ranks)
        computed: dict[int, dict[str, list[float]]] = {}
        for index, counts in self.ranks.share(len(groups)):
            part = [rows[i] for i in groups[index]]
            loss, columns = micro_batch_loss(
                self.learner, self.objective, self.settings, part, rows, statistics
            )
            check_rows(part, columns, self.settings, step)
            # FSDP takes the mean over ranks; a micro-batch that only keeps the ranks together weighs nothing.
            (loss.value * (self.ranks.world if counts else 0.0)).backward()
            if counts:
                computed[index] = {name: values.tolist() for name, values in columns.items()}
        parts = [part for _, part in sorted(self.ranks.gather(computed).items())]
        columns = {name: torch.tensor([x for part in parts for x in part[name]]) for name in parts[0]}
        ordered = [rows[i] for group in groups for i in group]
        columns["age_steps"] = step - torch.tensor([row.own_step for row in ordered])
        return StepRows(ordered, columns, [i for group in groups for i in group])


@torch.no_grad()
def batch_statistics(
    learner: Learner,
    objective: Objective,
    settings: TrainingSettings,
    rows: list[Row],
    groups: list[list[int]],
    ranks: Ranks = SINGLE,
) -> Tensor | None:
    """The objective's sums over a global batch that is cut into groups: [S], the same on every rank. None
    where it needs none.
    """
    if not objective.needs.statistics:
        return None
    device, sums = learner.policy.device, {}
    for index, counts in ranks.share(len(groups)):
        part = [rows[i] for i in groups[index]]
        tokens = tokens_of(part, settings).to(device)
        value, sequence = _values(learner, tokens, settings), tokens.predicting()[0]
        unknown = torch.full(sequence.shape, torch.nan, device=device)
        if counts:
            sums[index] = objective.statistics(_batch(part, unknown, sequence, value, rows)).cpu()
    parts = [part for _, part in sorted(ranks.gather(sums).items())]
    return torch.stack(parts).sum(0).to(device)


def micro_batches(
    rows: list[Row], settings: TrainingSettings, *, whole_groups: bool = False
) -> list[list[int]]:
    """The cut of a global batch into groups of indices, the same on every rank.

    `whole_groups`: rows that are compared with each other stay together, in micro-batches that may then be
    larger than `batch_tokens`.
    """
    lengths = [row.tokens for row in rows]
    if whole_groups:
        return whole_group_batches([row.group for row in rows], lengths, settings.batch_tokens)
    if settings.layout == "packed":
        return pack_groups(lengths, settings.row_tokens, settings.batch_tokens)
    return length_buckets(lengths, settings.batch_tokens)


def micro_batch_loss(
    learner: Learner,
    objective: Objective,
    settings: TrainingSettings,
    rows: list[Row],
    batch_rows: list[Row],
    statistics: Tensor | None = None,
) -> tuple[Loss, dict[str, Tensor]]:
    """The loss of some of a global batch's rows, and the columns of each, detached: [N]. `statistics` are
    those of the global batch, where the objective needs them.
    """
    device = learner.policy.device
    tokens = tokens_of(rows, settings).to(device)
    with autocast(device, settings.precision):
        forward = learner.logprobs(tokens, settings.head, settings.entropy_tokens)
    value = _values(learner, tokens, settings)
    batch = _batch(rows, forward.logprob, forward.sequence, value, batch_rows)
    loss = objective.loss(replace(batch, statistics=statistics))
    own = {
        "loss": loss.per_sequence,
        "log_ratio": (batch.policy_logprob - batch.reference_logprob).detach(),
        "token_entropy": forward.entropy,
    }
    if clashes := own.keys() & loss.columns.keys():
        raise ValueError(f"a column of the objective has a name of the loop's: {', '.join(sorted(clashes))}")
    return loss, own | loss.columns


def tokens_of(rows: list[Row], settings: TrainingSettings) -> TokenBatch:
    """The tokens of a micro-batch in the layout of the settings."""
    prompts, completions = [r.prompt_ids for r in rows], [r.completion_ids for r in rows]
    if settings.layout == "packed":
        return packed_batch(prompts, completions, settings.row_tokens)
    return token_batch(prompts, completions)


def _values(learner: Learner, tokens: TokenBatch, settings: TrainingSettings) -> Tensor | None:
    """V of the state before each completion token: [C]; None without a value network."""
    if learner.value is None:
        return None
    with autocast(learner.policy.device, settings.precision):
        return learner.value.network(tokens)


def _batch(
    rows: list[Row], token_logprob: Tensor, sequence: Tensor, value: Tensor | None, batch_rows: list[Row]
) -> Batch:
    """What the objective sees of these rows, on the device of the forward pass."""
    device = sequence.device

    def column(values: list[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=device)

    def of_tokens(parts: list[np.ndarray | None]) -> Tensor | None:
        known = [part for part in parts if part is not None]
        return torch.from_numpy(np.concatenate(known)).to(device) if len(known) == len(parts) else None

    return Batch(
        token_logprob=token_logprob,
        sequence=sequence,
        reference_logprob=column([row.reference_logprob for row in rows]),
        behaviour_logprob=column([row.behaviour_logprob for row in rows]),
        reward=column([row.reward for row in rows]),
        success=torch.tensor([row.success for row in rows], device=device),
        reference_rewards=_reward_samples(rows, device),
        batch_sequences=len(batch_rows),
        batch_tokens=sum(len(row.completion_ids) for row in batch_rows),
        group=torch.tensor([row.group for row in rows], device=device),
        selection_weight=column([row.selection_weight for row in rows]),
        behaviour_token_logprob=of_tokens([row.behaviour_token_logprobs for row in rows]),
        reference_token_logprob=of_tokens([row.reference_token_logprobs for row in rows]),
        value=value,
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
