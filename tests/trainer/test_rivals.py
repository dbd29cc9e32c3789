"""Objectives beside SPO: gradients by hand and against the true gradient by enumeration; the optimum."""

import itertools
import math
from dataclasses import replace

import pytest
import torch

from trainer.objectives import settings_class
from trainer.objectives.base import Batch, Needs, RewardSamples
from trainer.objectives.spo import SpoSettings, spo_loss

# All nine sequences of two tokens from three, under a table of logits [4, 3]: after nothing, after 0, 1, 2.
SEQUENCES = torch.tensor(list(itertools.product(range(3), repeat=2)))
NODE = torch.stack([torch.zeros(9, dtype=torch.long), 1 + SEQUENCES[:, 0]], dim=1)
REWARD = torch.tensor([-1.0, 0.0, -1.0, -1.0, -1.0, 0.0, -1.0, -1.0, -1.0])
UNKNOWN = math.nan


@pytest.fixture(autouse=True, scope="module")
def double_precision():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def objective(name, **settings):
    return settings_class(name)(**settings).build()


def rewards_of(rows, lowest=-1.0, highest=0.0):
    longest = max(map(len, rows))
    padded = torch.tensor([[*row, *[0.0] * (longest - len(row))] for row in rows])
    counted = torch.arange(longest) < torch.tensor([len(row) for row in rows])[:, None]
    ends = torch.full((len(rows),), 1.0)
    return RewardSamples(padded, counted, lowest * ends, highest * ends)


def batch_of(logprob, reward, reference=None, behaviour=None, rewards=None):
    """A batch of sequences of one token each."""
    count = len(reward)
    unknown = torch.full((count,), UNKNOWN)
    return Batch(
        token_logprob=logprob,
        sequence=torch.arange(count),
        reference_logprob=unknown if reference is None else reference,
        behaviour_logprob=unknown if behaviour is None else behaviour,
        reward=reward,
        success=reward >= 0,
        reference_rewards=rewards_of([[]] * count) if rewards is None else rewards,
        batch_sequences=count,
        batch_tokens=count,
    )


def gradient(loss, logprob):
    return torch.autograd.grad(loss.value, logprob)[0].tolist()


def logprobs(table):
    """log pi of the nine sequences."""
    return torch.log_softmax(table, dim=1)[NODE, SEQUENCES].sum(1)


def table_gradient(name, behaviour, table, rewards=None, **settings):
    """Gradient of the expected loss on rows of `behaviour` [9], with respect to the table."""
    logprob = logprobs(table)
    batch = batch_of(logprob, REWARD, behaviour=behaviour.log(), rewards=rewards)
    loss = objective(name, **settings).loss(replace(batch, token_logprob=logprob))
    # per_sequence is detached, so the expectation is taken on copies of the loss, a sequence each.
    parts = []
    for index in range(9):
        one = logprob[index : index + 1]
        single = batch_of(
            one,
            REWARD[index : index + 1],
            behaviour=behaviour[index : index + 1].log(),
            rewards=None if rewards is None else rewards_of([rewards.rewards[index].tolist()]),
        )
        parts.append(behaviour[index] * objective(name, **settings).loss(single).value)
    assert loss.per_sequence.shape == (9,)
    return torch.autograd.grad(sum(parts), table)[0]


def true_gradient(table, values):
    """Gradient of the expected value [9] under the policy of the table."""
    return torch.autograd.grad((logprobs(table).exp() * values).sum(), table)[0]


@pytest.fixture
def table():
    return torch.randn(4, 3, generator=torch.Generator().manual_seed(3)).requires_grad_()


# TOPR


def test_topr_by_hand():
    """Two rows: gradient -1/2 for the success; for the failure pi/mu / 2, at most cap / 2."""
    logprob = torch.tensor([-1.0, -3.0, -1.0], requires_grad=True)
    behaviour = torch.tensor([UNKNOWN, -2.0, -2.0])
    loss = objective("topr").loss(batch_of(logprob, torch.tensor([0.0, -1.0, -1.0]), behaviour=behaviour))
    assert gradient(loss, logprob) == pytest.approx([-1 / 3, math.exp(-1) / 3, 1 / 3])
    assert loss.columns["failure_weight"].tolist() == pytest.approx([UNKNOWN, math.exp(-1), 1.0], nan_ok=True)
    wide = objective("topr", failure_cap=2.0, failure_weight=0.5)
    loss = wide.loss(batch_of(logprob, torch.tensor([0.0, -1.0, -1.0]), behaviour=behaviour))
    assert gradient(loss, logprob) == pytest.approx([-1 / 3, 0.5 * math.exp(-1) / 3, 0.5 * 2.0 / 3])


