"""PPO, GRPO and OAPL: gradients by hand, against a loop, and against the true gradient by enumeration; and as
runs.
"""

import itertools
import json
import math
from dataclasses import replace

import pytest
import torch

from trainer.data import Source
from trainer.objectives import Batch, Needs, RewardSamples, ValueNetworkSettings, settings_class
from trainer.objectives.tokens import clipped_gain, ends_of, generalised_advantage
from trainer.run import TrainingError, train

UNKNOWN = math.nan
SAMPLES = Source(name="samples", where="j.token_logprobs is not null", weight=1.0, group=3)


@pytest.fixture
def double_precision():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def objective(name, **settings):
    return settings_class(name)(**settings).build()


def batch_of(logprob, lengths, reward, *, behaviour=None, reference=None, value=None, group=None):
    """Sequences of these numbers of tokens; log-probabilities and values are of tokens."""
    count, tokens = len(lengths), sum(lengths)
    sequence = torch.repeat_interleave(torch.arange(count), torch.tensor(lengths))
    unknown = torch.full((tokens,), UNKNOWN)
    behaviour, reference = (unknown if one is None else one for one in (behaviour, reference))

    def summed(values):
        return torch.zeros(count).index_add(0, sequence, values)

    none = torch.zeros(count, 0)
    ends = torch.ones(count)
    return Batch(
        token_logprob=logprob,
        sequence=sequence,
        reference_logprob=summed(reference),
        behaviour_logprob=summed(behaviour),
        reward=torch.tensor(reward),
        success=torch.tensor(reward) >= 0,
        reference_rewards=RewardSamples(none, none.bool(), -ends, 0 * ends),
        batch_sequences=count,
        batch_tokens=tokens,
        group=None if group is None else torch.tensor(group),
        behaviour_token_logprob=behaviour,
        reference_token_logprob=reference,
        value=value,
    )


def with_statistics(rival, batch):
    return replace(batch, statistics=rival.statistics(batch))


def gradient(loss, tensor):
    return torch.autograd.grad(loss.value, tensor)[0].tolist()


# Parts


@pytest.mark.parametrize("decay", [0.0, 0.7, 1.0])
def test_advantages_are_those_of_a_loop(double_precision, decay):
    generator = torch.Generator().manual_seed(2)
    lengths = [3, 0, 1, 7]  # one sequence has no token
    reward, value = (torch.randn(11, generator=generator) for _ in range(2))
    sequence = torch.repeat_interleave(torch.arange(4), torch.tensor(lengths))
    expected, first = [], 0
    for length in lengths:
        own = list(range(first, first + length))
        for t in own:
            advantage = 0.0
            for l, at in enumerate(range(t, own[-1] + 1)):  # noqa: E741 (the paper's letter)
                after = float(value[at + 1]) if at + 1 in own else 0.0
                advantage += decay**l * (float(reward[at]) + after - float(value[at]))
            expected.append(advantage)
        first += length
    assert generalised_advantage(reward, value, sequence, 4, decay).tolist() == pytest.approx(expected)
    assert ends_of(sequence, 4).tolist() == [2, 3, 10]


def test_the_clipped_gain_by_hand():
    """Ratios 2, 2, 0.5, 0.5, 8 with clips 0.2 and 0.3: only where clipping lowers the gain it counts."""
    log_ratio = torch.tensor([2.0, 2.0, 0.5, 0.5, 8.0]).log()
    advantage = torch.tensor([1.0, -1.0, 1.0, -1.0, -1.0])
    gain, clipped = clipped_gain(log_ratio, advantage, 0.2, 0.3, dual=3.0)
    assert gain.tolist() == pytest.approx([1.3, -2.0, 0.5, -0.8, -3.0])
    assert clipped.tolist() == [1.0, 0.0, 0.0, 1.0, 1.0]
    assert clipped_gain(log_ratio, advantage, 0.2, 0.3)[0][4] == pytest.approx(-8.0)


# PPO


