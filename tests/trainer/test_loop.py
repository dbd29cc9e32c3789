"""Training on a real store: the gate, resumption after a kill, micro-batches, and what a step moves."""

import itertools
import json
import math
import shutil
from collections import Counter
from functools import partial

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from sandbox import Pool
from trainer.data import Row, Source
from trainer.data.selection_weights import SourceDraws, selection_weights, source_draws
from trainer.evaluation.evaluator import evaluate
from trainer.objectives import SpoSettings, settings_class
from trainer.objectives.sft import SftSettings
from trainer.policies import Policy, prepare
from trainer.policies.adapters import LoraSettings
from trainer.policies.logprobs import has_fused_head
from trainer.policies.policy import load_policy
from trainer.policies.reference import reference_fingerprint, score
from trainer.rollouts.generation import SamplingSettings
from trainer.rollouts.online import FreshData, OnlineSettings
from trainer.run import OptimiserSettings, TrainingError, change_weights, train
from trainer.run.metrics import kl_estimate
from trainer.run.optim import rate_at
from trainer.run.speed import model_flops

SOURCES = [
    Source(name="human", where="j.origin = 'human'", weight=0.5),
    Source(name="samples", where="j.policy_id = 'reference'", weight=0.5),
]

# Adam divides a gradient by its own size: with the usual epsilon the rounding of a very small one becomes a
# part of a whole step.
SMOOTH = {"epsilon": 1e-3}


class Killed(Exception):
    """Stands for a process that ends between two steps."""


def weights(policy):
    return {name: tensor.clone() for name, tensor in policy.model.state_dict().items()}