def test_topr_on_its_own_rows_is_the_policy_gradient(table):
    policy = logprobs(table).exp().detach()
    signs = torch.where(REWARD >= 0, 1.0, -1.0)
    assert torch.allclose(table_gradient("topr", policy, table), -true_gradient(table, signs), atol=1e-12)


def test_topr_refuses_failures_of_an_unknown_policy():
    batch = batch_of(torch.tensor([-1.0], requires_grad=True), torch.tensor([-1.0]))
    with pytest.raises(ValueError, match="topr needs the behaviour log-probability of each failure"):
        objective("topr").loss(batch)


# AsymRE


def test_asymre_by_hand():
    """Means -0.5 and -0.75; delta 0.1: baselines -0.6 and -0.85, advantages 0.6 and -0.15."""
    logprob = torch.tensor([-1.0, -2.0], requires_grad=True)
    rewards = rewards_of([[0.0, -1.0], [-1.0, -1.0, -1.0, 0.0]])
    loss = objective("asymre", delta=0.1).loss(batch_of(logprob, torch.tensor([0.0, -1.0]), rewards=rewards))
    assert loss.columns["advantage"].tolist() == pytest.approx([0.6, -0.15])
    assert gradient(loss, logprob) == pytest.approx([-0.3, 0.075])
    assert float(loss.value) == pytest.approx((0.6 * 1.0 - 0.15 * 2.0) / 2)


@pytest.mark.parametrize("delta", [0.0, 0.3])
def test_asymre_on_its_own_rows_is_the_policy_gradient_whatever_the_baseline(table, delta):
    policy = logprobs(table).exp().detach()
    rewards = rewards_of([[-1.0, -1.0, 0.0]] * 9)
    computed = table_gradient("asymre", policy, table, rewards, delta=delta)
    assert torch.allclose(computed, -true_gradient(table, REWARD), atol=1e-12)


# A*-PO


def test_astar_po_by_hand():
    """V = 0.5 * log((1 + e^-2) / 2) = -0.2831; beta 0.1, log-ratio -2: residual -0.2831 - 0.2 + 1."""
    logprob = torch.tensor([-3.0, -3.0], requires_grad=True)
    rewards = rewards_of([[0.0, -1.0], [-1.0, -1.0]])
    batch = batch_of(logprob, -torch.ones(2), reference=-torch.ones(2), rewards=rewards)
    loss = objective("astar_po", beta=0.1).loss(batch)
    assert loss.columns["residual"].tolist() == pytest.approx([0.516890, UNKNOWN], abs=1e-6, nan_ok=True)
    assert loss.columns["left_out"].tolist() == [0.0, 1.0]
    assert gradient(loss, logprob) == pytest.approx([2 * 0.516890 * 0.1 / 2, 0.0], abs=1e-6)
    kept = objective("astar_po", beta=0.1, drop_unsolved=False).loss(batch)
    assert kept.columns["residual"].tolist() == pytest.approx([0.516890, -0.2], abs=1e-6)


def test_with_one_temperature_astar_po_is_the_squared_loss_of_spo():
    generator = torch.Generator().manual_seed(1)
    logprob = torch.randn(6, generator=generator, requires_grad=True)
    rewards = rewards_of([[0.0, -1.0, -1.0]] * 6)
    reward = -torch.tensor([0.0, 1.0, 1.0, 0.0, 1.0, 1.0])
    batch = batch_of(logprob, reward, reference=torch.randn(6, generator=generator), rewards=rewards)
    value = torch.full((6,), 0.25 * math.log((1 + 2 * math.exp(-4)) / 3))
    spo = spo_loss(batch, value, 0.25, SpoSettings(shape="squared"))
    own = objective("astar_po", beta=0.25, value_beta=0.25).loss(batch)
    assert float(own.value) == pytest.approx(0.25**2 * float(spo.value))
    assert gradient(own, logprob) == pytest.approx([0.25**2 * g for g in gradient(spo, logprob)])


