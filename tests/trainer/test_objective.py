"""The acceptance test of the method on a problem small enough for an exact solution."""

import itertools
import json
import math
from dataclasses import replace

import pytest
import torch
from jaxtyping import TypeCheckError
from pydantic import ValidationError

from trainer.objectives import OBJECTIVES, settings_class
from trainer.objectives.base import Batch, Needs, RewardSamples
from trainer.objectives.importance import MeanRatio, importance_ratio, importance_weight
from trainer.objectives.sft import SftSettings
from trainer.objectives.soft_value import DualTemperature, estimate_soft_value
from trainer.objectives.spo import (
    SpoSettings,
    cross_entropy,
    cumulative_q,
    log_one_minus_exp,
    spo_loss,
    squared,
    terminal_q,
)
from trainer.policies.batching import sum_by_sequence

VOCABULARY, LENGTH, BETA = 3, 4, 0.25
SEQUENCES = torch.tensor(list(itertools.product(range(VOCABULARY), repeat=LENGTH)))
PREFIXES = {
    p: i
    for i, p in enumerate(p for n in range(LENGTH) for p in itertools.product(range(VOCABULARY), repeat=n))
}
# node[i, t]: the table row that sequence i reads its token t from.
NODE = torch.tensor([[PREFIXES[tuple(s[:t].tolist())] for t in range(LENGTH)] for s in SEQUENCES])


@pytest.fixture(autouse=True, scope="module")
def double_precision():
    threads = torch.get_num_threads()
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)  # 81 numbers gain nothing from a second core
    yield
    torch.set_default_dtype(torch.float32)
    torch.set_num_threads(threads)


def batch_of(tokens, reference, reward, tokens_each=1):
    """A global batch; behaviour log-probabilities and reference rewards are unknown."""
    count = len(reward)
    return Batch(
        token_logprob=tokens,
        sequence=torch.arange(len(tokens)) // tokens_each,
        reference_logprob=reference,
        behaviour_logprob=torch.full((count,), math.nan),
        reward=reward,
        success=reward >= 0,
        reference_rewards=samples_of(torch.zeros(count, 0)),
        batch_sequences=count,
        batch_tokens=len(tokens),
    )


def token_logprobs(table):
    """[..., 81, 4] from tables of logits [..., 40, 3]."""
    return torch.log_softmax(table, dim=-1)[..., NODE, SEQUENCES]