def equal(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


def log(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def run(job, folder, sources=SOURCES, **parts):
    return train(job.training(folder, sources, **parts))


def killed_after(step):
    """`on_step` of a run that ends there."""

    def kill(figures):
        if figures["step"] == step:
            raise Killed

    return kill


@pytest.mark.parametrize("step", [0, 1, 2, 4])
def test_a_killed_run_ends_with_the_same_weights_and_rows_to_the_bit(made_job, tmp_path, step):
    whole = run(made_job, tmp_path / "whole")
    with pytest.raises(Killed):
        run(made_job, tmp_path / "cut", on_step=killed_after(step))
    resumed = run(made_job, tmp_path / "cut")
    assert equal(weights(whole), weights(resumed))
    steps = [(line["step"], line["rows_digest"], line["loss"]) for line in log(tmp_path / "whole")]
    assert steps == [(line["step"], line["rows_digest"], line["loss"]) for line in log(tmp_path / "cut")]


def test_a_finished_run_is_looked_up(made_job, tmp_path):
    first = run(made_job, tmp_path)
    lines = log(tmp_path)
    again = run(made_job, tmp_path)
    assert equal(weights(first), weights(again)) and log(tmp_path) == lines


def test_micro_batches_do_not_change_the_step(made_job, tmp_path):
    whole = run(made_job, tmp_path / "a", training={"steps": 1})
    cut = run(made_job, tmp_path / "b", training={"steps": 1, "batch_tokens": 200})
    assert largest_difference(whole, cut) < 1e-5
    assert not equal(weights(whole), weights(made_job.policy()))


def test_at_step_zero_the_policy_is_the_reference(made_job, tmp_path):
    run(made_job, tmp_path)
    first = log(tmp_path)[0]
    assert abs(first["log_ratio"]) < 1e-4
    assert set(first["sources"]) == {"human", "samples"}


def test_another_policy_than_the_scored_one_is_stopped_by_the_gate(made_job, tmp_path):
    job = made_job.training(tmp_path, SOURCES)
    with torch.no_grad():
        job.policy.model.get_input_embeddings().weight.mul_(1.5)
    with pytest.raises(TrainingError, match=r"step 0: .* trajectory [0-9a-f]{32}.*spo score"):
        train(job)


def test_a_loss_that_is_not_finite_names_the_rows(made_job, tmp_path):
    job = made_job.training(tmp_path, SOURCES)
    with torch.no_grad():
        job.policy.model.get_input_embeddings().weight.fill_(float("nan"))
    with pytest.raises(
        TrainingError, match=r"step 0: the loss of \d+ rows is not finite; trajectories [0-9a-f]{32}"
    ):
        train(job)


@pytest.mark.parametrize("shape", ["squared", "cross_entropy"])
def test_successes_gain_and_failures_lose_probability(made_job, tmp_path, shape):
    run(
        made_job, tmp_path, SOURCES[:1], objective=SpoSettings(shape=shape),
        training={"steps": 30, "checkpoint_every": 100},
    )  # fmt: skip
    lines = log(tmp_path)
    gap = [line["q_success"] - line["q_failure"] for line in lines]
    assert sum(gap[-5:]) / 5 > sum(gap[:5]) / 5 + 0.05


def test_half_online_run_resumes_without_a_row_lost_or_doubled(job, tmp_path):
    online = OnlineSettings(
        from_step=2,
        every=2,
        problems=2,
        sampling=SamplingSettings(samples_per_problem=2, max_new_tokens=12, batch_size=8),
    )
    sources = [
        *SOURCES,
        Source(name="online", where="j.run_id = 'run'", weight=[(0, 0.0), (2, 1.0)], window=8),
    ]
    problems = job.store.read("problems", ["problem_id", "statement", "split"])
    problems = problems.filter(problems["split"] == "train").sort("problem_id")

    def train_online(on_step=None):
        with Pool() as judges:
            fresh = FreshData(
                store=job.store, judges=judges, reference=job.policy(), problems=problems, settings=online,
                run_id="run", seed=0,
            )  # fmt: skip
            stream = job.stream(sources, run_id="run")
            return run(job, tmp_path / "run", sources, fresh=fresh, on_step=on_step, stream=stream)

    with pytest.raises(Killed):
        train_online(killed_after(3))
    logged = log(tmp_path / "run")
    policy = train_online()
    lines = log(tmp_path / "run")
    assert [line["sources"]["online"]["age_steps"] for line in lines[2:4]] == [0.0, 1.0]
    assert 0.0 <= lines[4]["sources"]["online"]["age_steps"] <= 2.0  # rows of steps 2 and 4
    assert [line["age_steps"] for line in lines[:2]] == [None, None]
    assert {line["sources"]["human"]["age_steps"] for line in lines} == {None}
    assert [line["rows_digest"] for line in log(tmp_path / "run")[:4]] == [
        line["rows_digest"] for line in logged
    ]
    rows = job.store.read("trajectories").filter(job.store.read("trajectories")["run_id"] == "run")
    assert (
        rows.height == rows["trajectory_id"].n_unique() == 2 * 2 * 2
    )  # rounds at steps 2 and 4, two problems, two samples
    assert sorted(rows["policy_step"].unique()) == [2, 4]
    # What is learned from is what was sampled: the policy's own tokens, without an end that a cut completion
    # never had.
    scored = job.store.read("reference_scores").join(
        rows.select("trajectory_id", "token_ids"), on="trajectory_id"
    )
    assert (
        scored.height == rows.height and scored["completion_ids"].to_list() == scored["token_ids"].to_list()
    )
    assert "length" in rows["finish_reason"].to_list()
    with Pool() as pool:
        held_out = problems.head(3)
        sampling = SamplingSettings(samples_per_problem=10, max_new_tokens=12)
        first = evaluate(job.store, pool, policy, "run", held_out, sampling)
        versions = job.store.pins()
        assert evaluate(job.store, pool, policy, "run", held_out, sampling) == first
    assert first.problems == 3 and first.samples == 30 and job.store.pins() == versions


def largest_difference(one, other):
    a, b = weights(one), weights(other)
    return max(float((a[name] - b[name]).abs().max()) for name in a)


def test_packed_rows_give_the_step_of_padded_ones(made_job, tmp_path):
    packed = {"layout": "packed", "row_tokens": 300, "batch_tokens": 600}
    one = run(made_job, tmp_path / "a", training={"steps": 2}, optimiser=SMOOTH)
    other = run(made_job, tmp_path / "b", training={"steps": 2, **packed}, optimiser=SMOOTH)
    assert largest_difference(one, made_job.policy()) > 1e-4
    assert largest_difference(one, other) < 1e-5


def test_recomputed_activations_and_the_fused_head_give_the_same_step(made_job, tmp_path):
    recomputing = {"steps": 2, "activation_checkpointing": True}
    plain = run(made_job, tmp_path / "a", training={"steps": 2}, optimiser=SMOOTH)
    recomputed = run(made_job, tmp_path / "b", training=recomputing, optimiser=SMOOTH)
    assert largest_difference(plain, recomputed) < 1e-6
    if has_fused_head():
        fused = run(made_job, tmp_path / "c", training={"steps": 2, "head": "fused"}, optimiser=SMOOTH)
        assert largest_difference(plain, fused) < 1e-5


def test_bf16_needs_scores_of_its_own_and_passes_the_gate_with_them(job, tmp_path):
    bf16 = {"steps": 2, "precision": "bf16", "gate_nats": 1e-3}
    with pytest.raises(TrainingError, match=r"step 0: .* above the gate"):
        run(job, tmp_path / "a", training=bf16)
    assert reference_fingerprint(job.policy(), "bf16") != reference_fingerprint(job.policy())
    score(job.store, job.policy(), precision="bf16")
    stream = job.stream(SOURCES, precision="bf16")
    policy = run(job, tmp_path / "b", training={**bf16, "gate_nats": 0.05}, stream=stream)
    assert policy.model.dtype == torch.float32 and not equal(weights(policy), weights(job.policy()))


def test_weights_in_bfloat16_learn_by_updates_smaller_than_their_spacing_and_resume(made_job, tmp_path):
    pytest.importorskip("torchao", reason="the extra `adam8bit` is not installed")
    halved = {"precision": "bf16-weights", "gate_nats": 0.05}
    job = made_job
    with pytest.raises(TrainingError, match=r"step 0: .* above the gate"):
        run(job, tmp_path / "a", training={**halved, "gate_nats": 1e-4})
    score(job.store, job.policy(), precision="bf16-weights")
    small = {"learning_rate": 1e-5, "schedule": "constant", "warmup_steps": 0}

    def trained(folder, **options):
        stream = job.stream(SOURCES, precision="bf16-weights")
        return run(job, tmp_path / folder, training=halved, optimiser=small, stream=stream, **options)

    whole = trained("whole")
    assert whole.model.dtype == torch.bfloat16
    start, end = weights(job.policy()), weights(load_policy(tmp_path / "whole" / "final"))
    moved = torch.cat([(end[name] - start[name].bfloat16().float()).flatten() for name in start])
    # Six steps of some 1e-5: nearest rounding would leave a weight of 0.02, whose neighbours are 6e-5 or
    # 1.2e-4 away, where it is. Stochastic rounding moves a share, and the mean by what was asked.
    assert 0.02 < float((moved != 0).float().mean()) < 0.98
    assert 1e-5 < float(moved.abs().mean()) < 1e-4
    with pytest.raises(Killed):
        trained("cut", on_step=killed_after(4))
    assert equal(weights(trained("cut")), weights(whole))


def test_lora_trains_adapters_only_is_merged_at_the_end_and_resumes_to_the_bit(made_job, tmp_path):
    pytest.importorskip("peft", reason="the extra `lora` is not installed")
    settings = {"lora": LoraSettings(rank=4, alpha=8), "learning_rate": 1e-2}
    whole = run(made_job, tmp_path / "whole", optimiser=settings)
    assert not [name for name in weights(whole) if "lora" in name]
    start, moved = weights(made_job.policy()), weights(whole)
    changed = {name for name in start if not torch.equal(start[name], moved[name])}
    assert changed and all(name.endswith("proj.weight") for name in changed)
    delta = moved["model.layers.0.mlp.up_proj.weight"] - start["model.layers.0.mlp.up_proj.weight"]
    assert int(torch.linalg.matrix_rank(delta, atol=1e-5)) <= 4
    with pytest.raises(Killed):
        run(made_job, tmp_path / "cut", on_step=killed_after(4), optimiser=settings)
    assert not list((tmp_path / "cut").glob("checkpoint-4/*.safetensors"))  # the adapter alone
    assert equal(weights(run(made_job, tmp_path / "cut", optimiser=settings)), moved)
    assert equal(weights(load_policy(tmp_path / "cut" / "final")), moved)


def test_adam_in_8_bits_learns_and_resumes_to_the_bit(made_job, tmp_path):
    pytest.importorskip("torchao", reason="the extra `adam8bit` is not installed")
    eight = {"kind": "adamw8bit"}
    whole = run(made_job, tmp_path / "whole", optimiser=eight)
    with pytest.raises(Killed):
        run(made_job, tmp_path / "cut", on_step=killed_after(4), optimiser=eight)
    assert equal(weights(run(made_job, tmp_path / "cut", optimiser=eight)), weights(whole))
    plain = run(made_job, tmp_path / "plain")
    assert 0 < largest_difference(whole, plain) < 6e-3  # six steps of at most 1e-3 each


def test_learning_rate_schedules():
    def rates(schedule, *steps):
        settings = OptimiserSettings(learning_rate=2.0, warmup_steps=4, final_share=0.1, schedule=schedule)
        return [rate_at(step, 100, settings) for step in steps]

    assert rates("constant", 0, 1, 50, 99, 100) == [0.5, 1.0, 2.0, 2.0, 2.0]
    assert rates("linear", 0, 1, 50, 99, 100) == pytest.approx([0.5, 0.991, 1.1, 0.218, 0.2])
    assert rates("cosine", 50, 100) == pytest.approx([1.1, 0.2])


def test_weights_changed_while_it_runs_are_logged_and_replayed(made_job, tmp_path):
    def ask(figures):
        if figures["step"] == 2:
            change_weights(tmp_path / "whole", {"human": 0.0})
        if figures["step"] == 4:
            change_weights(tmp_path / "whole", {"human": None, "samples": 0.0})

    whole = run(made_job, tmp_path / "whole", on_step=ask)
    lines = log(tmp_path / "whole")
    assert [set(line["sources"]) for line in lines[2:]] == [
        {"human", "samples"},
        {"samples"},
        {"samples"},
        {"human"},
    ]
    assert lines[3]["weights"] == {"human": 0.0, "samples": 0.5} and lines[5]["weights"] == {
        "human": 0.5,
        "samples": 0.0,
    }
    # As a kill after step 5 would leave it, with the checkpoint of step 2 only: the log is what is replayed,
    # not the file.
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    shutil.rmtree(tmp_path / "cut" / "final")
    shutil.rmtree(tmp_path / "cut" / "checkpoint-4")

    # A second time, before the run is where it was: what was logged of steps 3 to 5 still holds.
    with pytest.raises(Killed):
        run(made_job, tmp_path / "cut", on_step=killed_after(2))
    assert [line["step"] for line in log(tmp_path / "cut")] == [0, 1, 2]
    again = run(made_job, tmp_path / "cut")
    assert equal(weights(again), weights(whole))
    assert [line["rows_digest"] for line in log(tmp_path / "cut")] == [line["rows_digest"] for line in lines]
    assert not (tmp_path / "cut" / "replay.jsonl").exists()


def test_beta_follows_the_target_kl_and_a_resumed_run_follows_it_to_the_bit(made_job, tmp_path):
    parts = {
        "objective": SpoSettings(target_kl=5.0, beta_rate=0.1, kl_min_samples=1.0),
        "optimiser": {"learning_rate": 3e-3},
    }
    whole = run(made_job, tmp_path / "whole", **parts)
    lines = log(tmp_path / "whole")
    assert lines[0]["beta"] == 0.1 and abs(lines[0]["kl"]) < 1e-4
    for one, following in itertools.pairwise(lines):
        assert following["beta"] == pytest.approx(
            one["beta"] * math.exp(0.1 * max(-0.2, min(0.2, (one["kl"] - 5.0) / 5.0)))
            if one["kl_samples"] >= 1
            else one["beta"],
            rel=1e-6,
        )
    assert lines[-1]["beta"] < 0.1  # the policy is nearer to the reference than it may go

    with pytest.raises(Killed):
        run(made_job, tmp_path / "cut", on_step=killed_after(4), **parts)
    assert equal(weights(run(made_job, tmp_path / "cut", **parts)), weights(whole))
    assert [line["beta"] for line in log(tmp_path / "cut")] == [line["beta"] for line in lines]


def test_kl_estimate_by_hand():
    """pi on two outcomes, samples from mu: weights 0.8/0.5 and 0.2/0.5 on log ratios ln(0.8/0.6) and
    ln(0.2/0.4).
    """
    pi, mu, reference = (torch.tensor(p).log() for p in ([0.8, 0.2], [0.5, 0.5], [0.6, 0.4]))
    kl, samples = kl_estimate(pi - reference, reference, mu)
    assert kl == pytest.approx(0.8 * math.log(0.8 / 0.6) + 0.2 * math.log(0.5))
    assert samples == pytest.approx(4 / (1.6**2 + 0.4**2))
    assert kl_estimate(pi - reference, reference, torch.full((2,), math.nan)) == (None, 0.0)
    # pi/mu is 2, 8 and e^30; a weight is at most 10.
    log_ratio = torch.tensor([0.1, 0.2, 0.4])
    mu = -torch.tensor([2.0, 8.0, math.exp(30.0)]).log() + log_ratio
    kl, samples = kl_estimate(log_ratio, torch.zeros(3), mu)
    assert kl == pytest.approx((2 * 0.1 + 8 * 0.2 + 10 * 0.4) / 20)
    assert samples == pytest.approx(20**2 / (2**2 + 8**2 + 10**2))


def test_the_kl_of_rows_that_were_drawn_by_verdict():
    """An exact toy: 15 % of 4,000 outcomes by weight are right; 70 % right ones are drawn. The weights
    mu(verdict) / share(verdict) give the true KL, without them it is read as five times that or more.
    """
    generator = torch.Generator().manual_seed(0)
    right = torch.randperm(4000, generator=generator) < 400
    reference = torch.log_softmax(torch.randn(4000, generator=generator).double(), 0)
    mu, pi = (torch.log_softmax(reference + tilt * right.double(), 0) for tilt in (0.5, 1.0))
    true = float((pi.exp() * (pi - reference)).sum())
    rate = float(mu.exp()[right].sum())
    draw = partial(torch.multinomial, replacement=True, generator=generator)
    samples = torch.cat([draw(mu.exp() * right, 14_000), draw(mu.exp() * ~right, 6_000)])
    success, failure = selection_weights([SourceDraws(1.0, 0.7, rate)])
    assert (success, failure) == (pytest.approx(rate / 0.7), pytest.approx((1 - rate) / 0.3))
    weights = torch.where(right[samples], success, failure)
    chosen, _ = kl_estimate((pi - reference)[samples], reference[samples], mu[samples])
    assert chosen > 5 * true
    weighed, _ = kl_estimate((pi - reference)[samples], reference[samples], mu[samples], weights)
    assert weighed == pytest.approx(true, rel=0.1)


def test_weights_of_a_selection_by_hand():
    """Half the rows that are drawn are right, of policies that succeed at a tenth and at three tenths."""
    samples = [SourceDraws(0.25, 1.0, 0.1), SourceDraws(0.25, 0.0, 0.3), SourceDraws(0.0, 0.0, 0.0)]
    assert selection_weights(samples) == pytest.approx((0.4, 1.6))
    assert selection_weights([]) == selection_weights([SourceDraws(1.0, 0.2, 0.2)]) == (1.0, 1.0)
    # Without any failure, which are most of the samples, nothing can be said of them.
    assert all(map(math.isnan, selection_weights([SourceDraws(1.0, 1.0, 0.1)])))
    assert selection_weights([SourceDraws(1.0, 0.0, 0.04)]) == (1.0, 1.0)
    assert source_draws(0.5, np.array([True, False]), np.array([0.25, math.nan])) == (0.25, 1.0, 0.25)


def test_dropout_is_off_in_training():
    """GPT-2's own configuration drops a tenth of its states and of its attention."""
    config = AutoConfig.for_model(
        "gpt2", vocab_size=300, n_embd=64, n_layer=2, n_head=4, n_positions=64, eos_token_id=0, bos_token_id=0
    )
    policy = Policy(AutoModelForCausalLM.from_config(config), None, "plain")
    ids = torch.arange(1, 33)[None]
    before = policy.model.train()(ids).logits
    assert not torch.equal(before, policy.model.train()(ids).logits)
    prepare(policy, lora=None, activation_checkpointing=False)
    assert torch.equal(policy.model.train()(ids).logits, policy.model.eval()(ids).logits)


@pytest.mark.parametrize("limit", [{"max_log_ratio": 0.05}, {"max_loss": 1e-3}])
def test_an_outlier_stops_the_run_and_is_named(made_job, tmp_path, limit):
    name, value = next(iter(limit.items()))
    with pytest.raises(
        TrainingError, match=rf"step \d: .* is above {name} = {value}; trajectories [0-9a-f]{{32}} \(\w+, "
    ):
        run(made_job, tmp_path, training=limit, optimiser={"learning_rate": 1e-1})


def test_speed_memory_and_model_flops_are_logged(made_job, tmp_path):
    run(made_job, tmp_path, training={"steps": 1, "peak_flops": 1e12})
    line = log(tmp_path)[0]
    assert line["tokens_per_s"] == pytest.approx(line["tokens"] / line["seconds"])
    assert line["peak_memory_gb"] > 0.1 and 0 < line["mfu"] < 1


def test_model_flops_by_hand(made_job):
    """A layer of width 32: 4 x 32 x 32 for attention, 3 x 32 x 128 for the MLP, 64 for the norms; 32 for
    the last norm.
    """
    model = made_job.policy().model
    body = 2 * (4 * 32 * 32 + 3 * 32 * 128 + 64) + 32
    row = Row("t", "p", "s", [1] * 10, [2] * 5, 0.0, 0.0, 0.0)
    expected = 6 * body * 15 + 6 * model.config.vocab_size * 32 * 5 + 6 * 2 * 32 * 225
    assert model_flops(model, [row]) == expected


def test_tensorboard_files_hold_what_the_log_holds(made_job, tmp_path):
    pytest.importorskip("tensorboard", reason="the extra `tensorboard` is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run(made_job, tmp_path, training={"steps": 3, "loggers": ["tensorboard"]})
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    actual = [event.value for event in events.Scalars("sources/human/loss")]
    assert actual == pytest.approx([line["sources"]["human"]["loss"] for line in log(tmp_path)], rel=1e-6)


def test_the_mix_of_each_source_is_logged_as_the_store_has_it(made_job, tmp_path):
    """Verdicts, problems and distinct successes of the rows that an equal stream draws; entropy at every
    place, by hand.
    """
    run(made_job, tmp_path, training={"steps": 1, "entropy_tokens": 10**6})
    line, stream = log(tmp_path)[0], made_job.stream(SOURCES)
    stream.advance()
    rows = stream.batch(0)
    stored = made_job.store.read("verdicts", ["trajectory_id", "verdict"]).rows()
    verdicts, policy = dict(stored), made_job.policy()
    for name, actual in line["sources"].items():
        own = [row for row in rows if row.source == name]
        assert actual["verdicts"] == Counter(verdicts[row.trajectory_id] for row in own) and actual[
            "rows"
        ] == len(own)
        assert actual["problems"] == len({row.problem_id for row in own})
        correct = {(row.problem_id, *row.completion_ids.tolist()) for row in own if row.reward == 0}
        assert actual["distinct_correct"] == len(correct)
        means = []
        for row in own:
            ids = torch.tensor([[*row.prompt_ids.tolist(), *row.completion_ids.tolist()]])
            with torch.no_grad():
                logits = policy.model(ids).logits[0, len(row.prompt_ids) - 1 : -1]
            means.append(float(torch.distributions.Categorical(logits=logits).entropy().mean()))
        assert actual["token_entropy"] == pytest.approx(sum(means) / len(means), rel=1e-4)
    assert line["verdicts"] == dict(Counter(verdicts[row.trajectory_id] for row in rows))


def test_looking_at_the_entropy_does_not_change_the_run(made_job, tmp_path):
    looked, blind = (
        run(made_job, tmp_path / "a", training={"steps": 2}),
        run(made_job, tmp_path / "b", training={"steps": 2, "entropy_tokens": 0}),
    )
    assert equal(weights(looked), weights(blind))
    assert [line["token_entropy"] for line in log(tmp_path / "b")] == [None, None]
    assert all(0 < line["token_entropy"] < math.log(400) + 1 for line in log(tmp_path / "a"))


def test_likelihood_is_trained_on_rows_without_scores_and_resumes_to_the_bit(made_job, tmp_path):
    """No reference is known: no gate, no KL, no log-ratio; the likelihood of the rows rises."""
    parts = {
        "objective": SftSettings(),
        "training": {"steps": 20, "checkpoint_every": 8},
        "optimiser": {"learning_rate": 3e-3},
    }
    sources = [Source(name="right", where="j.origin = 'human' and j.verdict = 'accepted'", weight=1.0)]

    def unscored():
        return made_job.stream(sources, scored=False)

    whole = run(made_job, tmp_path / "whole", stream=unscored(), **parts)
    lines = log(tmp_path / "whole")
    assert lines[0]["loss"] == pytest.approx(math.log(len(made_job.policy().tokenizer)), rel=0.1)
    assert lines[-1]["loss"] < 0.8 * lines[0]["loss"]
    assert lines[0]["token_nll"] > lines[-1]["token_nll"] > 0
    for name in ("log_ratio", "max_log_ratio", "kl"):
        assert lines[0][name] is None
    assert "terminal_q" not in lines[0] and lines[0]["success_share"] == 1.0
    with pytest.raises(Killed):
        run(made_job, tmp_path / "cut", stream=unscored(), on_step=killed_after(10), **parts)
    assert equal(weights(run(made_job, tmp_path / "cut", stream=unscored(), **parts)), weights(whole))


@pytest.mark.parametrize(
    "name, scored, column",
    [("topr", False, "failure_weight"), ("asymre", True, "advantage"), ("astar_po", True, "residual")],
)
def test_rivals_train_on_the_rows_of_the_store(made_job, tmp_path, name, scored, column):
    """Each takes steps with finite losses, and logs its column."""
    sources = [
        Source(name="human", where="j.origin = 'human' and j.verdict = 'accepted'", weight=0.5),
        Source(name="samples", where="j.behaviour_logprob is not null", weight=0.5),
    ]
    settings = settings_class(name)(**({"drop_unsolved": False, "beta": 0.1} if name == "astar_po" else {}))
    parts = {"objective": settings, "training": {"steps": 20, "checkpoint_every": 10}}
    policy = run(made_job, tmp_path, stream=made_job.stream(sources, scored=scored), **parts)
    lines = log(tmp_path)
    assert all(math.isfinite(line["loss"]) and line[column] is not None for line in lines)
    assert not equal(weights(policy), weights(made_job.policy()))


def test_an_outlier_limit_without_a_meaning_is_refused(made_job, tmp_path):
    with pytest.raises(TrainingError, match="max_log_ratio: this objective uses no reference"):
        run(made_job, tmp_path, objective=SftSettings(), training={"max_log_ratio": 1.0})