def test_astar_po_settles_at_the_optimum_of_its_temperatures():
    """With the exact V at beta, the regression on all nine sequences ends at pi_ref * exp((r - V) / beta)."""
    beta, reference = 0.25, torch.randn(4, 3, generator=torch.Generator().manual_seed(5))
    fixed, free = logprobs(reference), reference.clone().requires_grad_()
    value = beta * torch.logsumexp(fixed + REWARD / beta, 0)
    optimiser = torch.optim.LBFGS([free], max_iter=500, tolerance_grad=1e-13, line_search_fn="strong_wolfe")

    def closure():
        optimiser.zero_grad()
        log_ratio = logprobs(free) - fixed
        loss = (value + beta * log_ratio - REWARD).square().mean()
        loss.backward()
        return loss

    optimiser.step(closure)
    batch = batch_of(logprobs(free), REWARD, reference=fixed, rewards=rewards_of([[0.0]] * 9))
    # Samples that all succeed have V = 0: all residuals are then off by the exact V.
    residual = objective("astar_po", beta=beta).loss(batch).columns["residual"]
    assert torch.allclose(residual, -value.expand(9), atol=1e-4)


# Groups


def grouped(batch, *numbers):
    return replace(batch, group=torch.tensor(numbers))


def test_rloo_by_hand():
    """Groups (0, -1, -1) and (0, -1): each reward minus the mean of the others."""
    logprob = torch.full((5,), -1.0).requires_grad_()
    batch = batch_of(logprob, torch.tensor([0.0, -1.0, 0.0, -1.0, -1.0]))
    loss = objective("rloo").loss(grouped(batch, 4, 4, 9, 9, 4))
    assert loss.columns["advantage"].tolist() == pytest.approx([1.0, -0.5, 1.0, -1.0, -0.5])
    assert gradient(loss, logprob) == pytest.approx([-0.2, 0.1, -0.2, 0.2, 0.1])
    assert loss.columns["mixed_group"].tolist() == [1.0] * 5


def test_a_group_of_equal_rewards_teaches_nothing():
    logprob = torch.tensor([-1.0, -2.0], requires_grad=True)
    loss = objective("rloo").loss(grouped(batch_of(logprob, -torch.ones(2)), 0, 0))
    assert gradient(loss, logprob) == [0.0, 0.0] and loss.columns["mixed_group"].tolist() == [0.0, 0.0]


def test_rloo_weighs_rows_of_a_known_policy():
    logprob = torch.tensor([-1.0, -2.0], requires_grad=True)
    batch = batch_of(logprob, torch.tensor([0.0, -1.0]), behaviour=torch.tensor([-2.0, UNKNOWN]))
    loss = objective("rloo", importance_cap=2.0).loss(grouped(batch, 0, 0))
    assert gradient(loss, logprob) == pytest.approx([-1.0, 0.5])


@pytest.mark.parametrize("unbiased, factor", [(False, 1.0), (True, 2.0)])
def test_tba_is_the_variance_within_groups(unbiased, factor):
    """r - beta * log-ratio is (0.2, -0.7) and (-0.9, -0.9): deviations 0.45 and 0."""
    logprob = torch.tensor([-2.0, -4.0, -2.0, -2.0], requires_grad=True)
    reference = torch.tensor([-1.0, -2.5, -1.5, -1.5])
    batch = batch_of(logprob, torch.tensor([0.0, -1.0, -1.0, -1.0]), reference=reference)
    batch = grouped(batch, 0, 0, 1, 1)
    loss = objective("tba", beta=0.2, unbiased=unbiased).loss(batch)
    assert loss.columns["value"].tolist() == pytest.approx([-0.25, -0.25, -0.9, -0.9])
    assert loss.columns["residual"].tolist() == pytest.approx([-0.45, 0.45, 0.0, 0.0])
    assert float(loss.value) == pytest.approx(factor * 2 * 0.45**2 / 4)
    target = batch.reward - 0.2 * (logprob - reference)
    variance = factor * sum(target[i : i + 2].var(correction=0) for i in (0, 2)) / 2
    assert gradient(loss, logprob) == pytest.approx(torch.autograd.grad(variance, logprob)[0].tolist())


