"""Rollout worker, grader and scorer beside a training run, and the ledger that says whether anything was
lost or doubled.
"""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from flows.cli import app
from flows.serving.following import LONGEST_WAIT_S, STORE_ATTEMPTS, Grader, Scorer, follow
from pipeline.store.ledger import check_ledger
from pipeline.store.store import Store, StoreError
from sandbox import Pool
from trainer.policies.policy import load_policy
from trainer.policies.publishing import publish_policy
from trainer.policies.reference import score
from trainer.rollouts.generation import SamplingSettings
from trainer.rollouts.worker import Outcome, RolloutWorker, WorkerSettings

STARTER = Path(__file__).parents[2] / "data" / "starter"
TINY = SamplingSettings(samples_per_problem=2, max_new_tokens=12)


@pytest.fixture(scope="module")
def made(sampled_store, tmp_path_factory):
    """A store with a reference policy that is sampled, labelled and scored."""
    folder = tmp_path_factory.mktemp("rollouts")
    score(sampled_store(folder), load_policy(folder / "reference"))
    return folder


@pytest.fixture
def place(made, tmp_path):
    import shutil

    shutil.copytree(made, tmp_path / "place")
    return tmp_path / "place"


def test_following_backs_off_while_idle_and_starts_anew_with_work():
    script = (
        [Outcome(reason="idle")] * 7
        + [Outcome(rows=3)]
        + [Outcome(reason="idle")] * 2
        + [Outcome(finished=True, reason="done")]
    )
    steps, waits = iter(script), []
    said = [(outcome.rows, outcome.reason) for outcome in follow(lambda: next(steps), wait=waits.append)]
    assert said == [(0, "idle"), (3, ""), (0, "idle"), (0, "done")]
    assert waits == [0.25, 0.5, 1, 2, 4, 8, LONGEST_WAIT_S, 0.25, 0.5]


def test_a_store_that_is_away_is_asked_again_and_then_reported():
    def away():
        raise StoreError("verdicts: cannot read s3://there")

    waits = []
    with pytest.raises(StoreError, match="cannot read s3://there"):
        list(follow(away, wait=waits.append))
    assert len(waits) == STORE_ATTEMPTS - 1


def test_worker_grader_and_scorer_follow_each_other_through_the_store(place):
    store, reference = Store(place / "store"), load_policy(place / "reference")
    publish_policy(
        store, reference, place / "reference", policy_id="run@0", run_id="run", step=0, parent_id="reference"
    )
    worker = RolloutWorker(
        Store(place / "store"), WorkerSettings(run="run", problems=3, sampling=TINY, max_per_policy=12)
    )
    scorer = Scorer(Store(place / "store"), reference, max_tokens=512, until="run")
    with Pool(1) as pool:
        grader = Grader(Store(place / "store"), pool, until="run")
        assert grader.work().rows == 0 and scorer.work().rows == 0  # everything there was labelled before
        assert [worker.work().rows for _ in range(3)] == [6, 6, 0]
        assert grader.work().rows == 12 and scorer.work().rows == 12
        assert grader.work().rows == 0
        assert not grader.work().finished
        publish_policy(
            store,
            reference,
            place / "reference",
            policy_id="run",
            run_id="run",
            step=3,
            parent_id="reference",
        )
        assert worker.work().finished and grader.work().finished and scorer.work().finished
    assert vars(check_ledger(store)) == {"doubled": 0, "lost": 0, "judge_errors_as_rewards": 0, "details": {}}


def test_the_ledger_sees_what_is_doubled_and_what_is_lost(place):
    store = Store(place / "store")
    rows = store.read("trajectories").filter(pl.col("batch_id") == "samples")
    store.append("trajectories", rows.head(2), producer="again", sequence=0)
    assert check_ledger(store).details == {"doubled: trajectories": 2}
    gap = rows.head(1).with_columns(
        trajectory_id=pl.lit("t"),
        batch_id=pl.lit("run/worker-0/round-2"),
        sample_index=pl.lit(1, dtype=pl.Int32),
    )
    store.append("trajectories", gap, producer="rollout/run/worker-0", sequence=2)
    orphan = store.read("verdicts").head(1).with_columns(trajectory_id=pl.lit("nobody"))
    store.append("verdicts", orphan, producer="orphan", sequence=0)
    batch = (
        store.read("batches")
        .head(1)
        .with_columns(pl.lit("b").alias("batch_id"), pl.col("accepted") + 5, pl.col("read") + 5)
    )
    store.append("batches", batch, producer="batch", sequence=0)
    actual = check_ledger(store)
    assert actual.details == {
        "doubled: trajectories": 2,
        "lost: trajectories of verdicts": 1,
        "lost: rollout run/worker-0/round-2": 1,
        "lost: rounds of run/worker-0": 2,
        "lost: batch b": batch["accepted"][0],
    }
    assert actual.lost == 4 + batch["accepted"][0]
    command = CliRunner().invoke(app, ["store", "ledger", "--store", str(place / "store"), "--json"])
    assert command.exit_code == 1
    assert json.loads(command.stdout) == vars(actual)
    assert "lost: rounds of run/worker-0: 2 rows\n" in command.stderr
