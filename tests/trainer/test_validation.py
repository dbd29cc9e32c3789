"""Evaluations during a run: their figures, the best policy, the end by patience, resumption."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from trainer.policies.policy import load_policy
from trainer.run import ConfigError, RunConfig, resumes, run
from trainer.run.validation import Progress


def config_of(job, folder: Path, steps: int, **validation) -> RunConfig:
    settings = {
        "every": 2,
        "problems_where": "split = 'test'",
        "problems": 2,
        "sampling": {"samples_per_problem": 3, "max_new_tokens": 6},
        **validation,
    }
    return RunConfig.model_validate(
        {
            "run": str(folder / "mine"),
            "store": str(job.store.location),
            "reference": str(job.folder),
            "training": {"steps": steps, "checkpoint_every": 1},
            "optimiser": {"warmup_steps": 1},
            "mixture": {"batch_sequences": 4},
            "source": [{"name": "all", "weight": 1.0}],
            "validation": settings,
        }
    )


def curve(folder: Path) -> dict[int, dict]:
    lines = [json.loads(line) for line in (folder / "mine" / "metrics.jsonl").read_text().splitlines()]
    return {line["step"] + 1: line["validation"] for line in lines if "validation" in line}


def test_the_curve_is_in_the_log_and_its_counts_are_in_the_store(job, tmp_path):
    run(config_of(job, tmp_path, steps=3))
    actual = curve(tmp_path)
    assert list(actual) == [2, 3]  # the last step is evaluated too
    rows = job.store.read("evaluations").filter(pl.col("run_id") == "mine").sort("step")
    assert rows["step"].to_list() == [2, 2, 3, 3] and set(rows["split"]) == {"test"}
    for step, of_step in ((2, rows[:2]), (3, rows[2:])):
        by_hand = (of_step["correct"] / of_step["samples"]).mean()
        assert actual[step]["pass@1"] == pytest.approx(by_hand) and actual[step]["samples"] == 6
    assert load_policy(tmp_path / "mine" / "best").model.config.model_type == "llama"
    online = job.store.read("trajectories").filter(pl.col("policy_id") == "mine@2")
    assert online.height == 6


def test_patience_ends_a_run_and_a_killed_one_ends_at_the_same_step(job, tmp_path):
    """Samples of six tokens are never right: the first evaluation stays the best."""

    class Killed(Exception):
        pass

    def kill(figures: dict) -> None:
        if figures["step"] == 4:
            raise Killed

    patient = config_of(job, tmp_path, steps=12, patience=2)
    with pytest.raises(Killed):
        run(patient, on_step=kill)
    run(patient)
    actual = curve(tmp_path)
    assert list(actual) == [2, 4, 6] and {line["best_step"] for line in actual.values()} == {2}
    published = job.store.read("policies").filter(pl.col("policy_id") == "mine")
    assert published["step"].to_list() == [6]


def test_problems_that_are_trained_on_are_refused(job, tmp_path):
    with pytest.raises(ConfigError, match="2 of 2 problems are of split 'train', which is trained on"):
        run(config_of(job, tmp_path, steps=2, problems_where="split = 'train'"))
    with pytest.raises(ConfigError, match="no problem fits split = 'none'"):
        run(config_of(job, tmp_path, steps=2, problems_where="split = 'none'"))


def test_a_run_goes_on_with_another_validation(job, tmp_path):
    begun = config_of(job, tmp_path, steps=2)
    run(begun)
    assert resumes(config_of(job, tmp_path, steps=2, every=1)) is not None
    assert resumes(begun.model_copy(update={"validation": None})) is not None


def test_the_best_is_the_highest_and_the_first_of_equals():
    progress = Progress()
    assert [progress.add(step, figure) for step, figure in ((1, 0.2), (2, 0.2), (3, 0.5), (4, 0.4))] == [
        True,
        False,
        True,
        False,
    ]
    assert (progress.best, progress.best_step, progress.since_best) == (0.5, 3, 1)
