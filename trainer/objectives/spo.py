"""The SPO objective: cumulative Q-parameterisation and the losses on its one open condition, Q_T = r.

Source: Cohen et al., "Soft Policy Optimization", arXiv 2503.05453. Everything here is a pure function on tensors;
log-probabilities are in nats and summed over completion tokens, never divided by the length: the identity needs the sum.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Shape = Literal["squared", "cross_entropy"]
# The largest weight of a failure beside a success, whose weight is 1. The weight exp(q) / (1 - exp(q)) has a pole at Q_T = 0:
# without a cap a few failures above it decide the direction of the step. Above the cap the loss goes on as a straight line.
FAILURE_WEIGHT_CAP = 1.0


@dataclass(frozen=True)
class Sequences:
    """What the loss sees of N completions."""

    policy_logprob: Tensor  # [N] log pi(y|x), summed over completion tokens, with gradient
    reference_logprob: Tensor  # [N] log pi_ref(y|x), as stored
    soft_value: Tensor  # [N] Q0(x), the estimate of V*(x)
    reward: Tensor  # [N] r(x, y)
    weight: Tensor  # [N] 1, or a truncated importance weight


@dataclass(frozen=True)
class Loss:
    """The scalar to minimise and the per-sequence figures worth watching."""

    value: Tensor  # [] mean over the global batch
    terminal_q: Tensor  # [N] Q_T, detached
    residual: Tensor  # [N] Q_T - r, detached; its mean on fresh samples is Q0 - V* + beta * KL(pi || pi*)
    per_sequence: Tensor  # [N] weighted loss, detached


def cumulative_q(
    policy_logprobs: Tensor, reference_logprobs: Tensor, soft_value: Tensor, beta: float
) -> Tensor:
    """Q_t for every prefix: [N, T] from per-token log-probabilities [N, T] and Q0 [N]. A free, dense credit signal."""
    advantages = beta * (policy_logprobs - reference_logprobs)
    return soft_value[:, None] + advantages.cumsum(dim=1)


def terminal_q(sequences: Sequences, beta: float) -> Tensor:
    """Q_T = Q0 + beta * (log pi(y|x) - log pi_ref(y|x)): [N]."""
    return sequences.soft_value + beta * (sequences.policy_logprob - sequences.reference_logprob)


def squared(q_terminal: Tensor, reward: Tensor, beta: float) -> Tensor:
    """((Q_T - r) / beta)^2: [N]. Divided by beta^2 so that its scale does not depend on beta."""
    return ((q_terminal - reward) / beta).square()


def cross_entropy(
    q_terminal: Tensor, reward: Tensor, beta: float, failure_weight_cap: float = FAILURE_WEIGHT_CAP
) -> Tensor:
    """Cross-entropy between exp(r/beta) and exp(Q_T/beta), read as probabilities that the outcome is optimal: [N].

    Needs rewards <= 0. A success is pulled like supervised fine-tuning until Q_T reaches 0 and then let go; a failure is
    pushed with weight exp(q) / (1 - exp(q)), which fades as it becomes unlikely. The minimiser is unchanged by the cap where
    exp(r/beta) of a failure is below cap / (1 + cap).
    """
    q = q_terminal / beta
    optimal = torch.exp(reward / beta)
    return -(optimal * q.clamp(max=0.0) + (1 - optimal) * log_one_minus_exp(q, failure_weight_cap))


def log_one_minus_exp(q: Tensor, weight_cap: float) -> Tensor:
    """log(1 - exp(q)) as far as its slope is above -weight_cap, and its tangent from there on. Stable near 0 and far below it."""
    clip = math.log(weight_cap / (1 + weight_cap))
    inside = q.clamp(max=clip)
    # Maechler (2012), "Accurately computing log(1 - exp(-|a|))": expm1 near zero, log1p elsewhere.
    near = torch.log(-torch.expm1(inside.clamp(min=-0.6931)))
    far = torch.log1p(-torch.exp(inside.clamp(max=-0.6931)))
    value = torch.where(inside > -0.6931, near, far)
    return value - weight_cap * (q - clip).clamp(min=0.0)


def spo_loss(
    sequences: Sequences,
    *,
    beta: float,
    shape: Shape,
    batch_sequences: int,
    failure_weight_cap: float = FAILURE_WEIGHT_CAP,
) -> Loss:
    """Mean loss over a global batch of `batch_sequences`, of which `sequences` may be one micro-batch.

    Dividing by the global count, not by N, leaves the gradient unchanged by the cut into micro-batches and ranks.
    Raises ValueError for a cross-entropy on positive rewards, whose exponential is no probability.
    """
    if shape == "cross_entropy" and bool((sequences.reward > 0).any()):
        raise ValueError(
            "cross_entropy needs rewards <= 0; use the reward `binary` or `fraction`, or shape = 'squared'"
        )
    q_terminal = terminal_q(sequences, beta)
    if shape == "squared":
        of_each = squared(q_terminal, sequences.reward, beta)
    else:
        of_each = cross_entropy(q_terminal, sequences.reward, beta, failure_weight_cap)
    per_sequence = sequences.weight * of_each
    return Loss(
        value=per_sequence.sum() / batch_sequences,
        terminal_q=q_terminal.detach(),
        residual=(q_terminal - sequences.reward).detach(),
        per_sequence=per_sequence.detach(),
    )


def importance_weight(policy_logprob: Tensor, behaviour_logprob: Tensor, cap: float) -> Tensor:
    """Truncated min(pi/mu, cap), detached: [N]. Where the behaviour log-probability is unknown (NaN) the weight is 1."""
    ratio = torch.exp((policy_logprob.detach() - behaviour_logprob).clamp(max=20.0)).clamp(max=cap)
    return torch.where(torch.isnan(behaviour_logprob), torch.ones_like(ratio), ratio)
