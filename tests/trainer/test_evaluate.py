"""Evaluations: their figures against counts by hand, entropy against the definition, and two policies problem by problem."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime

import polars as pl
import pytest
import torch

from pipeline.evaluation.comparison import NotComparable, by_group, compare, rates, verdict_mix
from pipeline.labelling.labeller import label
from pipeline.store.contracts import Evaluations
from pipeline.store.locks import lock_path, opened, taken
from pipeline.store.sql import connect, query
from pipeline.store.store import Store
from sandbox import Pool
from trainer.evaluation.evaluator import evaluate, settings_key, stored
from trainer.policies.entropy import token_entropy
from trainer.rollouts.generation import SamplingSettings


def test_entropy_is_that_of_the_whole_distribution_at_every_completion_token(made_job):
    policy = made_job.policy()
    prompts = [
        policy.prompt_ids(text)
        for text in ("Print n.", "Print the sum of the numbers from 1 to n.", "Print 1.")
    ]
    completions = [
        policy.completion_ids(text) for text in ("print(n)", "print(sum(range(n + 1)))", "print(1)")
    ]
    found = token_entropy(policy, prompts, completions, batch_tokens=80)
    for prompt, completion, (total, count) in zip(prompts, completions, found, strict=True):
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

    def labelling(store, pool):
        with opened(lock_path(store.location, "label")) as file:
            free.append(taken(file))
        return label(store, pool)

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
        found = evaluate(job.store, pool, job.policy(), "reference", problems, settings)
        assert evaluate(job.store, pool, job.policy(), "reference", problems, settings) == found
    rows = stored(job.store, "reference", settings_key(settings, problems, 0))
    assert rows["samples"].to_list() == [100, 100] and found.pass_at_100 and found.pass_at_100.mean == 0.0
    for verdicts in rows["verdicts"]:
        assert sum(json.loads(verdicts).values()) == 100
    assert sum(found.verdicts.values()) == 200 and found.verdicts == verdict_mix(rows)
    # An untrained policy is nearly uniform over its vocabulary.
    assert found.token_entropy == pytest.approx(math.log(job.policy().model.config.vocab_size), rel=0.05)
    with connect(job.store) as connection:
        seen = query(connection, "select problems, samples, pass_1, pass_100, token_entropy from evaluated")
    assert seen.select("problems", "samples", "pass_1", "pass_100").row(0) == (2, 200, 0.0, 0.0)
    assert seen["token_entropy"][0] == pytest.approx(found.token_entropy)


def evaluation(policy, problem, correct, samples=10, seed=0, temperature=1.0):
    settings = json.dumps(
        {"samples_per_problem": samples, "seed": seed, "temperature": temperature}, sort_keys=True
    )
    return {
        "policy_id": policy,
        "problem_id": problem,
        "settings": settings,
        "split": "test",
        "samples": samples,
        "correct": correct,
        "distinct_correct": min(correct, 2),
        "judge_errors": 0,
        "evaluated_at": datetime(2026, 1, 1, tzinfo=UTC),
    }


@pytest.fixture
def evaluations(tmp_path) -> Store:
    rows = [evaluation("a", f"p{i}", [0, 2, 5, 10][i]) for i in range(4)]
    rows += [evaluation("b", f"p{i}", [1, 4, 5, 10][i], seed=7) for i in range(4)]
    rows += [evaluation("b", "p0", 10, temperature=0.4), evaluation("c", "p0", 3, temperature=0.2)]
    store = Store(tmp_path / "store")
    types = {name: kind for name, kind in Evaluations.create_empty().schema.items() if name in rows[0]}
    frame = pl.DataFrame(rows, schema_overrides=types)
    store.append("evaluations", frame, producer="test", sequence=0)
    return store


def test_two_policies_are_compared_problem_by_problem_under_common_settings(evaluations):
    found = {
        difference.metric: difference for difference in compare(evaluations.read("evaluations"), "a", "b")
    }
    assert set(found) == {"pass@1", "pass@10", "distinct correct"}
    assert found["pass@1"].a.mean == pytest.approx(17 / 40) and found["pass@1"].b.mean == pytest.approx(
        20 / 40
    )
    change = found["pass@1"].change
    assert change.mean == pytest.approx(3 / 40) and 0 <= change.low < change.mean < change.high <= 0.2
    assert found["pass@10"].change.mean == pytest.approx(1 / 4) and found["pass@10"].change.problems == 4
    assert found["distinct correct"].change.mean == pytest.approx(1 / 4)
    with pytest.raises(NotComparable, match="a and c share no problem under the same settings"):
        compare(evaluations.read("evaluations"), "a", "c")
    with pytest.raises(
        NotComparable, match=r"policy d has no evaluation; evaluated: a, b, c; make one: spo eval d"
    ):
        compare(evaluations.read("evaluations"), "a", "d")


def test_the_worked_question_says_the_same(evaluations):
    with connect(evaluations) as connection:
        rows = query(connection, "@compare_policies")
    row = rows.row(0, named=True)
    assert (rows.height, row["policy_a"], row["policy_b"], row["problems"]) == (1, "a", "b", 4)
    assert row["pass_1_change"] == pytest.approx(3 / 40) and row["pass_10_change"] == pytest.approx(1 / 4)
    # Differences 0.1, 0.2, 0, 0: their standard deviation over the square root of four.
    assert row["pass_1_error"] == pytest.approx(
        (sum((x - 0.075) ** 2 for x in (0.1, 0.2, 0, 0)) / 3) ** 0.5 / 2
    )
    assert (row["only_b_solves"], row["only_a_solves"]) == (1, 0)


def test_groups_by_source_and_difficulty(evaluations):
    rows = evaluations.read("evaluations").filter(pl.col("policy_id") == "a")
    groups = pl.DataFrame(
        {"problem_id": ["p0", "p1", "p2", "p3"], "source": ["s"] * 4, "difficulty": ["1", "1", None, "2"]}
    )
    found = {group["difficulty"]: group for group in by_group(rows, groups)}
    assert {name: (group["problems"], group["pass@1"].mean) for name, group in found.items()} == {
        "1": (2, pytest.approx(0.1)),
        "-": (1, pytest.approx(0.5)),
        "2": (1, pytest.approx(1.0)),
    }
    assert rates(rows)["pass@100"] is None and rates(rows)["pass@10"].mean == pytest.approx(0.75)
