"""Published policies, the choice of problems, and rollout workers that share nothing with the trainer but
the store.
"""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest

from pipeline.labelling.labeller import label
from pipeline.store.contracts import Evaluations
from pipeline.store.store import Store
from sandbox import Pool
from trainer.data import Source
from trainer.distributed import SINGLE, SingleLearner, SingleProcess
from trainer.policies.policy import load_policy
from trainer.policies.publishing import (
    PolicyNotFound,
    Publisher,
    find_policy,
    is_finished,
    newest_policy,
    newest_published,
    publish_policy,
)
from trainer.policies.reference import score
from trainer.policies.sealed import numbered
from trainer.rollouts.choosing import WATERMARK_TABLES, choose_problems, problem_counts, success_variance
from trainer.rollouts.generation import SamplingSettings
from trainer.rollouts.worker import RolloutWorker, WorkerSettings
from trainer.run import train

HUMAN = Source(name="human", where="j.origin = 'human'", weight=0.5)
TINY = SamplingSettings(samples_per_problem=2, max_new_tokens=12)


class Killed(Exception):
    """Stands for a process that ends between two steps."""


def train_run(
    job, folder, *, sources=(HUMAN,), follow_every=None, publisher=Publisher, on_step=None, ranks=SINGLE,
    **training,
):  # fmt: skip
    settings = {"steps": 6, "checkpoint_every": 3, "publish_every": 1, **training}
    stream = job.stream(list(sources), follow_every=follow_every)
    part = job.training(folder, [], stream=stream, training=settings, on_step=on_step, ranks=ranks)
    part.publisher = publisher(job.store, "run", "reference", part.settings.publish_keep)
    return train(part)


def published(store: Store) -> list[str]:
    return store.read("policies").filter(pl.col("run_id") == "run").sort("step")["policy_id"].to_list()


def test_policies_are_published_once_through_a_kill_and_old_weights_go(job, tmp_path):
    def kill(figures):
        if figures["step"] == 4:
            raise Killed

    with pytest.raises(Killed):
        train_run(job, tmp_path / "run", on_step=kill)
    assert published(job.store) == ["run@1", "run@2", "run@3", "run@4"]
    evaluated = {
        "policy_id": "run@2",
        "problem_id": "p",
        "settings": "{}",
        "split": "train",
        "samples": 1,
        "correct": 0,
        "distinct_correct": 0,
        "judge_errors": 0,
        "evaluated_at": pl.Series([0]).cast(pl.Datetime("us", "UTC"))[0],
    }
    rows = pl.DataFrame(
        [evaluated], schema_overrides={k: Evaluations.create_empty().schema[k] for k in evaluated}
    )
    job.store.append("evaluations", rows, producer="eval", sequence=0)
    job.store.pin("policy/run@3", {})
    before = load_policy(tmp_path / "run" / "policy-4").fingerprint()
    train_run(job, tmp_path / "run", publish_keep=1)  # steps 3 and 4 are repeated from the checkpoint
    assert published(job.store) == [f"run@{step}" for step in range(1, 6)]
    assert [folder.name for folder in numbered(tmp_path / "run", "policy")] == [
        "policy-2",
        "policy-3",
        "policy-5",
    ]
    fingerprints = job.store.read("policies").filter(pl.col("policy_id") == "run@4")["details"]
    assert json.loads(fingerprints[0])["fingerprint"] == before
    assert [path.name for path in (tmp_path / "run").glob(".*")] == [".lock"]
    newest = newest_policy(job.store, "run")
    assert (newest.policy_id, newest.step, newest.parent_id) == ("run@5", 5, "reference")
    publish_policy(job.store, job.policy(), None, policy_id="sampled and dropped")
    assert newest_published(job.store) == newest
    assert find_policy(job.store, "run") == newest and find_policy(job.store, "run@2").step == 2
    assert find_policy(job.store, str(job.folder)).policy_id == str(job.folder).strip(
        "/"
    )  # a copy of the published folder
    with pytest.raises(PolicyNotFound, match="policy run@4 is published, but its weights are no longer in"):
        find_policy(job.store, "run@4")
    with pytest.raises(PolicyNotFound, match=r"no policy, run or folder nothing; published last: .*run@5"):
        find_policy(job.store, "nothing")


class KilledBeforeItPublished(Publisher):
    def publish(self, step, folder):
        if step == 3:
            raise Killed
        super().publish(step, folder)


class LearnerKilledBeforeItSaved(SingleLearner):
    def save_checkpoint(self, *arguments):
        raise Killed


class KilledBeforeItSaved(SingleProcess):
    def start(self, *arguments):
        learner, state = super().start(*arguments)
        return LearnerKilledBeforeItSaved(learner.policy, learner.optimiser), state