class Toy:
    def __init__(self, seed=0):
        generator = torch.Generator().manual_seed(seed)
        self.reference = torch.randn(len(PREFIXES), VOCABULARY, generator=generator)
        self.reference_tokens = token_logprobs(self.reference)
        self.reference_logprob = self.reference_tokens.sum(1)
        good = torch.randperm(81, generator=generator)[:12]
        self.reward = torch.full((81,), -1.0).index_fill(0, good, 0.0)
        self.generator = generator
        self.value = BETA * torch.logsumexp(self.reference_logprob + self.reward / BETA, 0)
        self.optimum = self.reference_logprob + (self.reward - self.value) / BETA

    def fit(self, behaviour, shape, value_error=0.0, steps=300):
        """Minimise the expected loss under `behaviour` [81], or on-policy (None), over all tables; returns
        log pi [81].
        """
        table = self.reference.clone().requires_grad_()
        if behaviour is None:
            return self.descend(
                table, lambda logprob: self.loss(logprob, logprob.detach().exp(), shape, value_error)
            )
        optimiser = torch.optim.LBFGS(
            [table],
            lr=1.0,
            max_iter=steps,
            tolerance_grad=1e-13,
            tolerance_change=1e-16,
            history_size=50,
            line_search_fn="strong_wolfe",
        )

        def closure():
            optimiser.zero_grad()
            loss = self.loss(token_logprobs(table).sum(1), behaviour, shape, value_error)
            loss.backward()
            return loss

        for _ in range(4):  # a fresh curvature estimate gets past a line search that stalls
            optimiser.step(closure)
            optimiser.state.clear()
        return token_logprobs(table).sum(1).detach()

    def fit_each(self, behaviours, shape):
        """The same for each of several behaviours [count, 81] at once, which Adam does not mix; by descent,
        because the kink of the cross-entropy at Q_T = 0 stops a line search. Returns log pi [count, 81].
        """
        count = len(behaviours)
        tables = self.reference.repeat(count, 1, 1).requires_grad_()

        def loss_of(logprob):
            q = terminal_q(logprob, self.reference_logprob.repeat(count), self.value.expand(81 * count), BETA)
            of_each = (squared if shape == "squared" else cross_entropy)(q, self.reward.repeat(count), BETA)
            return (behaviours.flatten() * of_each).sum()

        return self.descend(tables, lambda logprob: loss_of(logprob.flatten()))

    def descend(self, table, loss_of, rate=0.02, steps=4000):
        optimiser = torch.optim.Adam([table], lr=rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
        for _ in range(steps):
            loss = loss_of(token_logprobs(table).sum(-1))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        return token_logprobs(table).sum(-1).detach()

    def loss(self, logprob, behaviour, shape, value_error):
        value = (self.value + value_error).expand(81)
        q = terminal_q(logprob, self.reference_logprob, value, BETA)
        of_each = (squared if shape == "squared" else cross_entropy)(q, self.reward, BETA)
        return (behaviour * of_each).sum()

    def kl_to_optimum(self, logprob):
        return float((logprob.exp() * (logprob - self.optimum)).sum())

    def behaviours(self):
        dirichlet = torch._sample_dirichlet(torch.full((81,), 1.0), torch.Generator().manual_seed(1))
        skewed = 0.7 * dirichlet + 0.3 / 81  # 27 to 1 between the commonest and the rarest sequence
        failures = self.reference_logprob.exp() * torch.where(self.reward < 0, 1.0, 0.0)
        successes = self.reference_logprob.exp() * torch.where(self.reward < 0, 0.0, 1.0)
        return {
            "reference": self.reference_logprob.exp(),
            "uniform": torch.full((81,), 1 / 81),
            "skewed": skewed,
            "failures": 0.9 * failures / failures.sum() + 0.1 * successes / successes.sum(),
        }


@pytest.fixture(scope="module")
def toy(double_precision):
    return Toy()


def test_dynamic_programming_equals_the_closed_form(toy):
    """Soft backward induction over the tree, against V* = beta log E exp(r/beta)."""
    reference = torch.log_softmax(toy.reference, 1)
    values = {tuple(s.tolist()): r for s, r in zip(SEQUENCES, toy.reward, strict=True)}
    for length in reversed(range(LENGTH)):
        for prefix in itertools.product(range(VOCABULARY), repeat=length):
            children = torch.stack([values[(*prefix, a)] for a in range(VOCABULARY)])
            values[prefix] = BETA * torch.logsumexp(reference[PREFIXES[prefix]] + children / BETA, 0)
    assert abs(float(values[()] - toy.value)) < 1e-12
    assert abs(float(torch.logsumexp(toy.optimum, 0))) < 1e-12


def test_bellman_residual_of_the_cumulative_q_is_zero_at_random_parameters(toy):
    """V(prefix) = beta log sum_a pi_ref(a) exp(Q(prefix, a) / beta) must give back Q(prefix) at every
    inner node.
    """
    table = torch.randn(len(PREFIXES), VOCABULARY, generator=toy.generator)
    q = cumulative_q(token_logprobs(table), toy.reference_tokens, torch.full((81,), -0.7), BETA)
    q_of = {tuple(s[: t + 1].tolist()): q[i, t] for i, s in enumerate(SEQUENCES) for t in range(LENGTH)} | {
        (): torch.tensor(-0.7)
    }
    reference = torch.log_softmax(toy.reference, 1)
    for prefix, row in PREFIXES.items():
        children = torch.stack([q_of[(*prefix, a)] for a in range(VOCABULARY)])
        assert abs(float(BETA * torch.logsumexp(reference[row] + children / BETA, 0) - q_of[prefix])) < 1e-12


BEHAVIOURS = ["reference", "uniform", "skewed", "failures"]


@pytest.fixture(scope="module")
def fitted_cross_entropy(toy):
    behaviours = toy.behaviours()
    fitted = toy.fit_each(torch.stack([behaviours[name] for name in BEHAVIOURS]), "cross_entropy")
    return dict(zip(BEHAVIOURS, fitted, strict=True))


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_exact_soft_value_leads_squares_to_the_optimal_policy_from_any_data(toy, behaviour):
    assert toy.kl_to_optimum(toy.fit(toy.behaviours()[behaviour], "squared")) < 1e-6
    assert toy.kl_to_optimum(toy.reference_logprob) > 0.1  # the reference itself would fail


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_exact_soft_value_leads_cross_entropy_to_the_optimal_policy(toy, fitted_cross_entropy, behaviour):
    assert toy.kl_to_optimum(fitted_cross_entropy[behaviour]) < 1e-3


@pytest.mark.parametrize("value_error", [0.2, -0.2])
def test_off_policy_an_error_in_the_soft_value_settles_where_residual_is_proportional_to_pi_over_mu(
    toy, value_error
):
    behaviour = toy.behaviours()["skewed"]
    fitted = toy.fit(behaviour, "squared", value_error)
    residual = toy.value + value_error + BETA * (fitted - toy.reference_logprob) - toy.reward
    constant = residual * behaviour / fitted.exp()
    assert float(constant.std() / constant.mean().abs()) < 5e-3
    assert float(constant.mean()) * value_error > 0
    assert toy.kl_to_optimum(fitted) > 1e-3


@pytest.mark.parametrize("value_error", [0.2, -0.2])
def test_on_policy_an_error_in_the_soft_value_does_no_harm(toy, value_error):
    assert toy.kl_to_optimum(toy.fit(None, "squared", value_error)) < 1e-6


def test_data_on_a_part_of_the_support_gives_that_part_its_exact_mass(toy):
    part = torch.zeros(81).index_fill(0, torch.randperm(81, generator=toy.generator)[:30], 1.0)
    fitted = toy.fit(part / part.sum(), "squared")
    seen = part > 0
    assert float((fitted[seen] - toy.optimum[seen]).abs().max()) < 1e-4


def test_importance_weights_move_the_off_policy_fixed_point_toward_the_optimum(toy):
    """With weights pi/mu the expected gradient is the on-policy one, where an error in Q0 does no harm."""
    behaviour = toy.behaviours()["uniform"]

    def weighted(logprob, cap=100.0):
        weight = importance_weight(importance_ratio(logprob, behaviour.log()), cap)
        return toy.loss(logprob, behaviour * weight, "squared", value_error=0.2)

    plain = toy.kl_to_optimum(toy.fit(behaviour, "squared", 0.2))
    assert toy.kl_to_optimum(toy.descend(toy.reference.clone().requires_grad_(), weighted)) < 1e-3 * plain


def test_dual_ascent_hits_its_target(toy):
    temperature = DualTemperature(beta=2.0, target_kl=0.5, rate=0.2)

    def kl(beta):
        optimum = torch.log_softmax(toy.reference_logprob + toy.reward / beta, 0)
        return float((optimum.exp() * (optimum - toy.reference_logprob)).sum())

    for _ in range(300):
        temperature.update(kl(temperature.beta))
    assert kl(temperature.beta) == pytest.approx(0.5, abs=1e-3)


def test_cross_entropy_by_hand():
    """q = ln 0.5, p = exp(-1/0.25): -(p ln 0.5 + (1-p) ln 0.5) = ln 2; a success above zero is let go."""
    half = BETA * torch.tensor([0.5]).log()
    assert float(cross_entropy(half, torch.tensor([-1.0]), BETA)) == pytest.approx(0.6931471805599453)
    q = torch.tensor([0.3], requires_grad=True)
    cross_entropy(q, torch.tensor([0.0]), BETA).backward()
    assert float(q.grad) == 0.0
    q = torch.tensor([-0.3], requires_grad=True)
    cross_entropy(q, torch.tensor([0.0]), BETA).backward()
    assert float(q.grad) == pytest.approx(-1 / BETA)


def test_a_failure_keeps_a_bounded_gradient_above_the_cap_and_fades_far_below_zero():
    q = torch.tensor([0.5, -1e-4, -1e-9, -40.0, -3.0], requires_grad=True)
    log_one_minus_exp(q, weight_cap=9.0).sum().backward()
    assert q.grad[:3].tolist() == [-9.0, -9.0, -9.0]
    assert float(q.grad[3]) == pytest.approx(-4.248354255291589e-18, rel=1e-6)
    assert float(q.grad[4]) == pytest.approx(-0.05239569649125595)  # exp(-3) / (1 - exp(-3)), below the cap
    value = log_one_minus_exp(torch.tensor([-0.2, -3.0]), weight_cap=9.0)
    assert value.tolist() == pytest.approx(
        [-1.7077718009705196, -0.051069180942701596]
    )  # log(1 - exp(q)), below the cap


def test_gradient_of_the_squared_loss_is_the_papers(toy):
    """-2/beta * (r - Q_T) * grad log pi, by a second route."""
    table = torch.randn(len(PREFIXES), VOCABULARY, generator=toy.generator, requires_grad=True)
    logprob = token_logprobs(table)[5].sum()
    one = batch_of(logprob[None], toy.reference_logprob[5:6], toy.reward[5:6])
    loss = spo_loss(one, toy.value[None], BETA, SpoSettings(shape="squared"))
    by_loss = torch.autograd.grad(loss.value, table, retain_graph=True)[0]
    by_hand = 2 / BETA * float(loss.columns["residual"]) * torch.autograd.grad(logprob, table)[0]
    assert torch.allclose(by_loss, by_hand, atol=1e-12)


def test_positive_rewards_are_refused_by_the_cross_entropy():
    one = torch.ones(1)
    with pytest.raises(ValueError, match="rewards <= 0"):
        spo_loss(batch_of(one, one, one), one, 1.0, SpoSettings(shape="cross_entropy"))


def samples_of(rewards, counted=None):
    counted = torch.ones_like(rewards, dtype=torch.bool) if counted is None else counted
    count = len(rewards)
    return RewardSamples(rewards, counted, torch.full((count,), -1.0), torch.zeros(count))


def test_soft_value_by_hand():
    """3 of 8 succeed: plain mean exp(r/beta); smoothed (3 + 1/2) / 9; with the pseudo-failure at -2
    instead of -1.
    """
    samples, failure = samples_of(torch.tensor([[0.0] * 3 + [-1.0] * 5])), 2.718281828459045**-2
    plain = estimate_soft_value(samples, 0.5, smoothing=0.0)
    assert float(plain) == pytest.approx(0.5 * math.log(3 / 8 + 5 / 8 * failure))
    smooth = estimate_soft_value(samples, 0.5)
    assert float(smooth) == pytest.approx(0.5 * math.log(3.5 / 9 + 5.5 / 9 * failure))
    lower = estimate_soft_value(samples, 0.5, floor=-2.0)
    assert float(lower) == pytest.approx(0.5 * math.log(3.5 / 9 + 5 / 9 * failure + 0.5 / 9 * failure**2))


def test_samples_that_are_not_counted_do_not_move_the_soft_value():
    rewards, counted = torch.tensor([[0.0, -1.0, 0.0]]), torch.tensor([[True, True, False]])
    padded = estimate_soft_value(samples_of(rewards, counted), 0.3)
    assert float(padded) == pytest.approx(float(estimate_soft_value(samples_of(rewards[:, :2]), 0.3)))


def test_a_prompt_without_samples_has_the_value_of_the_pseudo_samples():
    none = samples_of(torch.zeros(1, 0))
    assert float(estimate_soft_value(none, 0.5)) == pytest.approx(0.5 * math.log((1 + math.exp(-2)) / 2))
    assert math.isnan(float(estimate_soft_value(none, 0.5, smoothing=0.0)))


@pytest.mark.parametrize("settings", [SpoSettings(shape="squared"), SftSettings()])
def test_micro_batches_add_up_to_the_whole_batch(toy, settings):
    """Six sequences of two tokens each, whole and cut after the first: the same loss and gradient."""
    reference = torch.randn(6, generator=toy.generator)
    reward = -torch.tensor([0.0, 1.0, 1.0, 0.0, 1.0, 1.0])
    objective, tokens = settings.build(), torch.randn(12, generator=toy.generator, requires_grad=True)

    def loss(first, last):
        part = batch_of(
            tokens[2 * first : 2 * last], reference[first:last], reward[first:last], tokens_each=2
        )
        return objective.loss(replace(part, batch_sequences=6, batch_tokens=12))

    whole, parts = loss(0, 6), [loss(0, 1), loss(1, 6)]
    cut = sum(part.value for part in parts)
    assert float(cut) == pytest.approx(float(whole.value), abs=1e-12)
    gradients = [torch.autograd.grad(value, tokens)[0] for value in (cut, whole.value)]
    assert torch.allclose(*gradients, atol=1e-12)
    assert float(whole.per_sequence.mean()) == pytest.approx(float(whole.value), abs=1e-12)


def test_likelihood_by_hand():
    """Sequences of 1 and 3 tokens: a mean over the four tokens, and over each sequence's own."""
    tokens = torch.tensor([-1.0, -2.0, -3.0, -4.0], requires_grad=True)
    batch = replace(
        batch_of(tokens, torch.zeros(2), torch.zeros(2)), sequence=torch.tensor([0, 1, 1, 1]), batch_tokens=4
    )
    loss = SftSettings().build().loss(batch)
    loss.value.backward()
    assert float(loss.value) == 2.5 and tokens.grad.tolist() == [-0.25] * 4
    assert loss.columns["token_nll"].tolist() == [1.0, 3.0]
    assert loss.per_sequence.tolist() == [0.5, 4.5]


def test_columns_of_spo_by_hand():
    """beta 0.5: Q_T = 0.5 * (log pi - log pi_ref) + Q0. The third row's Q_T is above 0."""
    batch = batch_of(
        torch.tensor([-2.0, -3.0, -1.0]), torch.tensor([-1.0, -1.0, -1.5]), -torch.tensor([0.0, 1.0, 0.0])
    )
    columns = spo_loss(batch, torch.tensor([-0.2, -0.4, -0.1]), 0.5, SpoSettings()).columns
    assert columns["terminal_q"].tolist() == pytest.approx([-0.7, -1.4, 0.15])
    assert columns["residual"].tolist() == pytest.approx([-0.7, -0.4, 0.15])
    assert columns["q_success"].tolist() == pytest.approx([-0.7, math.nan, 0.15], nan_ok=True)
    assert columns["q_failure"].tolist() == pytest.approx([math.nan, -1.4, math.nan], nan_ok=True)
    assert columns["q_above_zero"].tolist() == [0.0, 0.0, 1.0]


def test_importance_weights_multiply_the_rows_whose_behaviour_is_known():
    """pi/mu = e and e^-1; the cap is 2, the third row's mu is unknown."""
    batch = batch_of(torch.tensor([-1.0, -3.0, -1.0]), torch.zeros(3), -torch.ones(3))
    batch = replace(batch, behaviour_logprob=torch.tensor([-2.0, -2.0, math.nan]))
    plain, weighted = (
        spo_loss(batch, torch.zeros(3), 0.5, SpoSettings(shape="squared", importance_cap=cap)).per_sequence
        for cap in (None, 2.0)
    )
    assert (weighted / plain).tolist() == pytest.approx([2.0, math.exp(-1), 1.0])


def test_the_temperature_follows_the_kl_and_is_the_state_of_spo():
    """The soft value is computed with the temperature of the step: log pi = log pi_ref, so that Q_T is Q0."""
    objective = SpoSettings(beta=0.5, target_kl=2.0, beta_rate=0.1, smoothing=0.0).build()
    samples = samples_of(torch.tensor([[0.0] * 3 + [-1.0] * 5]))
    batch = replace(batch_of(torch.zeros(1), torch.zeros(1), torch.zeros(1)), reference_rewards=samples)

    def value(beta):
        return beta * math.log(3 / 8 + 5 / 8 * math.exp(-1 / beta))

    assert float(objective.loss(batch).columns["terminal_q"]) == pytest.approx(value(0.5))
    objective.after_step({"kl": None, "kl_samples": 0.0})
    objective.after_step({"kl": 5.0, "kl_samples": 3.9})  # too few to act on
    assert objective.figures() == {"beta": 0.5}
    objective.after_step({"kl": 5.0, "kl_samples": 4.0})
    assert objective.figures()["beta"] == pytest.approx(0.5 * math.exp(0.02))
    assert float(objective.loss(batch).columns["terminal_q"]) == pytest.approx(value(0.5 * math.exp(0.02)))
    resumed = SpoSettings(beta=0.5, target_kl=2.0).build()
    resumed.load_state(json.loads(json.dumps(objective.state())))
    assert resumed.figures() == objective.figures()


def test_a_step_of_the_temperature_is_bounded():
    """The relative error counts 0.2 at most: 300 nats in place of 3 move beta by a factor exp(0.1 * 0.2)."""
    assert DualTemperature(0.1, 3.0).update(300.0) == pytest.approx(0.1 * math.exp(0.02))
    assert DualTemperature(0.1, 3.0).update(0.0) == pytest.approx(0.1 * math.exp(-0.02))
    assert DualTemperature(0.1, 3.0).update(3.3) == pytest.approx(0.1 * math.exp(0.01))


def test_the_temperature_stays_between_its_floor_and_its_ceiling():
    assert DualTemperature(0.0101, 3.0, 0.5).update(0.0) == 0.01
    assert DualTemperature(0.0101, 3.0, 0.5, floor=0.005).update(0.0) == pytest.approx(
        0.0101 * math.exp(-0.1)
    )
    assert DualTemperature(9.9, 3.0, 0.5).update(30.0) == 10.0
    assert DualTemperature(0.9, 3.0, 1.0, ceiling=1.0).update(30.0) == 1.0


@pytest.mark.parametrize("beta", [0.1, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("reward", [-1.0, -0.5, -0.3, -0.1, -0.05])
def test_no_cap_moves_the_minimiser_of_a_partial_reward(beta, reward):
    """On a grid of Q_T that ends above 0; with a cap of 1 small losses would be rounded up to a success."""
    q = torch.linspace(-1.5, 0.6, 21001)
    loss = cross_entropy(q, torch.full_like(q, reward), beta)
    assert float(q[loss.argmin()]) == pytest.approx(reward, abs=1e-3)


def test_stale_rows_keep_their_share_beside_rows_of_unknown_origin():
    """Rows 11 nats off have weight 2e-5 alone, and once the mean is known as much as the row beside them."""
    ratio = importance_ratio(torch.tensor([-60.0, -41.0, -41.0]), torch.tensor([math.nan, -30.0, -30.0]))
    assert importance_weight(ratio, 2.0).tolist() == pytest.approx([1.0, 1.67017e-5, 1.67017e-5])
    mean = MeanRatio()
    mean.update(None)
    assert mean.value == 1.0
    mean.update(0.5)
    assert mean.value == pytest.approx(0.95)
    for _ in range(200):
        mean.update(float(ratio[1]))
    assert importance_weight(ratio, 2.0, mean.value).tolist() == pytest.approx([1.0, 1.0, 1.0], rel=1e-3)


def test_the_mean_ratio_is_a_part_of_the_state():
    objective = SpoSettings(importance_cap=2.0).build()
    objective.after_step({"importance_ratio": 0.5, "kl": None})
    resumed = SpoSettings(importance_cap=2.0).build()
    resumed.load_state(json.loads(json.dumps(objective.state())))
    assert resumed.mean_ratio.value == pytest.approx(0.95)


def test_a_selection_by_verdict_is_a_part_of_the_behaviour():
    """Rows drawn three times as often as mu draws them weigh a third."""
    ratio = importance_ratio(
        torch.tensor([-1.0, -1.0]), torch.tensor([-1.0, -1.0]), torch.tensor([1 / 3, math.nan])
    )
    assert ratio.tolist() == pytest.approx([1 / 3, 1.0])


def test_the_settings_that_are_documented():
    assert SpoSettings().model_dump() == {
        "name": "spo",
        "beta": 0.1,
        "shape": "cross_entropy",
        "failure_weight_cap": 1.0,
        "importance_cap": None,
        "smoothing": 0.5,
        "value_floor": None,
        "target_kl": None,
        "beta_rate": 0.1,
        "beta_floor": 0.01,
        "beta_ceiling": 10.0,
        "kl_min_samples": 4.0,
    }
    for name in ("beta", "failure_weight_cap", "importance_cap", "target_kl", "beta_rate", "beta_floor"):
        with pytest.raises(ValidationError, match=name):
            SpoSettings(**{name: 0.0})
    with pytest.raises(ValidationError, match="smoothing"):
        SpoSettings(smoothing=-0.1)
    assert SpoSettings(smoothing=0.0).smoothing == 0.0


@pytest.mark.parametrize("q", [-1e-9, -1e-4, -0.5, -0.69, -0.6931, -0.7, -3.0, -40.0])
def test_the_logarithm_of_a_failure_keeps_its_digits(q):
    """Against the series -sum exp(kq)/k and, near 0, log(-q - q^2/2 - q^3/6 - ...)."""
    by_hand = (
        math.log(-sum(q**k / math.factorial(k) for k in range(1, 30)))
        if q > -0.7
        else -sum(math.exp(k * q) / k for k in range(1, 200))
    )
    value = log_one_minus_exp(torch.tensor([q]), weight_cap=1e12)
    assert float(value) == pytest.approx(by_hand, rel=1e-13)


def test_beyond_its_cap_the_weight_of_a_failure_is_constant():
    """Cap 2: the slope is -2 from log(2/3) on, where the value is log(1/3)."""
    q = torch.tensor([math.log(2 / 3), math.log(2 / 3) + 1.0, 5.0], requires_grad=True)
    value = log_one_minus_exp(q, weight_cap=2.0)
    value.sum().backward()
    expected = [math.log(1 / 3), math.log(1 / 3) - 2.0, math.log(1 / 3) - 2.0 * (5.0 - math.log(2 / 3))]
    assert value.tolist() == pytest.approx(expected, rel=1e-12)
    assert q.grad.tolist()[1:] == [-2.0, -2.0]


def test_the_credit_of_tokens_by_hand():
    q = cumulative_q(
        torch.tensor([[-1.0, -2.0, -0.5]]), torch.tensor([[-1.5, -1.0, -0.5]]), torch.tensor([-0.25]), 0.5
    )
    assert q.tolist() == [[0.0, -0.5, -0.5]]


def test_the_soft_value_has_a_floor_of_its_own():
    """No samples, smoothing 1: the mean of exp(r/beta) over the floor and the highest reward."""
    none = samples_of(torch.zeros(1, 0))
    for floor, low in ((None, -1.0), (-2.0, -2.0)):
        value = estimate_soft_value(none, 0.5, smoothing=1.0, floor=floor)
        assert float(value) == pytest.approx(0.5 * math.log((math.exp(low / 0.5) + 1) / 2))


def test_an_importance_weight_never_overflows():
    ratio = importance_ratio(torch.tensor([0.0, 0.0]), torch.tensor([-25.0, -1000.0]))
    weight = importance_weight(ratio, cap=1e30)
    assert weight.tolist() == pytest.approx([math.exp(20.0)] * 2)


def test_what_spo_and_likelihood_need():
    assert SftSettings().build().needs == Needs(False, False, False)
    assert SpoSettings().build().needs == Needs(True, True, False)
    assert SpoSettings(target_kl=1.0).build().needs == Needs(True, True, True)
    assert SpoSettings(importance_cap=1.0).build().needs == Needs(True, True, True)


def test_every_registered_objective_is_found_under_its_own_name():
    names = ["astar_po", "asymre", "grpo", "gspo", "oapl", "ppo", "rloo", "sft", "spo", "tba", "topr"]
    assert sorted(OBJECTIVES) == names
    for name in OBJECTIVES:
        assert settings_class(name)().name == name


def test_a_wrong_shape_is_refused():
    """The annotations are checked in the tests: [N] where [N] is due, whole numbers where indices are."""
    with pytest.raises(TypeCheckError):
        terminal_q(torch.zeros(3), torch.zeros(3), torch.zeros(2), 0.1)
    with pytest.raises(TypeCheckError):
        squared(torch.zeros(3, 1), torch.zeros(3), 0.1)
    with pytest.raises(TypeCheckError):
        batch_of(torch.zeros(3), torch.zeros(3), torch.zeros(2))
    with pytest.raises(TypeCheckError):
        samples_of(torch.zeros(2, 3), torch.ones(3, 2, dtype=torch.bool))
    with pytest.raises(TypeCheckError):
        sum_by_sequence(torch.zeros(4), torch.zeros(4), 2)
