"""Search: what each method records, that nothing of it counts for Q0 but plain draws, and that edits mend
near-misses.
"""

from __future__ import annotations

import itertools
import json

import polars as pl
import pytest
import torch

from pipeline.labelling.labeller import label
from pipeline.store.contracts import Trajectories
from pipeline.store.sql import connect, query
from sandbox import Pool
from trainer.rollouts.edits import edits
from trainer.rollouts.generation import Provenance
from trainer.rollouts.program_search import SearchSettings, mark_best, public_tests_passed, search

WHO = Provenance(name="search", policy_id="reference")


def problems_of(job, count=2) -> pl.DataFrame:
    return job.store.read("problems", ["problem_id", "statement", "split"]).sort("problem_id").head(count)


def problem_of(job, row: dict) -> pl.DataFrame:
    return job.store.read("problems", ["problem_id", "statement"]).filter(
        pl.col("problem_id") == row["problem_id"]
    )


def right_program(job) -> dict:
    """The shortest right human program, for each of its edits is judged."""
    rows = job.store.read("trajectories").filter(
        pl.col("origin") == "human", pl.col("claimed_verdict") == "accepted", pl.col("language") == "python3"
    )
    return min(rows.iter_rows(named=True), key=lambda row: (len(row["program"]), row["trajectory_id"]))


def searched(job, method, problems=None, pool=None, **changes) -> pl.DataFrame:
    settings = SearchSettings(**{"method": method, "samples": 4, "max_new_tokens": 8, **changes})
    problems, who = (
        problems_of(job) if problems is None else problems,
        WHO.model_copy(update={"name": method}),
    )
    added = search(job.store, job.policy(), problems, settings, who, pool=pool)
    rows = job.store.read("trajectories").filter(pl.col("batch_id") == method)
    assert added == rows.height and set(rows["origin"]) <= {"search"}
    assert search(job.store, job.policy(), problems, settings, who, pool=pool) == 0
    return rows


def how(rows: pl.DataFrame) -> list[dict]:
    return [json.loads(text) for text in rows["search"]]


def test_temperatures_are_plain_draws_each_with_its_own(job):
    rows = searched(job, "temperatures", temperatures=(0.5, 1.0))
    assert rows.group_by("temperature").len().sort("temperature").rows() == [(0.5, 8), (1.0, 8)]
    assert rows.filter(pl.col("temperature") == 1.0)["behaviour_logprob"].null_count() == 0
    assert {text["method"] for text in how(rows)} == {"temperatures"}


def test_of_the_best_of_n_all_are_recorded_and_one_a_problem_is_chosen(job):
    with Pool(1) as pool:
        rows = searched(job, "best_of", pool=pool)
    assert rows.height == 8
    for problem, part in rows.group_by("problem_id"):
        said = how(part)
        assert sum(each["chosen"] for each in said) == 1 and {each["n"] for each in said} == {4}, problem
        # An untrained policy passes nothing, so that the likeliest is chosen.
        chosen = part["behaviour_logprob"][[each["chosen"] for each in said].index(True)]
        assert chosen == part["behaviour_logprob"].max() and {
            each["public_tests_passed"] for each in said
        } == {0}


def test_public_tests_choose_before_likelihood(job):
    right = right_program(job)
    rows = pl.DataFrame(
        [
            {
                "problem_id": right["problem_id"],
                "program": "print('no')",
                "language": "python3",
                "behaviour_logprob": -0.1,
            },
            {
                "problem_id": right["problem_id"],
                "program": right["program"],
                "language": "python3",
                "behaviour_logprob": -9.0,
            },
            {
                "problem_id": right["problem_id"],
                "program": right["program"],
                "language": "python3",
                "behaviour_logprob": -8.0,
            },
        ]
    )
    tests = (
        job.store.read("tests")
        .filter(pl.col("problem_id") == right["problem_id"], pl.col("kind") == "public")
        .height
    )
    with Pool(1) as pool:
        passed = public_tests_passed(job.store, pool, rows)
    assert passed == [0, tests, tests] and tests > 0
    assert [each["chosen"] for each in how(mark_best(rows, passed))] == [False, False, True]
    assert [each["chosen"] for each in how(mark_best(rows, [None] * 3))] == [True, False, False]


