"""PPO with a value network of its own.

    r_t = -kl * log(mu(a_t) / pi_ref(a_t)), and the reward of the row at its last token
    A_t = advantages of r_t under V, by lambda, whitened over the batch          rho_t = pi(a_t) / mu(a_t)
    loss = mean over tokens of -min(rho A, clip(rho) A) + (V_t - R_t)^2 / 2

Sources: Schulman et al., arXiv 1707.06347; the KL in the reward: Ouyang et al., arXiv 2203.02155; a lambda
of its own for the targets R_t of the values, and values trained alone at first: Yuan et al. (VC-PPO), arXiv
2503.01491. mu is the policy that sampled the row. A step is one minibatch: a round of samples of which the
mixture draws N batches is N minibatches, and `uses` of its source are the epochs. Values are those of the
network at each step, not of the time of the round; so there is no old value to clip to.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from trainer.objectives.base import (
    Batch,
    Loss,
    Needs,
    Objective,
    ObjectiveSettings,
    ValueNetworkSettings,
)
from trainer.objectives.tokens import (
    clipped_gain,
    ends_of,
    generalised_advantage,
    known_tokens,
    sequence_mean,
)

SMALLEST_DEVIATION = 1e-4


class PpoSettings(ObjectiveSettings):
    """Section [objective] with name = "ppo"."""

    name: Literal["ppo"] = "ppo"
    clip_low: float = Field(0.2, gt=0, lt=1, description="the ratio of a token is clipped below 1 minus this")
    clip_high: float = Field(0.2, gt=0, description="the ratio of a token is clipped above 1 plus this")
    dual_clip: float | None = Field(
        3.0, gt=1, description="largest loss of a token, in units of its negative advantage; null: none"
    )
    kl: float = Field(
        0.01, ge=0, description="weight in the reward of each token's log-ratio to the reference"
    )
    policy_lambda: float = Field(0.95, ge=0, le=1, description="decay of the advantages")
    value_lambda: float = Field(1.0, ge=0, le=1, description="decay of the targets of the values")
    whiten: bool = Field(True, description="advantages with mean 0 and deviation 1 in each batch")
    value_rate_factor: float = Field(
        5.0, gt=0, description="learning rate of the values, in units of the policy's"
    )
    value_clip_norm: float = Field(1.0, gt=0, description="largest norm of the gradient of the values")
    value_only_steps: int = Field(0, ge=0, description="first steps, in which only the values are trained")

    def build(self) -> Ppo:
        return Ppo(self)


class Ppo(Objective):
    """Needs a value network, the behaviour log-probability of each token, and with `kl` that of the
    reference.
    """

    headline: ClassVar[Mapping[str, str]] = {"explained_variance": "explained", "clipped": "clipped"}

    def __init__(self, settings: PpoSettings):
        self.settings = settings
        self.steps = 0
        self.needs = Needs(
            reference_logprob=settings.kl > 0,
            reference_tokens=settings.kl > 0,
            behaviour_logprob=True,
            behaviour_tokens=True,
            value_network=ValueNetworkSettings(settings.value_rate_factor, settings.value_clip_norm),
            statistics=True,
        )

    def statistics(self, batch: Batch) -> Float[Tensor, " S"]:
        """Tokens, and sums and sums of squares of advantages, of targets of the values, and of their errors:
        S is 7.
        """
        advantage, target = self._advantage_and_target(batch)
        error = target - _values(batch)
        columns = torch.stack([advantage, target, error]).double()
        tokens = columns.new_full((1,), columns.shape[1])
        return torch.cat([tokens, columns.sum(1), columns.square().sum(1)])

    def loss(self, batch: Batch) -> Loss:
        """Columns: means over the tokens of a row of `advantage`, `clipped` (1: no gradient), `value_loss`,
        `behaviour_kl` (sum of log mu - log pi_ref); `explained_variance` of the values, of the batch (NaN
        where all targets are equal).

        Raises ValueError where mu of a token is unknown.
        """
        settings, value = self.settings, _values(batch, detached=False)
        if batch.statistics is None:
            raise ValueError("ppo needs the statistics of the global batch")
        advantage, target = self._advantage_and_target(batch)
        mean, variance = _moments(batch.statistics)
        if settings.whiten:
            deviation = variance[0].sqrt().clamp(min=SMALLEST_DEVIATION)
            advantage = (advantage - mean[0].to(advantage.dtype)) / deviation.to(advantage.dtype)
        behaviour = known_tokens(batch.behaviour_token_logprob, "ppo")
        gain, clipped = clipped_gain(
            batch.token_logprob - behaviour,
            advantage,
            settings.clip_low,
            settings.clip_high,
            settings.dual_clip,
        )
        value_loss = (value - target).square() / 2
        learns = float(self.steps >= settings.value_only_steps)
        tokens = value_loss - learns * gain
        explained = 1 - variance[2] / variance[1].where(variance[1] > SMALLEST_DEVIATION**2, torch.nan)
        count, sequence = len(batch.reward), batch.sequence
        sums = tokens.detach().new_zeros(count).index_add(0, sequence, tokens.detach())
        return Loss(
            value=tokens.sum() / batch.batch_tokens,
            per_sequence=sums * (batch.batch_sequences / batch.batch_tokens),
            columns={
                "advantage": sequence_mean(advantage, sequence, count),
                "clipped": sequence_mean(clipped.detach(), sequence, count),
                "value_loss": sequence_mean(value_loss.detach(), sequence, count),
                "behaviour_kl": batch.behaviour_logprob - batch.reference_logprob,
                "explained_variance": explained.to(sums.dtype).expand(count),
            },
        )

    def after_step(self, figures: Mapping[str, Any]) -> None:
        self.steps += 1

    def state(self) -> dict[str, Any]:
        return {"steps": self.steps}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.steps = state["steps"]

    def _advantage_and_target(self, batch: Batch) -> tuple[Float[Tensor, " C"], Float[Tensor, " C"]]:
        """Advantages and targets of the values of each token, without gradient."""
        settings, count, value = self.settings, len(batch.reward), _values(batch)
        reward = torch.zeros_like(value)
        if settings.kl:
            behaviour = known_tokens(batch.behaviour_token_logprob, "ppo")
            if batch.reference_token_logprob is None or bool(batch.reference_token_logprob.isnan().any()):
                raise ValueError("ppo with kl above 0 needs the reference log-probability of each token")
            reward = -settings.kl * (behaviour - batch.reference_token_logprob)
        ends = ends_of(batch.sequence, count)
        reward = reward.index_add(0, ends, batch.reward[batch.sequence[ends]].to(reward.dtype))
        advantage, to_target = (
            generalised_advantage(reward, value, batch.sequence, count, decay)
            for decay in (settings.policy_lambda, settings.value_lambda)
        )
        return advantage, value + to_target


def _values(batch: Batch, *, detached: bool = True) -> Float[Tensor, " C"]:
    if batch.value is None:
        raise ValueError("ppo needs the values of a value network")
    return batch.value.detach() if detached else batch.value


def _moments(statistics: Float[Tensor, " S"]) -> tuple[Float[Tensor, " 3"], Float[Tensor, " 3"]]:
    """Means and variances of what `Ppo.statistics` sums."""
    mean, square = (part / statistics[0] for part in (statistics[1:4], statistics[4:7]))
    return mean, (square - mean.square()).clamp(min=0)