def test_tba_has_no_gradient_at_the_optimum():
    beta, reference = 0.25, torch.randn(4, 3, generator=torch.Generator().manual_seed(5))
    fixed = logprobs(reference)
    value = beta * torch.logsumexp(fixed + REWARD / beta, 0)
    optimum = (fixed + (REWARD - value) / beta).requires_grad_()
    batch = grouped(batch_of(optimum, REWARD, reference=fixed), *[0, 0, 0, 1, 1, 1, 1, 2, 2])
    loss = objective("tba", beta=beta).loss(batch)
    assert float(loss.value) < 1e-25
    assert max(map(abs, gradient(loss, optimum))) < 1e-12


def test_gspo_by_hand():
    """Rewards (0, -1): deviation 0.5, advantages 1 and -1. Lengths 1 and 2, ratios e^0.1 and e^(0.4 / 2)."""
    tokens = torch.tensor([-1.0, -1.0, -1.0], requires_grad=True)
    batch = batch_of(torch.zeros(2), torch.tensor([0.0, -1.0]), behaviour=torch.tensor([-1.1, -2.4]))
    batch = replace(grouped(batch, 0, 0), token_logprob=tokens, sequence=torch.tensor([0, 1, 1]))
    open_ratio = objective("gspo", clip_low=0.5, clip_high=0.5).loss(batch)
    assert open_ratio.columns["advantage"].tolist() == pytest.approx([1.0, -1.0], abs=1e-5)
    ratios = [math.exp(0.1), math.exp(0.2)]
    assert gradient(open_ratio, tokens) == pytest.approx(
        [-ratios[0] / 2, ratios[1] / 4, ratios[1] / 4], abs=1e-5
    )
    assert open_ratio.columns["clipped"].tolist() == [0.0, 0.0]
    # A success above the bound has no gradient; a failure above it keeps its own.
    bounded = objective("gspo", divide_by_deviation=False).loss(batch)
    assert bounded.columns["advantage"].tolist() == [0.5, -0.5]
    assert bounded.columns["clipped"].tolist() == [1.0, 0.0]
    assert gradient(bounded, tokens) == pytest.approx([0.0, ratios[1] / 8, ratios[1] / 8])
    assert float(bounded.value) == pytest.approx(-(0.5 * 1.0004 - 0.5 * ratios[1]) / 2)


def test_gspo_refuses_rows_of_an_unknown_policy():
    batch = grouped(batch_of(torch.zeros(2), torch.zeros(2)), 0, 0)
    with pytest.raises(ValueError, match="gspo needs the behaviour log-probability of each row"):
        objective("gspo").loss(batch)


@pytest.mark.parametrize("name", ["rloo", "tba"])
def test_rows_without_a_group_are_refused(name):
    batch = batch_of(torch.zeros(2), torch.zeros(2), reference=torch.zeros(2))
    for one in (batch, grouped(batch, 0, -1)):
        with pytest.raises(ValueError, match="set group on each source"):
            objective(name).loss(one)


# What they need and refuse


@pytest.mark.parametrize(
    "name, settings, needs",
    [
        ("topr", {}, Needs(behaviour_logprob=True)),
        ("asymre", {}, Needs(reference_rewards=True)),
        ("astar_po", {}, Needs(reference_logprob=True, reference_rewards=True)),
        ("rloo", {}, Needs(groups=True)),
        ("rloo", {"importance_cap": 2.0}, Needs(groups=True, behaviour_logprob=True)),
        ("tba", {}, Needs(groups=True, reference_logprob=True)),
        ("gspo", {}, Needs(groups=True, behaviour_logprob=True)),
    ],
)
def test_needs(name, settings, needs):
    assert objective(name, **settings).needs == needs


@pytest.mark.parametrize(
    "name, defaults",
    [
        ("topr", {"name": "topr", "failure_cap": 1.0, "failure_weight": 1.0}),
        ("asymre", {"name": "asymre", "delta": 0.1}),
        ("astar_po", {"name": "astar_po", "beta": 1e-3, "value_beta": 0.5, "drop_unsolved": True}),
        ("rloo", {"name": "rloo", "importance_cap": None}),
        ("tba", {"name": "tba", "beta": 0.012, "unbiased": False}),
        ("gspo", {"name": "gspo", "clip_low": 3e-4, "clip_high": 4e-4, "divide_by_deviation": True}),
    ],
)
def test_documented_defaults(name, defaults):
    assert settings_class(name)().model_dump() == defaults