@pytest.mark.parametrize("killed", [{"publisher": KilledBeforeItPublished}, {"ranks": KilledBeforeItSaved()}])
def test_a_kill_between_checkpoint_and_publication_loses_neither(job, tmp_path, killed):
    """Step 3 is both saved and published; whichever of the two a kill prevents is made up for."""
    with pytest.raises(Killed):
        train_run(job, tmp_path / "run", steps=4, **killed)
    train_run(job, tmp_path / "run", steps=4)
    assert published(job.store) == ["run@1", "run@2", "run@3"]
    assert load_policy(tmp_path / "run" / "policy-3").fingerprint() == fingerprint_of(job.store, "run@3")
    assert (tmp_path / "run" / "checkpoint-3").exists()


def fingerprint_of(store: Store, policy_id: str) -> dict:
    details = store.read("policies").filter(pl.col("policy_id") == policy_id)["details"]
    return json.loads(details.item())["fingerprint"]


COUNTS = pl.DataFrame(
    {
        "problem_id": [f"p{i:02}" for i in range(40)],
        "difficulty": [None] * 40,
        "trials": [8] * 20 + [0] * 20,
        "successes": [4] * 10 + [0] * 10 + [0] * 20,
        "attempts": [10] * 30 + [3] * 10,
        "solved": [5] * 20 + [0] * 20,
    },
    schema_overrides={"difficulty": pl.String},
)


def ids(frame: pl.DataFrame) -> list[str]:
    return frame["problem_id"].to_list()


def test_a_choice_is_a_function_of_seed_round_and_counts():
    for choice in ("uniform", "difficulty", "uncertainty", "unsolved"):
        one = ids(choose_problems(COUNTS, choice, 7, seed=1, round_number=3))
        assert one == ids(choose_problems(COUNTS, choice, 7, seed=1, round_number=3)) and len(set(one)) == 7
        assert one != ids(choose_problems(COUNTS, choice, 7, seed=2, round_number=3))
        assert one != ids(choose_problems(COUNTS, choice, 7, seed=1, round_number=4))
        assert sorted(ids(choose_problems(COUNTS, choice, 99, seed=1, round_number=0))) == ids(COUNTS)


def test_uniform_workers_pass_through_all_problems_without_meeting():
    rounds = [
        ids(choose_problems(COUNTS, "uniform", 5, seed=0, round_number=turn, worker=worker, workers=2))
        for turn in range(4)
        for worker in (0, 1)
    ]
    assert sorted(problem for one in rounds for problem in one) == ids(COUNTS)
    across = [ids(choose_problems(COUNTS, "uniform", 35, seed=0, round_number=turn)) for turn in range(8)]
    assert all(len(set(one)) == len(one) for one in across) and min(map(len, across)) < 35


def test_uncertain_problems_come_more_often_in_the_ratio_of_their_variances():
    variance = success_variance(COUNTS)
    # Beta(1/2, 1/2): 1/8. Beta(4.5, 4.5): 1/40. Beta(1/2, 8.5): 4.25 / 810.
    assert variance[[0, 10, 20]] == pytest.approx([1 / 40, 4.25 / 810, 1 / 8])
    first = [
        ids(choose_problems(COUNTS, "uncertainty", 1, seed=0, round_number=turn))[0] for turn in range(2000)
    ]
    counts = np.array([sum(name == problem for name in first) for problem in ids(COUNTS)])
    expected = variance / variance.sum()
    for group in (slice(0, 10), slice(10, 20), slice(20, 40)):
        share = expected[group].sum()
        assert abs(counts[group].sum() / 2000 - share) < 4 * (share * (1 - share) / 2000) ** 0.5


def test_unsolved_problems_come_first_and_of_these_the_least_tried():
    order = ids(choose_problems(COUNTS, "unsolved", 40, seed=0, round_number=0))
    assert sorted(order[:10]) == ids(COUNTS)[30:] and sorted(order[10:20]) == ids(COUNTS)[20:30]


def test_every_level_of_difficulty_gets_as_many():
    named = COUNTS.with_columns(difficulty=pl.Series(["easy"] * 30 + ["hard"] * 8 + [None] * 2))
    chosen = choose_problems(named, "difficulty", 6, seed=0, round_number=0)
    assert chosen["difficulty"].fill_null("none").value_counts(sort=True)["count"].to_list() == [2, 2, 2]
    measured = choose_problems(
        COUNTS, "difficulty", 8, seed=0, round_number=0
    )  # no names: quarters of the measured rate
    rates = ((measured["solved"] + 0.5) / (measured["attempts"] + 1)).to_list()
    assert sum(rate > 0.4 for rate in rates) == 4


