"""The loop as separate processes that share only the store; each is killed and started again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest

from pipeline.labelling.labeller import label
from pipeline.store.ledger import check_ledger
from pipeline.store.store import Store
from sandbox import Pool
from trainer.policies.policy import load_policy
from trainer.policies.reference import score

STARTER = Path(__file__).parents[2] / "data" / "starter"
DEADLINE_S = 400  # for each step, on a machine that does much else
# From step 8 on the run needs fresh rows: without a worker it stops there, whatever the speed of the machine.
CONFIG = """
run = "{folder}/run"
store = "{folder}/store"
reference = "{folder}/reference"
[training]
steps = 24
checkpoint_every = 4
publish_every = 4
[optimiser]
learning_rate = 1e-3
[mixture]
batch_sequences = 8
follow_every = 2
[[source]]
name = "human"
where = "j.origin = 'human'"
weight = 0.5
[[source]]
name = "fresh"
where = "j.origin = 'online' and j.run_id = 'run'"
weight = [[0, 0.0], [8, 0.5]]
"""


@pytest.fixture
def place(sampled_store, tmp_path):
    store = sampled_store(tmp_path, origin="online")
    score(store, load_policy(tmp_path / "reference"))
    (tmp_path / "run.toml").write_text(CONFIG.format(folder=tmp_path))
    return tmp_path


class Processes:
    """Commands in processes of their own; whatever happens, none outlives the test."""

    def __init__(self, folder: Path):
        self.folder, self.started = folder, list[subprocess.Popen]()
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")} | {
            "SPO_DATA_DIR": str(folder),
            "OMP_NUM_THREADS": "1",
        }

    def start(self, *arguments: str) -> subprocess.Popen:
        log = open(self.folder / f"{len(self.started)}-{arguments[0]}.log", "w")  # noqa: SIM115 (the process keeps it)
        command = [sys.executable, "-m", "flows", *arguments, "--store", str(self.folder / "store")]
        if arguments[0] == "train":
            command = command[:-2]
        process = subprocess.Popen(
            command, stdout=log, stderr=log, env=self.environment, start_new_session=True
        )
        process.log = Path(log.name)  # type: ignore[attr-defined]
        self.started.append(process)
        return process

    def wait(self, done: Callable[[], bool], *running: subprocess.Popen) -> None:
        """Until something holds; one of `running` that fails first ends the test with what it said."""
        deadline = time.monotonic() + DEADLINE_S
        while not done():
            for process in running:
                assert process.poll() in (None, 0), process.log.read_text()  # type: ignore[attr-defined]
            logs = "\n".join(path.read_text()[-500:] for path in self.folder.glob("*.log"))
            assert time.monotonic() < deadline, logs
            time.sleep(0.05)

    def kill(self, process: subprocess.Popen) -> None:
        process.send_signal(signal.SIGKILL)
        process.wait()

    def end(self) -> None:
        for process in self.started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


@pytest.fixture
def processes(place) -> Iterator[Processes]:
    made = Processes(place)
    yield made
    made.end()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_trainer_worker_grader_and_scorer_survive_kills_and_lose_nothing(place, processes):
    store = Store(place / "store")

    def mine() -> pl.DataFrame:
        return store.read("trajectories", ["trajectory_id", "run_id"]).filter(pl.col("run_id") == "run")

    def done_of(table: str) -> int:
        return mine().join(store.read(table, ["trajectory_id"]), on="trajectory_id", how="semi").height

    def rounds() -> int:
        return store.last_sequence("trajectories", "rollout/run/worker-0") + 1

    rollout_command = (
        "rollout",
        "run",
        "--follow",
        "--count",
        "3",
        "--samples",
        "2",
        "--max-new-tokens",
        "12",
        "--max-per-policy",
        "18",
        "--max-waiting",
        "12",
    )
    grader_command = ("label", "--follow", "--until", "run", "--workers", "1")
    scorer_command = ("score", str(place / "reference"), "--follow", "--until", "run")
    metrics = place / "run" / "metrics.jsonl"

    trainer = processes.start("train", str(place / "run.toml"))
    worker = processes.start(*rollout_command)
    processes.wait(lambda: metrics.exists() and metrics.read_text().count("\n") >= 2, worker)
    processes.kill(trainer)
    processes.wait(lambda: rounds() >= 1, worker)
    processes.kill(worker)

    trainer, worker = processes.start("train", str(place / "run.toml")), processes.start(*rollout_command)
    grader = processes.start(*grader_command)
    processes.wait(
        lambda: trainer.poll() is not None, worker, grader
    )  # without a scorer there is nothing fresh to draw
    assert "source fresh has no rows" in trainer.log.read_text()
    processes.wait(lambda: done_of("verdicts") > 0, worker, grader)
    processes.kill(grader)
    scorer = processes.start(*scorer_command)
    processes.wait(lambda: done_of("reference_scores") > 0, worker, scorer)
    processes.kill(scorer)

    grader, scorer = processes.start(*grader_command), processes.start(*scorer_command)
    trainer = processes.start("train", str(place / "run.toml"))
    everything = (trainer, worker, grader, scorer)
    processes.wait(lambda: all(process.poll() is not None for process in everything), *everything)

    lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(24))
    assert all(("fresh" in line["sources"]) == (line["step"] >= 8) for line in lines)
    with Pool(1) as pool:  # a last round may have come after the grader's end
        label(store, pool)
    assert done_of("verdicts") == mine().height
    assert vars(check_ledger(store)) == {"doubled": 0, "lost": 0, "judge_errors_as_rewards": 0, "details": {}}
