"""Evaluations of policies: counts by hand, judge failures, pooled seeds, entropy against its definition."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import polars as pl
import pytest
import torch

from pipeline.evaluation import verdict_mix
from pipeline.labelling.labeller import label
from pipeline.store.contracts import Verdicts
from pipeline.store.locks import lock_path, open_lock, try_lock
from pipeline.store.sql import connect, query
from sandbox import Pool
from trainer.evaluation.evaluator import EvaluationError, evaluate, per_problem, settings_key, stored
from trainer.policies.entropy import token_entropy
from trainer.rollouts.generation import LocalSampler, SamplingSettings
from trainer.rollouts.sampling import Sample


def test_entropy_is_that_of_the_whole_distribution_at_every_completion_token(made_job):
    policy = made_job.policy()
    prompts = [
        policy.prompt_ids(text)
        for text in ("Print n.", "Print the sum of the numbers from 1 to n.", "Print 1.")
    ]
    completions = [
        policy.completion_ids(text) for text in ("print(n)", "print(sum(range(n + 1)))", "print(1)")
    ]
    actual = token_entropy(policy, prompts, completions, batch_tokens=80)
    for prompt, completion, (total, count) in zip(prompts, completions, actual, strict=True):
        with torch.no_grad():
            logits = (
                policy.model(torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1].double()
            )
        assert count == len(completion)
        assert total == pytest.approx(
            float(torch.distributions.Categorical(logits=logits).entropy().sum()), abs=1e-3
        )


def test_evaluation_and_graders_take_turns(job, monkeypatch):
    problems = job.store.read("problems", ["problem_id", "statement", "split"]).sort("problem_id").head(1)
    free = []

    def labelling(store, pool, **chosen):
        with open_lock(lock_path(store.location, "label")) as file:
            free.append(try_lock(file))
        return label(store, pool, **chosen)

    monkeypatch.setattr("trainer.evaluation.evaluator.label", labelling)
    with Pool() as pool:
        evaluate(
            job.store,
            pool,
            job.policy(),
            "reference",
            problems,
            SamplingSettings(samples_per_problem=1, max_new_tokens=4),
        )
    assert free == [False]


def test_an_evaluation_keeps_verdicts_entropy_and_pass_at_100(job):
    problems = job.store.read("problems", ["problem_id", "statement", "split"]).sort("problem_id").head(2)
    settings = SamplingSettings(samples_per_problem=100, max_new_tokens=8)
    with Pool() as pool:
        actual = evaluate(job.store, pool, job.policy(), "reference", problems, settings)
        assert evaluate(job.store, pool, job.policy(), "reference", problems, settings) == actual
    rows = stored(job.store, "reference", settings_key(settings, problems, 0))
    assert rows["samples"].to_list() == [100, 100] and actual.pass_at_100 and actual.pass_at_100.mean == 0.0
    for verdicts in rows["verdicts"]:
        assert sum(json.loads(verdicts).values()) == 100
    assert sum(actual.verdicts.values()) == 200 and actual.verdicts == verdict_mix(rows)
    # An untrained policy is nearly uniform over its vocabulary.
    assert actual.token_entropy == pytest.approx(math.log(job.policy().model.config.vocab_size), rel=0.05)
    with connect(job.store) as connection:
        seen = query(connection, "select problems, samples, pass_1, pass_100, token_entropy from evaluated")
    assert seen.select("problems", "samples", "pass_1", "pass_100").row(0) == (2, 200, 0.0, 0.0)
    assert seen["token_entropy"][0] == pytest.approx(actual.token_entropy)


def fail_the_judge(store, pool, trajectories):
    """Verdicts after the last attempt of a judge that fails on these trajectories: labelling does not try
    again.
    """
    hashes = store.read("problems", ["problem_id", "test_set_hash"])
    rows = trajectories.select("trajectory_id", "problem_id").join(hashes, on="problem_id")
    failed = rows.with_columns(
        judge_version=pl.lit(pool.judge_version),
        attempt=pl.lit(3, dtype=pl.Int32),
        verdict=pl.lit("judge_error"),
        passed=pl.lit(0, dtype=pl.Int32),
        total=pl.lit(1, dtype=pl.Int32),
        cpu_s=pl.lit(0.0),
        tier=pl.lit("bwrap"),
        judged_at=pl.lit(datetime.now(UTC)),
        tests=pl.lit([], dtype=Verdicts.create_empty().schema["tests"]),
    )
    store.append("verdicts", failed, producer=f"fault/{trajectories.height}", sequence=0)


@dataclass(frozen=True)
class Ended:
    """Samples of a program each, as if none had been cut: that would be a failure whatever the judge says."""

    sampler: LocalSampler

    def draw(self, statements, settings, seed):
        return [
            replace(one, finish_reason="stop", text=f"print({one.sample_index})\n")
            for one in self.sampler.draw(statements, settings, seed)
        ]


def evaluate_with_failures(job, monkeypatch, chosen, **options):
    """An evaluation of two problems, 10 samples each, in which the judge fails on the samples that
    `chosen` selects.
    """
    problems = job.store.read("problems", ["problem_id", "statement", "split"]).sort("problem_id").head(2)
    settings = SamplingSettings(samples_per_problem=10, max_new_tokens=4)

    def labelling(store, pool, **part):
        samples = store.read("trajectories").filter(pl.col("batch_id").str.starts_with("eval/"))
        fail_the_judge(store, pool, chosen(samples))
        return label(store, pool, **part)

    with monkeypatch.context() as patch, Pool() as pool:
        patch.setattr("trainer.evaluation.evaluator.label", labelling)
        sampler = options.pop("sampler", Ended(LocalSampler(job.policy())))
        return evaluate(job.store, pool, sampler, "reference", problems, settings, **options)


def test_a_completion_that_was_cut_has_failed_even_if_the_judge_did(job, monkeypatch):
    sampler = LocalSampler(job.policy())
    actual = evaluate_with_failures(job, monkeypatch, lambda samples: samples.head(3), sampler=sampler)
    assert (actual.samples, actual.judge_errors, actual.pass_at_1.mean) == (20, 0, 0.0)


def test_a_right_program_of_a_cut_completion_is_not_a_pass(job):
    """The human program of a problem, sampled twice: once to its end, and once up to the length limit."""
    human = job.store.read("trajectories").filter(origin="human", claimed_verdict="accepted")
    known = job.store.read("problems").filter(split="train").join(human, on="problem_id", how="semi")
    problems = known.select("problem_id", "statement", "split").sort("problem_id").head(1)
    program = human.filter(problem_id=problems["problem_id"][0])["program"][0]

    class Right:
        def draw(self, statements, settings, seed):
            return [Sample(0, i, None, program, reason, None) for i, reason in enumerate(("stop", "length"))]

    settings = SamplingSettings(samples_per_problem=2)
    with Pool() as pool:
        actual = evaluate(job.store, pool, Right(), "twice", problems, settings)
    assert (actual.pass_at_1.mean, actual.verdicts) == (0.5, {"accepted": 1, "wrong_answer": 1})
    with connect(job.store) as connection:
        rows = query(
            connection,
            "select verdict, program_verdict, cut, passed > 0 as passes, reward_binary from judged"
            " where policy_id = 'twice' order by sample_index",
        )
    assert rows.rows() == [
        ("accepted", "accepted", False, True, 0.0),
        ("wrong_answer", "accepted", True, False, -1.0),
    ]


def test_a_judge_error_costs_one_problem_and_is_counted(job, monkeypatch):
    actual = evaluate_with_failures(job, monkeypatch, lambda samples: samples.head(1))
    assert (actual.problems, actual.samples, actual.judge_errors) == (2, 19, 1)
    assert (actual.pass_at_1.problems, actual.pass_at_1.left_out) == (2, 0)
    assert (actual.pass_at_10.problems, actual.pass_at_10.left_out) == (1, 1)
    assert actual.verdicts["judge_error"] == 1 and sum(actual.verdicts.values()) == 20


def test_a_problem_without_any_verdict_is_kept_and_counted(job, monkeypatch):
    first = job.store.read("problems", ["problem_id"])["problem_id"].sort()[0]
    actual = evaluate_with_failures(job, monkeypatch, lambda samples: samples.filter(problem_id=first))
    rows = job.store.read("evaluations").sort("problem_id")
    assert rows.select("samples", "correct", "judge_errors").rows()[0] == (0, 0, 10)
    assert (actual.problems, actual.pass_at_1.problems, actual.pass_at_1.left_out) == (2, 1, 1)


def test_an_evaluation_without_a_verdict_is_an_error_and_not_stored(job, monkeypatch):
    with pytest.raises(EvaluationError, match="reference: none of 20 samples has a verdict; see spo doctor"):
        evaluate_with_failures(job, monkeypatch, lambda samples: samples)
    assert job.store.read("evaluations").is_empty()


def test_evaluations_with_other_seeds_are_pooled(job):
    problems = job.store.read("problems", ["problem_id", "statement", "split"]).sort("problem_id").head(2)
    settings = SamplingSettings(samples_per_problem=6, max_new_tokens=4)
    with Pool() as pool:
        first, second = (
            evaluate(job.store, pool, job.policy(), "reference", problems, settings, seed=seed)
            for seed in (0, 1)
        )
    assert (first.samples, first.evaluations, first.pass_at_10) == (12, 1, None)
    # Twelve samples of each problem are enough for pass@10.
    assert (second.samples, second.evaluations, second.pass_at_10.problems) == (24, 2, 2)


def test_counts_per_problem():
    verdicts = ["accepted", "accepted", "accepted", "wrong_answer", "judge_error", "language_unavailable"]
    programs = ["print(1)", "print( 1 )", "print(2)", "print(3)", "print(4)", "print(5)"]
    samples = pl.DataFrame({"problem_id": "p", "program": programs, "verdict": verdicts})
    row = per_problem(samples).row(0, named=True)
    # print(1) and print( 1 ) differ in layout alone.
    assert (row["samples"], row["correct"], row["distinct_correct"], row["judge_errors"]) == (4, 3, 2, 2)
    assert json.loads(row["verdicts"]) == {
        "accepted": 3,
        "judge_error": 1,
        "language_unavailable": 1,
        "wrong_answer": 1,
    }
