"""Several processes on one model, with gloo on the CPU: the same rows, bit-equal resumption, and going on with fewer."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from trainer.loop import train
from trainer.policy import load_policy

SCRIPT = Path(__file__).with_name("sharded_run.py")
pytestmark = pytest.mark.slow


def launch(ranks, job, folder, steps, *stop_after):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}", str(SCRIPT)]
    command += [job.store.location, str(job.folder), str(folder), str(steps), *map(str, stop_after)]
    done = subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]


def log(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def weights(folder):
    return load_policy(folder / "final").model.state_dict()


def largest_difference(one, other):
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def alone(job, folder, steps):
    spec = importlib.util.spec_from_file_location("sharded_run", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return train(job.policy(), module.stream_of(job.store, job.policy()), module.settings(steps), folder)


def test_any_number_of_ranks_draws_the_same_rows_and_takes_the_same_step(made_job, tmp_path):
    alone(made_job, tmp_path / "1", 3)
    for ranks in (2, 4):
        launch(ranks, made_job, tmp_path / str(ranks), 3)
    digests = {ranks: [line["rows_digest"] for line in log(tmp_path / ranks)] for ranks in ("1", "2", "4")}
    assert digests["1"] == digests["2"] == digests["4"] and len(set(digests["1"])) == 3
    for ranks in ("2", "4"):
        for one, other in zip(log(tmp_path / "1"), log(tmp_path / ranks), strict=True):
            assert other["loss"] == pytest.approx(one["loss"], rel=1e-4)
            assert other["gradient_norm"] == pytest.approx(one["gradient_norm"], rel=1e-4)
        assert largest_difference(weights(tmp_path / "1"), weights(tmp_path / ranks)) < 1e-5


def test_two_ranks_resume_to_the_bit_and_one_goes_on_within_rounding(made_job, tmp_path):
    launch(2, made_job, tmp_path / "whole", 4)
    launch(2, made_job, tmp_path / "cut", 4, 2)
    assert not (tmp_path / "cut" / "final").exists()
    subprocess.run(["cp", "-r", tmp_path / "cut", tmp_path / "fewer"], check=True)
    launch(2, made_job, tmp_path / "cut", 4)
    whole, resumed = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    strip = [(line["step"], line["rows_digest"], line["loss"], line["beta"]) for line in log(tmp_path / "whole")]
    assert strip == [(line["step"], line["rows_digest"], line["loss"], line["beta"]) for line in log(tmp_path / "cut")]
    alone(made_job, tmp_path / "fewer", 4)
    assert [line["rows_digest"] for line in log(tmp_path / "fewer")] == [line["rows_digest"] for line in log(tmp_path / "whole")]
    assert largest_difference(whole, weights(tmp_path / "fewer")) < 1e-5