def worker(job, number=0, **changes):
    settings = {"run": "run", "problems": 3, "sampling": TINY, "workers": 2, "worker": number, **changes}
    return RolloutWorker(Store(job.store.location), WorkerSettings(**settings))


def test_workers_sample_the_newest_policy_and_a_restarted_one_goes_on(job, tmp_path):
    assert worker(job).work().reason == "run run has published no policy yet"
    publish_policy(
        job.store, job.policy(), job.folder, policy_id="run@0", run_id="run", step=0, parent_id="reference"
    )
    first, second = worker(job), worker(job, 1)
    assert (first.work().rows, second.work().rows) == (6, 6)
    train_run(job, tmp_path / "run", steps=3)
    assert first.work().details["policy"] == "run@2"
    restarted = worker(job).work()
    assert restarted.details["round"] == 2 and restarted.rows == 6
    rows = job.store.read("trajectories").filter(pl.col("run_id") == "run")
    assert rows.height == rows["trajectory_id"].n_unique() == 24
    assert sorted(rows["batch_id"].unique()) == [
        f"run/worker-{name}" for name in ("0/round-0", "0/round-1", "0/round-2", "1/round-0")
    ]
    assert sorted(rows["policy_step"]) == [0] * 12 + [2] * 12
    assert set(rows["origin"]) == {"online"} and rows["behaviour_logprob"].null_count() == 0
    chosen = [set(rows.filter(pl.col("batch_id") == f"run/worker-{w}/round-0")["problem_id"]) for w in (0, 1)]
    assert len(chosen[0] | chosen[1]) == 6
    with Pool() as pool:
        label(job.store, pool)
    assert (
        problem_counts(job.store, "split = 'train'", "reference", job.store.pins(list(WATERMARK_TABLES)))[
            "attempts"
        ].sum()
        > 24
    )
    publish_policy(job.store, job.policy(), job.folder, policy_id="run", run_id="run", step=3)
    assert is_finished(job.store, "run") and first.work().finished


def test_a_worker_does_not_run_ahead_of_grader_and_trainer(job, tmp_path):
    publish_policy(
        job.store, job.policy(), job.folder, policy_id="run@0", run_id="run", step=0, parent_id="reference"
    )
    held = worker(job, max_waiting=6)
    assert held.work().rows == 6 and held.work().reason == "6 rollouts wait for a verdict"
    with Pool() as pool:
        label(job.store, pool)
    assert held.work().rows == 6
    bounded = worker(job, max_per_policy=12)
    assert bounded.work().reason == "12 rollouts of run@0 are there; waiting for a newer policy"
    train_run(job, tmp_path / "run", steps=2)
    assert bounded.work().rows == 6


def test_a_worker_started_twice_doubles_nothing(job):
    publish_policy(
        job.store, job.policy(), job.folder, policy_id="run@0", run_id="run", step=0, parent_id="reference"
    )
    one, twin = worker(job), worker(job)
    twin.store.last_sequence = lambda *_: -1  # the state it saw before the other committed
    assert one.work().rows == 6
    assert twin.work().reason == "another worker 0 has made round 0"
    assert job.store.read("trajectories").filter(pl.col("run_id") == "run").height == 6


def test_the_trainer_follows_rows_that_others_add(job, tmp_path):
    """`follow_every` takes in what a worker, a grader and a scorer add, at its turns only; a replay is the
    same.
    """
    publish_policy(
        job.store, job.policy(), job.folder, policy_id="run@0", run_id="run", step=0, parent_id="reference"
    )
    fresh = Source(
        name="fresh", where="j.origin = 'online' and j.run_id = 'run'", weight=0.5, when_empty="others"
    )

    def others(figures):
        if figures["step"] in (0, 3):
            assert worker(job).work().rows == 6
            with Pool() as pool:
                label(job.store, pool)
            score(job.store, job.policy())

    train_run(job, tmp_path / "run", on_step=others, sources=(HUMAN, fresh), follow_every=2)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["sources"].get("fresh", {}).get("rows", 0) for line in lines] == [0, 0, 4, 4, 4, 4]
    versions = [line["watermark"]["trajectories"] for line in lines]
    assert versions == [versions[0]] * 2 + [versions[0] + 1] * 2 + [versions[0] + 2] * 2
    replayed = job.store.read("policies").height
    (tmp_path / "run" / "final").rename(tmp_path / "final")
    train_run(job, tmp_path / "run", sources=(HUMAN, fresh), follow_every=2)
    again = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["rows_digest"] for line in again] == [line["rows_digest"] for line in lines]
    assert job.store.read("policies").height == replayed