def test_ppo_by_hand():
    """Two rows of 2 and 1 tokens, rewards 0 and -1, values 0.5, 0.25 and -0.5, kl 0.1, lambda 1 for both.

    KL rewards: -0.1 * (-1 + 2), -0.1 * (-1 + 1), -0.1 * (-2 + 3). Returns -0.1, 0 and -1.1.
    """
    logprob = torch.tensor([-1.0, -1.0, -2.0], requires_grad=True)
    value = torch.tensor([0.5, 0.25, -0.5], requires_grad=True)
    behaviour, reference = torch.tensor([-1.0, -1.0, -2.0]), torch.tensor([-2.0, -1.0, -3.0])
    rival = objective("ppo", kl=0.1, policy_lambda=1.0, whiten=False)
    batch = batch_of(logprob, [2, 1], [0.0, -1.0], behaviour=behaviour, reference=reference, value=value)
    batch = with_statistics(rival, batch)
    loss = rival.loss(batch)
    advantages, errors = [-0.6, -0.25, -0.6], [0.6, 0.25, 0.6]
    assert gradient(replace(loss, value=loss.value.clone()), logprob) == pytest.approx(
        [-a / 3 for a in advantages]
    )
    loss = rival.loss(batch)
    assert gradient(loss, value) == pytest.approx([e / 3 for e in errors])
    assert loss.columns["advantage"].tolist() == pytest.approx([-0.425, -0.6])
    assert loss.columns["behaviour_kl"].tolist() == pytest.approx([1.0, 1.0])
    returns, misses = torch.tensor([-0.1, 0.0, -1.1]), torch.tensor(errors)
    explained = 1 - misses.var(correction=0) / returns.var(correction=0)
    assert loss.columns["explained_variance"].tolist() == pytest.approx([float(explained)] * 2, abs=1e-5)
    assert float(loss.per_sequence.mean()) == pytest.approx(float(loss.value))


def test_ppo_whitens_over_the_batch_whatever_the_micro_batches():
    generator = torch.Generator().manual_seed(4)
    lengths, rival = [2, 3, 1, 4], objective("ppo", kl=0.0)
    parts = [torch.randn(10, generator=generator) for _ in range(3)]

    def batch(rows):
        tokens = [slice(0, 2), slice(2, 5), slice(5, 6), slice(6, 10)]
        logprob, behaviour, value = (torch.cat([part[tokens[r]] for r in rows]) for part in parts)
        one = batch_of(
            logprob.requires_grad_(),
            [lengths[r] for r in rows],
            [[0.0, -1.0, -1.0, 0.0][r] for r in rows],
            behaviour=behaviour - 0.1,
            value=value,
        )
        return replace(one, batch_sequences=4, batch_tokens=10)

    whole, halves = batch([0, 1, 2, 3]), [batch([0, 3]), batch([1, 2])]
    statistics = rival.statistics(whole)
    summed = sum(rival.statistics(half) for half in halves)
    assert summed.tolist() == pytest.approx(statistics.tolist(), rel=1e-5)
    loss = rival.loss(replace(whole, statistics=statistics))
    cut = [rival.loss(replace(half, statistics=summed)) for half in halves]
    assert float(sum(one.value for one in cut)) == pytest.approx(float(loss.value), rel=1e-5)
    weights = torch.tensor([2.0, 3.0, 1.0, 4.0])
    assert float((loss.columns["advantage"] * weights).sum()) == pytest.approx(0.0, abs=1e-5)


def test_ppo_trains_the_values_alone_at_first():
    rival = objective("ppo", kl=0.0, value_only_steps=1)
    logprob, value = torch.tensor([-1.0, -2.0], requires_grad=True), torch.zeros(2, requires_grad=True)
    batch = batch_of(logprob, [1, 1], [0.0, -1.0], behaviour=torch.tensor([-1.0, -2.0]), value=value)
    batch = with_statistics(rival, batch)
    assert gradient(rival.loss(batch), logprob) == [0.0, 0.0]
    assert gradient(rival.loss(batch), value) == [0.0, 0.5]
    rival.after_step({})
    again = objective("ppo", kl=0.0, value_only_steps=1)
    again.load_state(json.loads(json.dumps(rival.state())))
    assert gradient(again.loss(batch), logprob) == pytest.approx([-0.5, 0.5])


