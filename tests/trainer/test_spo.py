"""SPO by hand where its formula changes: partial rewards, Q_T = 0, bounds of settings, states of old runs."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError

from trainer.objectives import Batch, RewardSamples, SpoSettings
from trainer.objectives.spo import cross_entropy, spo_loss


def slope(q: float, reward: float, beta: float) -> float:
    """Derivative of the cross-entropy in Q_T."""
    terminal = torch.tensor([q], dtype=torch.float64, requires_grad=True)
    cross_entropy(terminal, torch.tensor([reward], dtype=torch.float64), beta).sum().backward()
    return float(terminal.grad)


def test_a_partial_reward_is_pushed_down_with_twice_its_odds():
    """Above Q_T = 0 the slope is (1 - p) * 2p / (1 - p) / beta = 2p / beta, p = exp(-0.1 / 0.5)."""
    assert slope(0.3, -0.1, 0.5) == pytest.approx(2 * math.exp(-0.2) / 0.5)
    assert slope(-0.1, -0.1, 0.5) == pytest.approx(0, abs=1e-12)  # Q_T = r is the minimiser


@pytest.mark.parametrize("q", [0.01, 0.2, 0.3])
def test_a_success_above_zero_is_let_go(q):
    assert slope(q, 0.0, 0.25) == 0.0


def test_the_column_counts_what_is_above_zero():
    """Q_T = Q0 + beta * (log pi - log pi_ref) of three rows, one of them exactly 0."""
    logprob, reward = torch.tensor([-2.0, -1.0, -3.0]), -torch.ones(3)
    batch = Batch(
        token_logprob=logprob,
        sequence=torch.arange(3),
        reference_logprob=torch.full((3,), -2.0),
        behaviour_logprob=torch.full((3,), math.nan),
        reward=reward,
        success=reward >= 0,
        reference_rewards=RewardSamples(torch.zeros(3, 0), torch.zeros(3, 0).bool(), reward, torch.zeros(3)),
        batch_sequences=3,
        batch_tokens=3,
    )
    columns = spo_loss(batch, torch.zeros(3), 0.5, SpoSettings()).columns
    assert columns["terminal_q"].tolist() == [0.0, 0.5, -0.5]
    assert columns["q_above_zero"].tolist() == [0.0, 1.0, 0.0]


@pytest.mark.parametrize(
    ("name", "allowed", "refused"),
    [("kl_min_samples", 0.0, -0.5), ("kl_min_samples", 0.5, -1.0), ("beta_floor", 0.5, 0.0),
     ("beta_ceiling", 0.5, 0.0), ("beta_ceiling", 2.0, -0.5)],
)  # fmt: skip
def test_bounds_of_settings(name, allowed, refused):
    assert getattr(SpoSettings(**{name: allowed}), name) == allowed
    with pytest.raises(ValidationError, match=name):
        SpoSettings(**{name: refused})


def test_beta_stays_without_a_target():
    objective = SpoSettings(beta=0.5).build()
    objective.after_step({"kl": 3.0, "kl_samples": 100.0})
    assert objective.figures() == {"beta": 0.5}


def test_a_checkpoint_of_an_earlier_version_has_no_mean_ratio():
    objective = SpoSettings().build()
    objective.load_state({"beta": 0.25})
    assert objective.state() == {"beta": 0.25, "mean_ratio": 1.0}
