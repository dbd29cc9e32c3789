"""Supervised fine-tuning: the likelihood of the rows that are drawn, whatever their reward.

Which rows those are is the mixture's business: `where = "j.verdict = 'accepted'"` trains on successes alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from trainer.objectives.base import Batch, Loss, Objective, ObjectiveSettings


class SftSettings(ObjectiveSettings):
    """Section [objective] with name = "sft"."""

    name: Literal["sft"] = "sft"

    def build(self) -> Sft:
        return Sft()


class Sft(Objective):
    """Negative log-likelihood, mean over the completion tokens of the global batch. Needs only rows."""

    headline: ClassVar[Mapping[str, str]] = {"token_nll": "nats per token"}

    def loss(self, batch: Batch) -> Loss:
        """Column: `token_nll`, the mean over each sequence's own tokens."""
        nll = -batch.policy_logprob
        per_sequence = nll * (batch.batch_sequences / batch.batch_tokens)
        return Loss(
            value=nll.sum() / batch.batch_tokens,
            per_sequence=per_sequence.detach(),
            columns={"token_nll": (nll / batch.completion_tokens).detach()},
        )