@pytest.mark.parametrize("exact", [False, True])
def test_ppo_on_its_own_rows_is_the_policy_gradient(double_precision, exact):
    """All nine sequences of two tokens from three. Ratio 1; lambda 1; any V is a baseline."""
    table = torch.randn(4, 3, generator=torch.Generator().manual_seed(3)).requires_grad_()
    sequences = list(itertools.product(range(3), repeat=2))
    rewards = [-1.0, 0.0, -1.0, -1.0, -1.0, 0.0, -1.0, -1.0, -1.0]
    rival = objective("ppo", kl=0.0, policy_lambda=1.0, whiten=False)
    own = torch.log_softmax(table, dim=1)
    probability = {s: float((own[0, s[0]] + own[1 + s[0], s[1]]).exp()) for s in sequences}
    total = 0.0
    for one, reward in zip(sequences, rewards, strict=True):
        logprob = torch.stack([own[0, one[0]], own[1 + one[0], one[1]]])
        value = torch.tensor([0.3, -0.2])
        if exact:
            value[0] = sum(probability[s] * r for s, r in zip(sequences, rewards, strict=True))
            after = [(probability[s], r) for s, r in zip(sequences, rewards, strict=True) if s[0] == one[0]]
            value[1] = sum(p * r for p, r in after) / sum(p for p, _ in after)
        batch = batch_of(logprob, [2], [reward], behaviour=logprob.detach(), value=value)
        value_loss = 0.5 * float((value - reward).square().mean())
        loss = rival.loss(with_statistics(rival, batch)).value - value_loss
        total = total + probability[one] * 2 * loss
    expected = sum(
        (own[0, s[0]] + own[1 + s[0], s[1]]).exp() * r for s, r in zip(sequences, rewards, strict=True)
    )
    (computed,) = torch.autograd.grad(total, table, retain_graph=True)
    (true,) = torch.autograd.grad(expected, table)
    assert torch.allclose(computed, -true, atol=1e-12)


# GRPO


def test_grpo_by_hand():
    """Rewards (0, -1): advantages 1 and -1. Rows of 1 and 2 tokens; ratios 2, 1 and 0.5."""
    logprob = torch.tensor([-1.0, -1.0, -1.0], requires_grad=True)
    behaviour = logprob.detach() - torch.tensor([2.0, 1.0, 0.5]).log()
    batch = batch_of(logprob, [1, 2], [0.0, -1.0], behaviour=behaviour, group=[5, 5])
    loss = objective("grpo").loss(batch)
    assert gradient(loss, logprob) == pytest.approx([0.0, 1 / 3, 0.0], abs=1e-5)
    assert float(loss.value) == pytest.approx((-1.28 + 1.0 + 0.8) / 3, abs=1e-5)
    assert loss.columns["clipped"].tolist() == pytest.approx([1.0, 0.5])
    assert loss.columns["mixed_group"].tolist() == [1.0, 1.0]
    each = objective("grpo", mean_over="sequences", divide_by_deviation=False).loss(batch)
    assert gradient(each, logprob) == pytest.approx([0.0, 0.5 / 4, 0.0])
    assert float(each.value) == pytest.approx(float(each.per_sequence.mean()))


