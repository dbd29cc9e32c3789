"""`spo rollout`, `spo search` and `spo eval` as a person gives them, against a real Prefect server."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from pipeline.ingest.ingestion import ingest
from pipeline.labelling.labeller import label
from pipeline.store.store import Store
from sandbox import Pool
from trainer.policies.policy import new_policy
from trainer.policies.publishing import publish_policy

STARTER = Path(__file__).parents[2] / "data" / "starter"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("commands")
    store = Store(folder / "store")
    ingest(store, "plain", str(STARTER), limit=4)
    with Pool() as pool:
        label(store, pool)
    texts = store.read("trajectories")["program"].sort().to_list()
    for seed in (1, 2):
        policy = new_policy(texts, vocab_size=400, layers=1, width=32, seed=seed)
        policy.save(folder / f"policy-{seed}")
        publish_policy(
            store, policy, folder / f"policy-{seed}", policy_id=f"policy-{seed}", run_id="run", step=seed
        )
    return folder


def spo(server, folder, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "flows", *arguments, "--store", str(folder / "store")],
        env=server.environment(),
        capture_output=True,
        text=True,
        timeout=600,
    )


def answer(server, folder, *arguments):
    done = spo(server, folder, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_rollouts_and_searches_are_done_once(place, server):
    short = ("--max-new-tokens", "8", "--problems", "split = 'train'")
    actual = answer(server, place, "rollout", "run", "--samples", "3", "--count", "2", *short)
    assert actual["policy"] == "policy-2" and actual["sampled"] == 6  # the run's newest
    again = answer(server, place, "rollout", "run", "--samples", "3", "--count", "2", *short)
    assert (again["sampled"], again["rollout"]) == (0, actual["rollout"])
    searched = answer(
        server, place, "search", "temperatures", "policy-1", "--temperature", "0.5", "--samples", "2", *short
    )
    rows = Store(place / "store").read("trajectories").filter(pl.col("batch_id") == searched["search"])
    assert searched["trajectories"] == rows.height > 0 and set(rows["temperature"]) == {0.5}
    unknown = spo(server, place, "rollout", "nobody", *short)
    assert (
        unknown.returncode == 1
        and "no policy, run or folder nobody; published last: policy-1, policy-2" in unknown.stderr
    )
    assert spo(server, place, "rollout", "run", "--follow", "--worker", "2/2").returncode == 2
    followed = spo(server, place, "rollout", "run", "--follow", "--server", "http://127.0.0.1:9")
    assert followed.returncode == 2 and "run@STEP" in followed.stderr


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_policies_are_evaluated_and_compared(place, server):
    which = ("--problems", "split <> 'none'", "--samples", "10", "--max-new-tokens", "8")
    actual = answer(server, place, "eval", "policy-1", "policy-2", *which)
    assert [each["policy_id"] for each in actual] == ["policy-1", "policy-2"]
    assert (
        actual[0]["pass_at_10"]["mean"] == 0.0
        and actual[0]["token_entropy"] > 0
        and actual[0]["pass_at_100"] is None
    )
    shown = spo(server, place, "eval", "policy-1", *which).stdout
    assert "pass@10" in shown and "token entropy" in shown and "starter" in shown
    compared = spo(server, place, "eval", "--compare", "policy-1", "policy-2").stdout
    assert "pass@1 " in compared and "[+0.000, +0.000]" in compared
    missing = spo(server, place, "eval", "--compare", "policy-1", "policy-3")
    assert missing.returncode == 1 and "policy policy-3 has no evaluation" in missing.stderr