def test_beams_are_the_likeliest_of_all_completions(job):
    policy, problems = job.policy(), problems_of(job, 1)
    rows = searched(job, "beam", problems, samples=24, max_new_tokens=1)
    with torch.no_grad():
        first = (
            policy.model(torch.tensor([policy.prompt_ids(problems["statement"][0])]))
            .logits[0, -1]
            .log_softmax(-1)
        )
    assert sorted(itertools.chain(*rows["token_ids"].to_list())) == sorted(first.topk(24).indices.tolist())
    assert rows["temperature"].null_count() == rows["behaviour_logprob"].null_count() == rows.height


def test_edits_are_one_place_each_and_none_twice():
    actual = {
        edit.program.strip(): edit.what
        for edit in edits("n = int(input())\nprint(n + 1 if n < 3 else max(n, 2))")
    }
    wanted = {
        "n + 1 if n <= 3 else max(n, 2)": "Lt -> LtE",
        "n + 1 if n > 3 else max(n, 2)": "Lt -> Gt",
        "n - 1 if n < 3 else max(n, 2)": "Add -> Sub",
        "n + 2 if n < 3 else max(n, 2)": "1 -> 2",
        "n + 0 if n < 3 else max(n, 2)": "1 -> 0",
        "n + 1 if n < 4 else max(n, 2)": "3 -> 4",
        "n + 1 if n < 2 else max(n, 2)": "3 -> 2",
        "n + 1 if n < 3 else max(n, 3)": "2 -> 3",
        "n + 1 if n < 3 else max(n, 1)": "2 -> 1",
        "n + 1 if n < 3 else min(n, 2)": "max -> min",
        "n + 1 if n < 3 else sum(n, 2)": "max -> sum",
    }
    assert actual == {f"n = int(input())\nprint({text})": f"line 2: {what}" for text, what in wanted.items()}
    ranges = {edit.program.strip() for edit in edits("for i in range(n): print(i)")}
    assert ranges == {f"for i in range(n {sign} 1):\n    print(i)" for sign in "+-"}
    assert edits("this is no python") == []


@pytest.fixture
def near_miss(job):
    """A problem with every program that is one edit away from a right one."""
    right = right_program(job)
    rows = [
        {**right, "trajectory_id": f"miss-{number}", "program": edit.program, "source_key": f"miss-{number}"}
        for number, edit in enumerate(edits(right["program"]))
    ]
    job.store.append(
        "trajectories",
        pl.DataFrame(rows, schema=Trajectories.create_empty().schema),
        producer="misses",
        sequence=0,
    )
    with Pool() as pool:
        label(job.store, pool)
    return job, problem_of(job, right)


def test_edits_of_near_misses_find_right_programs_again(near_miss):
    job, problem = near_miss
    rows = searched(job, "edit", problem, samples=400, parents=4)
    parents = {each["parent"] for each in how(rows)}
    assert (
        1 <= len(parents) <= 4
        and set(rows["policy_id"]) == {"edits"}
        and rows["temperature"].null_count() == rows.height
    )
    with Pool() as pool:
        label(job.store, pool)
    with connect(job.store) as connection:
        verdicts = query(
            connection, "select verdict, count(*) as n from judged where batch_id = 'edit' group by all"
        )
        trials = query(
            connection, "select sum(trials)::bigint as n from reference_counts where policy_id = 'edits'"
        )
    assert dict(verdicts.iter_rows()).get("accepted", 0) >= 1  # undoing the change is one edit away
    assert trials["n"][0] == 0


def test_resampled_rows_keep_the_beginning_and_are_no_draws(near_miss):
    job, problem = near_miss
    rows = searched(job, "resample", problem, samples=16, parents=2)
    programs = dict(job.store.read("trajectories").select("trajectory_id", "program").iter_rows())
    for row, made in zip(rows.iter_rows(named=True), how(rows), strict=True):
        retained = "".join(programs[made["parent"]].splitlines(keepends=True)[: made["lines_kept"]])
        text = row["completion"] if row["completion"] is not None else row["program"]
        assert text.startswith(retained) and row["temperature"] is None and row["behaviour_logprob"] is None


def test_a_problem_without_near_misses_gives_nothing(job):
    never_tried = problems_of(job, 1).with_columns(problem_id=pl.lit("starter/none"))
    assert searched(job, "edit", never_tried).is_empty() and searched(job, "resample", never_tried).is_empty()