def test_grpo_with_truncated_ratios_takes_rows_of_an_unknown_policy():
    """Ratios 4 (truncated at 2), 0.5, and unknown: weight 1."""
    logprob = torch.tensor([-1.0, -1.0, -1.0], requires_grad=True)
    behaviour = logprob.detach() - torch.tensor([4.0, 0.5, UNKNOWN]).log()
    batch = batch_of(logprob, [1, 1, 1], [0.0, 0.0, -1.0], behaviour=behaviour, group=[0, 0, 0])
    loss = objective("grpo", importance="truncate", divide_by_deviation=False).loss(batch)
    assert gradient(loss, logprob) == pytest.approx([-2 / 9, -0.5 / 9, 2 / 9])
    assert loss.columns["clipped"].tolist() == [1.0, 0.0, 0.0]
    with pytest.raises(ValueError, match="grpo needs the behaviour log-probability of each token"):
        objective("grpo").loss(batch)


def test_the_kl_of_grpo_by_hand():
    """Equal rewards teach nothing; log(pi_ref / pi) is 1 and 0: e - 2 and 0, gradient (1 - e) and 0."""
    logprob = torch.tensor([-2.0, -1.0], requires_grad=True)
    reference, behaviour = torch.tensor([-1.0, -1.0]), torch.tensor([-2.0, -1.0])
    batch = batch_of(logprob, [1, 1], [0.0, 0.0], behaviour=behaviour, reference=reference, group=[0, 0])
    loss = objective("grpo", kl=0.5).loss(batch)
    assert float(loss.value) == pytest.approx(0.25 * (math.e - 2))
    assert gradient(loss, logprob) == pytest.approx([0.25 * (1 - math.e), 0.0])


# OAPL


def test_oapl_by_hand():
    """V = log((1 + e^-1) / 2) = -0.3799; log-ratios 0.5 and -1, beta 0.1."""
    logprob = torch.tensor([-1.0, -2.0], requires_grad=True)
    batch = batch_of(logprob, [1, 1], [0.0, -1.0], behaviour=torch.tensor([-1.5, -1.0]), group=[0, 0])
    loss = objective("oapl", beta=0.1).loss(batch)
    assert loss.columns["value"].tolist() == pytest.approx([-0.379885] * 2, abs=1e-6)
    assert loss.columns["residual"].tolist() == pytest.approx([-0.329885, 0.520115], abs=1e-6)
    assert gradient(loss, logprob) == pytest.approx([-0.0329885, 0.0520115], abs=1e-6)
    with pytest.raises(ValueError, match="oapl needs the behaviour log-probability of each row"):
        objective("oapl").loss(batch_of(logprob, [1, 1], [0.0, -1.0], group=[0, 0]))


def test_oapl_has_no_gradient_at_its_optimum(double_precision):
    """A group that has each of four equally likely answers once; the other group is far below."""
    beta, behaviour = 0.25, torch.full((4,), -math.log(4))
    reward = [0.0, -1.0, -1.0, 0.0]
    value = beta * (torch.tensor(reward) / beta).exp().mean().log()
    optimum = (behaviour + (torch.tensor(reward) - value) / beta).requires_grad_()
    group = [0, 0, 0, 0]
    loss = objective("oapl", beta=beta, value_beta=beta).loss(
        batch_of(optimum, [1] * 4, reward, behaviour=behaviour, group=group)
    )
    assert max(map(abs, gradient(loss, optimum))) < 1e-12
    far = batch_of(
        torch.zeros(4), [1] * 4, [0.0, 0.0, -900.0, -900.0], behaviour=torch.zeros(4), group=[0, 0, 1, 1]
    )
    assert objective("oapl").loss(far).columns["value"].tolist() == [0.0, 0.0, -900.0, -900.0]


# What they need


@pytest.mark.parametrize(
    "name, settings, needs",
    [
        (
            "ppo",
            {"kl": 0.0, "value_rate_factor": 2.0, "value_clip_norm": 0.5},
            Needs(
                behaviour_logprob=True,
                behaviour_tokens=True,
                statistics=True,
                value_network=ValueNetworkSettings(2.0, 0.5),
            ),
        ),
        ("grpo", {}, Needs(groups=True, behaviour_logprob=True, behaviour_tokens=True)),
        ("grpo", {"importance": "truncate"}, Needs(groups=True, behaviour_tokens=True)),
        ("oapl", {}, Needs(groups=True, behaviour_logprob=True)),
    ],
)
def test_needs(name, settings, needs):
    assert objective(name, **settings).needs == needs


