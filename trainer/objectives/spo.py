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
from trainer.objectives.importance import MeanRatio, importance_ratio, importance_weight
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
        None,
        gt=0,
        description="weigh rows by min(pi/mu, cap) where mu is known, pi/mu divided by its running mean;"
        " null: all weights are 1",
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
    beta_rate: float = Field(
        0.1,
        gt=0,
        description="target_kl: change of log beta per relative error of the KL, of which 0.2 counts at most",
    )
    beta_floor: float = Field(1e-2, gt=0, description="target_kl: smallest beta")
    beta_ceiling: float = Field(10.0, gt=0, description="target_kl: largest beta")
    kl_min_samples: float = Field(
        4.0, ge=0, description="target_kl: beta stays where the KL has a smaller effective sample size"
    )

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
            settings.beta,
            settings.target_kl or 0.0,
            settings.beta_rate,
            settings.beta_floor,
            settings.beta_ceiling,
        )
        self.mean_ratio = MeanRatio()
        weighs_or_adapts = settings.target_kl is not None or settings.importance_cap is not None
        self.needs = Needs(reference_logprob=True, reference_rewards=True, behaviour_logprob=weighs_or_adapts)

    def loss(self, batch: Batch) -> Loss:
        settings, beta = self.settings, self.temperature.beta
        soft_value = estimate_soft_value(
            batch.reference_rewards, beta, smoothing=settings.smoothing, floor=settings.value_floor
        )
        return spo_loss(batch, soft_value, beta, settings, self.mean_ratio.value)

    def after_step(self, figures: Mapping[str, Any]) -> None:
        """Dual ascent on beta after a step whose KL could be estimated, and the mean of pi/mu."""
        self.mean_ratio.update(figures.get("importance_ratio"))
        if self.settings.target_kl is None or figures["kl"] is None:
            return
        if figures["kl_samples"] >= self.settings.kl_min_samples:
            self.temperature.update(figures["kl"])

    def figures(self) -> dict[str, float]:
        return {"beta": self.temperature.beta}

    def state(self) -> dict[str, Any]:
        return {"beta": self.temperature.beta, "mean_ratio": self.mean_ratio.value}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.temperature.beta = state["beta"]
        self.mean_ratio.value = state.get("mean_ratio", 1.0)  # checkpoints of earlier versions have none


def spo_loss(
    batch: Batch,
    soft_value: Float[Tensor, " N"],
    beta: float,
    settings: SpoSettings,
    mean_ratio: float = 1.0,
) -> Loss:
    """Mean loss over the global batch, of which `batch` may be one micro-batch; `soft_value` is Q0 of each
    row's prompt.

    Columns: `terminal_q` (Q_T), `residual` (Q_T - r; its mean on fresh samples is Q0 - V* + beta * KL(pi ||
    pi*)), `q_success` and `q_failure` (Q_T of successes and of failures), `q_above_zero` (1 where Q_T > 0),
    with `importance_cap` also `importance_ratio` (min(pi/mu, cap), which is divided by `mean_ratio`).
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
    weights: dict[str, Tensor] = {}
    if (cap := settings.importance_cap) is not None:
        ratio = importance_ratio(policy_logprob, batch.behaviour_logprob, batch.selection_weight)
        per_sequence = importance_weight(ratio, cap, mean_ratio) * per_sequence
        weights = {"importance_ratio": ratio.clamp(max=cap)}
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
            **weights,
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
    failure is pushed with weight exp(q) / (1 - exp(q)), which fades as it becomes unlikely. The cap of a row
    is at least 2p / (1 - p), p = exp(r/beta), so that no cap moves the minimiser Q_T = r of a partial reward:
    at p / (1 - p) the loss would be flat above r.
    """
    q = q_terminal / beta
    optimal = torch.exp(reward / beta)
    exact = torch.exp(reward.double() / beta)
    cap = torch.where(reward < 0, 2 * exact / (1 - exact).clamp(min=1e-6), 0.0).clamp(min=failure_weight_cap)
    return -(optimal * q.clamp(max=0.0) + (1 - optimal) * log_one_minus_exp(q, cap))


def log_one_minus_exp(q: Float[Tensor, " N"], weight_cap: float | Float[Tensor, " N"]) -> Float[Tensor, " N"]:
    """log(1 - exp(q)) where its slope is above -weight_cap, and its tangent beyond. Stable near 0 and far
    below it.
    """
    cap = torch.as_tensor(weight_cap, dtype=torch.float64, device=q.device)
    clip, slope = torch.log(cap / (1 + cap)).to(q.dtype), cap.to(q.dtype)
    inside = torch.minimum(q, clip)
    # Maechler (2012), "Accurately computing log(1 - exp(-|a|))": expm1 near zero, log1p elsewhere.
    near = torch.log(-torch.expm1(inside.clamp(min=-0.6931)))
    far = torch.log1p(-torch.exp(inside.clamp(max=-0.6931)))
    value = torch.where(inside > -0.6931, near, far)
    return value - slope * (q - clip).clamp(min=0.0)
