"""The SPO objective: cumulative Q-parameterisation and the losses on its one open condition, Q_T = r.

Source: Cohen et al., "Soft Policy Optimization", arXiv 2503.05453. Everything here is a pure function on tensors;
log-probabilities are in nats and summed over completion tokens, never divided by the length: the identity needs the sum.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Shape = Literal["squared", "cross_entropy"]
# Above this q = Q_T / beta a failure's loss goes on as a straight line, so that its gradient stays finite and never vanishes.
FAILURE_CLIP = -0.01


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


def cumulative_q(policy_logprobs: Tensor, reference_logprobs: Tensor, soft_value: Tensor, beta: float) -> Tensor:
    """Q_t for every prefix: [N, T] from per-token log-probabilities [N, T] and Q0 [N]. A free, dense credit signal."""
    advantages = beta * (policy_logprobs - reference_logprobs)
    return soft_value[:, None] + advantages.cumsum(dim=1)


def terminal_q(sequences: Sequences, beta: float) -> Tensor:
    """Q_T = Q0 + beta * (log pi(y|x) - log pi_ref(y|x)): [N]."""
    return sequences.soft_value + beta * (sequences.policy_logprob - sequences.reference_logprob)


def squared(q_terminal: Tensor, reward: Tensor, beta: float) -> Tensor:
    """((Q_T - r) / beta)^2: [N]. Divided by beta^2 so that its scale does not depend on beta."""
    return ((q_terminal - reward) / beta).square()


def cross_entropy(q_terminal: Tensor, reward: Tensor, beta: float) -> Tensor:
    """Cross-entropy between exp(r/beta) and exp(Q_T/beta), read as probabilities that the outcome is optimal: [N].

    Needs rewards <= 0. A success is pulled like supervised fine-tuning until Q_T reaches 0 and then let go; a failure is
    pushed with weight exp(q) / (1 - exp(q)), which fades as it becomes unlikely.
    """
    q = q_terminal / beta
    optimal = torch.exp(reward / beta)
    return -(optimal * q.clamp(max=0.0) + (1 - optimal) * log_one_minus_exp(q, FAILURE_CLIP))


def log_one_minus_exp(q: Tensor, clip: float) -> Tensor:
    """log(1 - exp(q)) for q <= clip < 0, and its tangent at the clip above it. Stable near 0 and far below it."""
    inside = q.clamp(max=clip)
    # Maechler (2012), "Accurately computing log(1 - exp(-|a|))": expm1 near zero, log1p elsewhere.
    near = torch.log(-torch.expm1(inside.clamp(min=-0.6931)))
    far = torch.log1p(-torch.exp(inside.clamp(max=-0.6931)))
    value = torch.where(inside > -0.6931, near, far)
    at_clip = torch.tensor(clip, dtype=torch.float64)
    slope = float(-torch.exp(at_clip) / -torch.expm1(at_clip))
    return value + slope * (q - clip).clamp(min=0.0)


def spo_loss(sequences: Sequences, *, beta: float, shape: Shape, batch_sequences: int) -> Loss:
    """Mean loss over a global batch of `batch_sequences`, of which `sequences` may be one micro-batch.

    Dividing by the global count, not by N, leaves the gradient unchanged by the cut into micro-batches and ranks.
    Raises ValueError for a cross-entropy on positive rewards, whose exponential is no probability.
    """
    if shape == "cross_entropy" and bool((sequences.reward > 0).any()):
        raise ValueError("cross_entropy needs rewards <= 0; use the reward `binary` or `fraction`, or shape = 'squared'")
    q_terminal = terminal_q(sequences, beta)
    of_shape = {"squared": squared, "cross_entropy": cross_entropy}[shape]
    per_sequence = sequences.weight * of_shape(q_terminal, sequences.reward, beta)
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
