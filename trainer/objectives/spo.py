"""The SPO objective: cumulative Q-parameterisation and the losses on its one open condition, Q_T = r.

Source: Cohen et al., "Soft Policy Optimization", arXiv 2503.05453. The functions are pure; log-probabilities
are in nats and summed over completion tokens, never divided by the length: the identity needs the sum.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from trainer.objectives.base import Batch, Loss, Needs, Objective, ObjectiveSettings
from trainer.objectives.soft_value import DualTemperature, estimate_soft_value

Shape = Literal["squared", "cross_entropy"]
# The largest weight of a failure beside a success, whose weight is 1. The weight exp(q) / (1 - exp(q)) has a
# pole at Q_T = 0: without a cap a few failures above it decide the direction of the step. Above the cap the
# loss goes on as a straight line.
FAILURE_WEIGHT_CAP = 1.0


class SpoSettings(ObjectiveSettings):
    """Section [objective] with name = "spo"."""

    name: Literal["spo"] = "spo"
    beta: float = Field(0.1, gt=0, description="temperature of the KL regularisation, in units of reward")
    shape: Shape = Field("cross_entropy", description="loss on Q_T; cross_entropy needs rewards of at most 0")
    failure_weight_cap: float = Field(
        FAILURE_WEIGHT_CAP, gt=0, description="cross-entropy: largest weight of a failure"
    )
    importance_cap: float | None = Field(
        None, gt=0, description="weigh rows by min(pi/mu, cap) where mu is known; null: all weights are 1"
    )
    smoothing: float = Field(
        0.5, ge=0, description="pseudo-samples at either end of the reward in Q0; 0: the plain estimate"
    )
    value_floor: float | None = Field(
        None, description="reward of the failing pseudo-samples; null: the reward function's lowest"
    )
    target_kl: float | None = Field(
        None, gt=0, description="nats per sequence: beta follows KL(pi || pi_ref) by dual ascent; null: fixed"
    )
    beta_rate: float = Field(0.05, gt=0, description="target_kl: rate of the ascent on log beta")
    beta_floor: float = Field(1e-2, gt=0, description="target_kl: smallest beta")

    def build(self) -> Spo:
        return Spo(self)


class Spo(Objective):
    """Soft Policy Optimization of one run. Its state is the temperature beta, on which Q0 depends."""

    headline: ClassVar[Mapping[str, str]] = {
        "q_success": "Q_T of successes",
        "q_failure": "of failures",
        "beta": "beta",
    }

    def __init__(self, settings: SpoSettings):
        self.settings = settings
        self.temperature = DualTemperature(
            settings.beta, settings.target_kl or 0.0, settings.beta_rate, settings.beta_floor
        )
        weighs_or_adapts = settings.target_kl is not None or settings.importance_cap is not None
        self.needs = Needs(reference_logprob=True, reference_rewards=True, behaviour_logprob=weighs_or_adapts)

    def loss(self, batch: Batch) -> Loss:
        settings, beta = self.settings, self.temperature.beta
        soft_value = estimate_soft_value(
            batch.reference_rewards, beta, smoothing=settings.smoothing, floor=settings.value_floor
        )
        return spo_loss(batch, soft_value, beta, settings)

    def after_step(self, figures: Mapping[str, Any]) -> None:
        """Dual ascent on beta after a step whose KL could be estimated."""
        if self.settings.target_kl is not None and figures["kl"] is not None:
            self.temperature.update(figures["kl"])

    def figures(self) -> dict[str, float]:
        return {"beta": self.temperature.beta}

    def state(self) -> dict[str, Any]:
        return {"beta": self.temperature.beta}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.temperature.beta = state["beta"]


def spo_loss(batch: Batch, soft_value: Float[Tensor, " N"], beta: float, settings: SpoSettings) -> Loss:
    """Mean loss over the global batch, of which `batch` may be one micro-batch; `soft_value` is Q0 of each
    row's prompt.

    Columns: `terminal_q` (Q_T), `residual` (Q_T - r; its mean on fresh samples is Q0 - V* + beta * KL(pi ||
    pi*)), `q_success` and `q_failure` (Q_T of successes and of failures), `q_above_zero` (1 where Q_T > 0).
    Raises ValueError for a cross-entropy on positive rewards, whose exponential is no probability.
    """
    if settings.shape == "cross_entropy" and bool((batch.reward > 0).any()):
        raise ValueError(
            "cross_entropy needs rewards <= 0; use the reward `binary` or `fraction`, or shape = 'squared'"
        )
    policy_logprob = batch.policy_logprob
    soft_value = soft_value.to(policy_logprob.dtype)
    q_terminal = terminal_q(policy_logprob, batch.reference_logprob, soft_value, beta)
    if settings.shape == "squared":
        per_sequence = squared(q_terminal, batch.reward, beta)
    else:
        per_sequence = cross_entropy(q_terminal, batch.reward, beta, settings.failure_weight_cap)
    if settings.importance_cap is not None:
        weight = importance_weight(policy_logprob, batch.behaviour_logprob, settings.importance_cap)
        per_sequence = weight * per_sequence
    q = q_terminal.detach()
    return Loss(
        value=per_sequence.sum() / batch.batch_sequences,
        per_sequence=per_sequence.detach(),
        columns={
            "terminal_q": q,
            "residual": q - batch.reward,
            "q_success": q.masked_fill(~batch.success, math.nan),
            "q_failure": q.masked_fill(batch.success, math.nan),
            "q_above_zero": (q > 0).to(q.dtype),
        },
    )


def cumulative_q(
    policy_logprobs: Float[Tensor, "N T"],
    reference_logprobs: Float[Tensor, "N T"],
    soft_value: Float[Tensor, " N"],
    beta: float,
) -> Float[Tensor, "N T"]:
    """Q_t for every prefix, from log-probabilities of tokens and Q0. A free, dense credit signal."""
    advantages = beta * (policy_logprobs - reference_logprobs)
    return soft_value[:, None] + advantages.cumsum(dim=1)


def terminal_q(
    policy_logprob: Float[Tensor, " N"],
    reference_logprob: Float[Tensor, " N"],
    soft_value: Float[Tensor, " N"],
    beta: float,
) -> Float[Tensor, " N"]:
    """Q_T = Q0 + beta * (log pi(y|x) - log pi_ref(y|x))."""
    return soft_value + beta * (policy_logprob - reference_logprob)


def squared(q_terminal: Float[Tensor, " N"], reward: Float[Tensor, " N"], beta: float) -> Float[Tensor, " N"]:
    """((Q_T - r) / beta)^2. Divided by beta^2 so that its scale does not depend on beta."""
    return ((q_terminal - reward) / beta).square()


def cross_entropy(
    q_terminal: Float[Tensor, " N"],
    reward: Float[Tensor, " N"],
    beta: float,
    failure_weight_cap: float = FAILURE_WEIGHT_CAP,
) -> Float[Tensor, " N"]:
    """Cross-entropy between exp(r/beta) and exp(Q_T/beta), read as probabilities that the outcome is optimal.

    Needs rewards <= 0. A success is pulled like supervised fine-tuning until Q_T reaches 0 and then let go; a
    failure is pushed with weight exp(q) / (1 - exp(q)), which fades as it becomes unlikely. The minimiser is
    unchanged by the cap where exp(r/beta) of a failure is below cap / (1 + cap).
    """
    q = q_terminal / beta
    optimal = torch.exp(reward / beta)
    return -(optimal * q.clamp(max=0.0) + (1 - optimal) * log_one_minus_exp(q, failure_weight_cap))


def log_one_minus_exp(q: Float[Tensor, " N"], weight_cap: float) -> Float[Tensor, " N"]:
    """log(1 - exp(q)) where its slope is above -weight_cap, and its tangent beyond. Stable near 0 and far
    below it.
    """
    clip = math.log(weight_cap / (1 + weight_cap))
    inside = q.clamp(max=clip)
    # Maechler (2012), "Accurately computing log(1 - exp(-|a|))": expm1 near zero, log1p elsewhere.
    near = torch.log(-torch.expm1(inside.clamp(min=-0.6931)))
    far = torch.log1p(-torch.exp(inside.clamp(max=-0.6931)))
    value = torch.where(inside > -0.6931, near, far)
    return value - weight_cap * (q - clip).clamp(min=0.0)


def importance_weight(
    policy_logprob: Float[Tensor, " N"], behaviour_logprob: Float[Tensor, " N"], cap: float
) -> Float[Tensor, " N"]:
    """Truncated min(pi/mu, cap), detached. Where the behaviour log-probability is unknown (NaN) the weight
    is 1.
    """
    ratio = torch.exp((policy_logprob.detach() - behaviour_logprob).clamp(max=20.0)).clamp(max=cap)
    return torch.where(torch.isnan(behaviour_logprob), torch.ones_like(ratio), ratio)
