"""Training on a real store: the gate, resumption after a kill, micro-batches, and what a step moves."""

import json

import pytest
import torch

from sandbox import Pool
from trainer.evaluate import evaluate
from trainer.loop import TrainingError, TrainSettings, train
from trainer.online import FreshData, OnlineSettings
from trainer.rollout import SamplingSettings
from trainer.stream import Source

SOURCES = [
    Source(name="human", where="j.origin = 'human'", weight=0.5),
    Source(name="samples", where="j.policy_id = 'reference'", weight=0.5),
]
SETTINGS = TrainSettings(steps=6, checkpoint_every=2, learning_rate=1e-3, warmup_steps=1)


class Killed(Exception):
    """Stands for a process that ends between two steps."""


def weights(policy):
    return {name: tensor.clone() for name, tensor in policy.model.state_dict().items()}


def equal(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


def log(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("killed_after", [0, 1, 2, 4])
def test_a_killed_run_ends_with_the_same_weights_and_rows_to_the_bit(made_job, tmp_path, killed_after):
    whole = train(made_job.policy(), made_job.stream(SOURCES), SETTINGS, tmp_path / "whole")

    def kill(figures):
        if figures["step"] == killed_after:
            raise Killed

    with pytest.raises(Killed):
        train(made_job.policy(), made_job.stream(SOURCES), SETTINGS, tmp_path / "cut", on_step=kill)
    resumed = train(made_job.policy(), made_job.stream(SOURCES), SETTINGS, tmp_path / "cut")
    assert equal(weights(whole), weights(resumed))
    steps = [(line["step"], line["rows_digest"], line["loss"]) for line in log(tmp_path / "whole")]
    assert steps == [(line["step"], line["rows_digest"], line["loss"]) for line in log(tmp_path / "cut")]


def test_a_finished_run_is_looked_up(made_job, tmp_path):
    first = train(made_job.policy(), made_job.stream(SOURCES), SETTINGS, tmp_path)
    lines = log(tmp_path)
    again = train(made_job.policy(), made_job.stream(SOURCES), SETTINGS, tmp_path)
    assert equal(weights(first), weights(again)) and log(tmp_path) == lines


def test_micro_batches_do_not_change_the_step(made_job, tmp_path):
    one = SETTINGS.model_copy(update={"steps": 1})
    whole = train(made_job.policy(), made_job.stream(SOURCES), one, tmp_path / "a")
    cut = train(made_job.policy(), made_job.stream(SOURCES), one.model_copy(update={"batch_tokens": 200}), tmp_path / "b")
    a, b = weights(whole), weights(cut)
    assert max(float((a[name] - b[name]).abs().max()) for name in a) < 1e-5
    assert not equal(a, weights(made_job.policy()))


def test_at_step_zero_the_policy_is_the_reference(made_job, tmp_path):
    train(made_job.policy(), made_job.stream(SOURCES), SETTINGS, tmp_path)
    first = log(tmp_path)[0]
    assert abs(first["log_ratio"]) < 1e-4
    assert set(first["sources"]) == {"human", "samples"}


def test_another_policy_than_the_scored_one_is_stopped_by_the_gate(made_job, tmp_path):
    stranger = made_job.policy()
    with torch.no_grad():
        stranger.model.get_input_embeddings().weight.mul_(1.5)
    with pytest.raises(TrainingError, match=r"step 0: .* trajectory [0-9a-f]{32}.*spo score"):
        train(stranger, made_job.stream(SOURCES), SETTINGS, tmp_path)


def test_a_loss_that_is_not_finite_names_the_rows(made_job, tmp_path):
    broken = made_job.policy()
    with torch.no_grad():
        broken.model.get_input_embeddings().weight.fill_(float("nan"))
    with pytest.raises(TrainingError, match=r"step 0: the loss of \d+ rows is not finite; trajectories [0-9a-f]{32}"):
        train(broken, made_job.stream(SOURCES), SETTINGS, tmp_path)


@pytest.mark.parametrize("shape", ["squared", "cross_entropy"])
def test_successes_gain_and_failures_lose_probability(made_job, tmp_path, shape):
    settings = SETTINGS.model_copy(update={"steps": 30, "shape": shape, "checkpoint_every": 100})
    train(made_job.policy(), made_job.stream(SOURCES[:1]), settings, tmp_path)
    lines = log(tmp_path)
    gap = [line["q_success"] - line["q_failure"] for line in lines]
    assert sum(gap[-5:]) / 5 > sum(gap[:5]) / 5 + 0.05


def test_half_online_run_resumes_without_a_row_lost_or_doubled(job, tmp_path):
    online = OnlineSettings(
        from_step=2, every=2, problems=2, sampling=SamplingSettings(samples_per_problem=2, max_new_tokens=12, batch_size=8)
    )
    sources = [*SOURCES, Source(name="online", where="j.run_id = 'run'", weight=[(0, 0.0), (2, 1.0)], window=8)]
    problems = job.store.read("problems", ["problem_id", "statement", "split"])
    problems = problems.filter(problems["split"] == "train").sort("problem_id")

    def run(folder, on_step=None):
        with Pool() as pool:
            fresh = FreshData(job.store, pool, job.policy(), problems, online, "run", seed=0)
            return train(job.policy(), job.stream(sources), SETTINGS, folder, before_step=fresh.before_step, on_step=on_step)

    def kill(figures):
        if figures["step"] == 3:
            raise Killed

    with pytest.raises(Killed):
        run(tmp_path / "run", kill)
    logged = log(tmp_path / "run")
    policy = run(tmp_path / "run")
    assert [line["rows_digest"] for line in log(tmp_path / "run")[:4]] == [line["rows_digest"] for line in logged]
    rows = job.store.read("trajectories").filter(job.store.read("trajectories")["run_id"] == "run")
    assert rows.height == rows["trajectory_id"].n_unique() == 2 * 2 * 2  # rounds at steps 2 and 4, two problems, two samples
    assert sorted(rows["policy_step"].unique()) == [2, 4]
    with Pool() as pool:
        held_out = problems.head(3)
        sampling = SamplingSettings(samples_per_problem=10, max_new_tokens=12)
        first = evaluate(job.store, pool, policy, "run", held_out, sampling)
        versions = job.store.pins()
        assert evaluate(job.store, pool, policy, "run", held_out, sampling) == first
    assert first.problems == 3 and first.samples == 30 and job.store.pins() == versions
