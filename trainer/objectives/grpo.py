"""GRPO: group advantages with a clipped, or a truncated, ratio of each token.

    A = (r - mean of the group) / deviation of the group                         rho_t = pi(a_t) / mu(a_t)
    loss = -min(rho A, clip(rho, 1 - clip_low, 1 + clip_high) A)
           or -min(rho, cap) A log pi(a_t)
           + kl * (pi_ref/pi - log(pi_ref/pi) - 1)

Sources: Shao et al. (DeepSeekMath), arXiv 2402.03300; without the division by the deviation, and a mean over
tokens or sequences: Liu et al. (Dr. GRPO), arXiv 2503.20783; two clip bounds and the mean over tokens: Yu et
al. (DAPO), arXiv 2503.14476. mu is the policy that sampled the row. Rows whose mu is unknown, such as human
programs, have no ratio: the clipped form refuses them, the truncated one gives them the weight 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from trainer.objectives.base import Batch, Loss, Needs, Objective, ObjectiveSettings
from trainer.objectives.groups import groups_of
from trainer.objectives.tokens import clipped_gain, known_tokens, sequence_mean

SMALLEST_DEVIATION = 1e-6


class GrpoSettings(ObjectiveSettings):
    """Section [objective] with name = "grpo"."""

    name: Literal["grpo"] = "grpo"
    importance: Literal["clip", "truncate"] = Field(
        "clip", description="clip the ratio of each token, or weigh its log-probability by min(ratio, cap)"
    )
    clip_low: float = Field(0.2, gt=0, lt=1, description="the ratio of a token is clipped below 1 minus this")
    clip_high: float = Field(0.28, gt=0, description="the ratio of a token is clipped above 1 plus this")
    importance_cap: float = Field(2.0, gt=0, description="largest weight where the ratio is truncated")
    divide_by_deviation: bool = Field(True, description="false: the advantage of Dr. GRPO")
    mean_over: Literal["tokens", "sequences"] = Field(
        "tokens", description="tokens: each token of a batch weighs the same; sequences: each row"
    )
    kl: float = Field(0.0, ge=0, description="weight of the KL to the reference, estimated per token (k3)")

    def build(self) -> Grpo:
        return Grpo(self)


class Grpo(Objective):
    """Needs groups and the behaviour log-probability of each token; with `kl` that of the reference."""

    headline: ClassVar[Mapping[str, str]] = {
        "mixed_group": "rows of groups with both outcomes",
        "clipped": "clipped",
    }

    def __init__(self, settings: GrpoSettings):
        self.settings = settings
        self.needs = Needs(
            reference_logprob=settings.kl > 0,
            reference_tokens=settings.kl > 0,
            behaviour_logprob=settings.importance == "clip",
            behaviour_tokens=True,
            groups=True,
        )

    def loss(self, batch: Batch) -> Loss:
        """Columns: `advantage`; `clipped` (share of tokens that are clipped or truncated); `mixed_group` (1
        where rewards differ; only then rows teach).

        Raises ValueError where the ratio is clipped and mu of a token is unknown.
        """
        settings, groups, sequence = self.settings, groups_of(batch), batch.sequence
        advantage = batch.reward - groups.mean(batch.reward)
        spread = groups.mean(advantage.square()).sqrt()
        if settings.divide_by_deviation:
            advantage = advantage / (spread + SMALLEST_DEVIATION)
        gain, clipped = self._gain(batch, advantage[sequence])
        tokens = -gain
        if settings.kl:
            if batch.reference_token_logprob is None:
                raise ValueError("grpo with kl above 0 needs the reference log-probability of each token")
            apart = batch.reference_token_logprob - batch.token_logprob
            tokens = tokens + settings.kl * (torch.exp(apart) - apart - 1)
        count = len(batch.reward)
        if settings.mean_over == "tokens":
            sums = tokens.new_zeros(count).index_add(0, sequence, tokens)
            per_sequence = sums * (batch.batch_sequences / batch.batch_tokens)
        else:
            per_sequence = sequence_mean(tokens, sequence, count)
        return Loss(
            value=per_sequence.sum() / batch.batch_sequences,
            per_sequence=per_sequence.detach(),
            columns={
                "advantage": advantage,
                "clipped": sequence_mean(clipped, sequence, count),
                "mixed_group": (spread > 0).to(advantage.dtype),
            },
        )

    def _gain(
        self, batch: Batch, advantage: Float[Tensor, " C"]
    ) -> tuple[Float[Tensor, " C"], Float[Tensor, " C"]]:
        """What each token gains, with gradient, and 1 where it was clipped or truncated."""
        settings, logprob = self.settings, batch.token_logprob
        if settings.importance == "clip":
            behaviour = known_tokens(batch.behaviour_token_logprob, "grpo")
            gain, clipped = clipped_gain(
                logprob - behaviour, advantage, settings.clip_low, settings.clip_high
            )
            return gain, clipped.detach()
        if batch.behaviour_token_logprob is None:
            raise ValueError("grpo needs the behaviour log-probabilities of tokens")
        ratio = torch.exp((logprob.detach() - batch.behaviour_token_logprob).clamp(max=20.0)).nan_to_num(1.0)
        weight = ratio.clamp(max=settings.importance_cap)
        return weight * advantage * logprob, (ratio > settings.importance_cap).to(logprob.dtype)
