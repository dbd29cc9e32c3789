"""The whole job through the real command, Prefect server and sandbox: from nothing, killed, again, and
once more.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from pipeline.dedup.deduplication import STATE
from pipeline.dedup.incremental import current_of
from pipeline.store.store import Store
from pipeline.store.tables import TABLES

pytestmark = pytest.mark.timeout(900)  # whole runs, on a machine that may do much else

SMALL = {
    "train_problems": 12,
    "earlier_problems": 6,
    "test_problems": 4,
    "seeds": 1,
    "earlier_steps": 4,
    "starter_limit": 30,
    "warm_start": {
        "rows": {"problems": "split = 'train'", "where": "j.origin = 'human'", "share": 0.5},
        "seed": 0,
        "model": {"layers": 2, "width": 32, "vocab_size": 400},
        "training": {"steps": 8, "batch_tokens": 1024},
    },
    "reference_sampling": {"samples_per_problem": 4, "max_new_tokens": 24},
    "earlier_sampling": {"samples_per_problem": 2, "max_new_tokens": 24},
    "evaluation": {"samples_per_problem": 10, "max_new_tokens": 24},
    "training": {"steps": 6, "checkpoint_every": 2},
    "optimiser": {"learning_rate": 1e-3},
    "online": {
        "from_step": 3,
        "every": 2,
        "problems": 4,
        "sampling": {"samples_per_problem": 2, "max_new_tokens": 24},
    },
}
FIELDS = {
    "read",
    "accepted",
    "quarantined",
    "labelled",
    "agreement",
    "pass1_before",
    "pass1_after",
    "pass10_before",
    "pass10_after",
    "seconds",
}


def start(folder: Path, *options: str) -> subprocess.Popen:
    (folder / "small.json").write_text(json.dumps(SMALL))
    # Prefect's settings of this process, or of a test before this one, are not the command's.
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    clean["SPO_DATA_DIR"] = str(folder / "data")
    command = [
        sys.executable,
        "-m",
        "flows",
        "demo",
        "--settings",
        str(folder / "small.json"),
        "--store",
        str(folder / "store"),
        "--json",
    ]
    log = open(folder / "log", "ab")  # noqa: SIM115 (the process writes to it after this returns)
    return subprocess.Popen([*command, *options], env=clean, stdout=subprocess.PIPE, stderr=log, text=True)


def finish(folder: Path, *options: str) -> dict:
    process = start(folder, *options)
    output, _ = process.communicate(timeout=800)
    assert process.returncode == 0, (folder / "log").read_text()[-3000:]
    return json.loads(output.splitlines()[-1])


def contents(store: Store) -> dict[str, set[tuple]]:
    """The keys of every table, each held once, and the clusters that hold now. In which pass over the
    programs a mark was made depends on when a run was killed, so pass numbers are left out, as are
    folders, which differ between runs."""
    actual = {}
    for name, table in TABLES.items():
        rows = store.read(name, table.key)
        assert rows.height == rows.unique().height, f"{name} holds a key twice"
        actual[name] = set(rows.drop("pass_number", "folder", strict=False).rows())
    actual["clusters"] = set(
        current_of(store.snapshot("duplicates").scan()).select("trajectory_id", *STATE).collect().rows()
    )
    return actual


def differences(one: dict[str, set[tuple]], other: dict[str, set[tuple]]) -> dict[str, list[tuple]]:
    """What only one of the two has, by table: a few rows of each, for a reader."""
    return {name: sorted(one[name] ^ other[name], key=str)[:6] for name in one if one[name] != other[name]}


def wait_for_rollouts(process: subprocess.Popen, store: Store) -> None:
    """Until fresh trajectories are in the store, or the process has ended."""
    while process.poll() is None:
        if (
            store.snapshot("trajectories")
            .scan()
            .filter(pl.col("origin") == "online")
            .select(pl.len())
            .collect()
            .item()
        ):
            return
        time.sleep(0.05)


@pytest.fixture(scope="module")
def first_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    return folder, finish(folder)


def test_from_nothing_to_a_report(first_run):
    folder, outcome = first_run
    assert set(outcome) >= FIELDS
    assert outcome["read"] == outcome["accepted"] + outcome["quarantined"] > 150
    assert outcome["agreement"] == 1.0  # the claims of the starter set are true
    assert 0 <= outcome["pass1_after"] <= outcome["pass10_after"] <= 1
    report = Path(outcome["report"]).read_text()
    assert report.startswith("<!doctype html>") and "Did training help?" in report
    store = Store(folder / "store")
    assert set(store.read("trajectories")["origin"]) == {"human", "earlier_training", "online"}
    assert store.read("corpora").height == 1 and store.read("evaluations").height == 2 * 4


def test_every_stage_is_a_flow_in_prefect(first_run):
    folder, _ = first_run
    with sqlite3.connect(folder / "data" / "prefect" / "prefect.db") as database:
        rows = database.execute(
            "select f.name, r.state_name from flow_run r join flow f on f.id = "
            "r.flow_id where f.name <> 'maintain'"
        ).fetchall()
    names = {
        "demo",
        "ingest",
        "deduplicate",
        "label",
        "warm-start",
        "rollout",
        "score",
        "publish-corpus",
        "train",
        "evaluate",
        "report",
    }
    assert {name for name, _ in rows} == names
    assert {state for name, state in rows if name not in ("label", "deduplicate")} == {"Completed"}
    # A second labelling or deduplication of a stage may find nothing to do.
    assert {state for name, state in rows if name in ("label", "deduplicate")} <= {"Completed", "Cached"}


@pytest.mark.slow
def test_a_second_run_adds_no_row_and_redoes_nothing(first_run):
    folder, outcome = first_run
    store = Store(folder / "store")
    before, versions = contents(store), store.pins()
    again = finish(folder)
    assert store.pins() == versions and not differences(contents(store), before)
    assert {k: v for k, v in again.items() if k != "seconds"} == {
        k: v for k, v in outcome.items() if k != "seconds"
    }


def ends_as(first_run, folder: Path) -> None:
    """The same command once more: it must leave what the run that nothing stopped has left."""
    whole, outcome = first_run
    ended = finish(folder)
    same = FIELDS - {"seconds"}
    assert {k: ended[k] for k in same} == {k: outcome[k] for k in same}
    assert not differences(contents(Store(folder / "store")), contents(Store(whole / "store")))


def interrupt(folder: Path) -> None:
    """Ctrl-C as soon as there are verdicts: it ends at once and says how to go on."""
    process = start(folder)
    while not list(folder.glob("store/verdicts/**/*.parquet")):
        assert process.poll() is None, (folder / "log").read_text()[-3000:]
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=800)
    said = (folder / "log").read_text()
    assert process.returncode == 130
    assert said.splitlines()[-1] == "interrupted; the same command resumes"
    assert "Traceback" not in said and "leaked" not in said


def kill(process: subprocess.Popen) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


@pytest.mark.slow
def test_interrupted_and_killed_it_goes_on_and_ends_the_same(first_run, tmp_path):
    """Ctrl-C while it labels, and kill -9 in the midst of training with fresh rows in the store."""
    interrupt(tmp_path)
    process = start(tmp_path)
    wait_for_rollouts(process, Store(tmp_path / "store"))
    kill(process)
    ends_as(first_run, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_at_random_moments_it_goes_on_and_ends_the_same(first_run, tmp_path):
    """Four kill -9, each after a random share of a whole run's time."""
    _, outcome = first_run
    dice = random.Random(7)
    for _ in range(4):
        process = start(tmp_path)
        time.sleep(dice.uniform(0.2, 0.8) * outcome["seconds"])
        kill(process)
    ends_as(first_run, tmp_path)