@pytest.mark.parametrize("name", ["ppo", "grpo"])
def test_a_kl_needs_the_reference(name):
    needs = objective(name, kl=0.1).needs
    assert needs.reference_logprob and needs.reference_tokens


def test_documented_defaults():
    assert settings_class("ppo")().model_dump() == {
        "name": "ppo", "clip_low": 0.2, "clip_high": 0.2, "dual_clip": 3.0, "kl": 0.01,
        "policy_lambda": 0.95, "value_lambda": 1.0, "whiten": True, "value_rate_factor": 5.0,
        "value_clip_norm": 1.0, "value_only_steps": 0,
    }  # fmt: skip
    assert settings_class("grpo")().model_dump() == {
        "name": "grpo", "importance": "clip", "clip_low": 0.2, "clip_high": 0.28, "importance_cap": 2.0,
        "divide_by_deviation": True, "mean_over": "tokens", "kl": 0.0,
    }  # fmt: skip
    assert settings_class("oapl")().model_dump() == {"name": "oapl", "beta": 1e-3, "value_beta": 1.0}


# Runs


def run(job, folder, name, *, scored=True, on_step=None, settings=None, source=SAMPLES, **training):
    policy = job.policy()
    stream = job.stream([source], scored=scored, batch_sequences=9, logprobs=True)
    made = job.training(
        folder,
        [source],
        objective=settings_class(name)(**(settings or {})),
        stream=stream,
        training={"steps": 4, "max_loss": None, **training},
        on_step=on_step,
    )
    train(replace(made, policy=policy))
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def numbers(lines):
    return [(line["loss"], line["gradient_norm"], line.get("value_gradient_norm")) for line in lines]


class Stopped(Exception):
    pass


def test_a_stopped_run_of_ppo_goes_on_with_its_value_network(mixed_job, tmp_path):
    whole = run(mixed_job, tmp_path / "whole", "ppo")
    assert whole[0]["explained_variance"] == pytest.approx(0.0, abs=1e-4)  # values of zero explain nothing
    assert all(line["value_gradient_norm"] > 0 and line["gradient_norm"] > 0 for line in whole)

    def stop(figures):
        if figures["step"] == 2:
            raise Stopped

    with pytest.raises(Stopped):
        run(mixed_job, tmp_path / "cut", "ppo", on_step=stop)
    assert numbers(run(mixed_job, tmp_path / "cut", "ppo")) == numbers(whole)


@pytest.mark.parametrize("name", ["ppo", "grpo"])
def test_layouts_and_micro_batches_do_not_change_what_tokens_teach(mixed_job, tmp_path, name):
    results = []
    for number, (layout, tokens) in enumerate([("padded", 1), ("padded", 100_000), ("packed", 1000)]):
        lines = run(mixed_job, tmp_path / str(number), name, steps=2, layout=layout, batch_tokens=tokens)
        results.append([(line["gradient_norm"], line.get("value_gradient_norm") or 0.0) for line in lines])
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            assert one == pytest.approx(two, rel=1e-3, abs=1e-6)


def test_tokens_of_rows_need_no_score_where_there_is_no_kl(mixed_job, tmp_path):
    lines = run(mixed_job, tmp_path / "run", "ppo", scored=False, settings={"kl": 0.0}, steps=1)
    assert lines[0]["gradient_norm"] > 0 and lines[0]["behaviour_kl"] is None


def test_rows_without_log_probabilities_of_tokens_are_named(mixed_job, tmp_path):
    human = Source(name="human", where="j.origin = 'human'", weight=1.0)
    with pytest.raises((TrainingError, ValueError), match="ppo needs the behaviour log-probability of each"):
        run(mixed_job, tmp_path / "run", "ppo", source=human)
