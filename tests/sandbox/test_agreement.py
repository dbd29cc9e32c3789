"""Human solutions of the real data against the verdict each of them claims. Every disagreement is printed.

Judged are those of stdin problems whose tests are full and whose checker is here, in languages this machine
has. A claim of acceptance agrees with acceptance, any other claim with any failure: which limit goes first
depends on the machine.
"""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest

from sandbox import Checker, Limits, Submission, Test
from sandbox.languages import find_language, toolchain

DATA = Path(os.environ.get("SPO_DATA") or Path(__file__).parents[3] / "shared" / "data")
FILES = ("problems.jsonl.gz", "human_solutions.jsonl.gz")
KINDS = {"token": "tokens", "float": "float"}
DEFAULT_TIME_S, DEFAULT_MEMORY_MB, LEAST_MEMORY_MB = 10.0, 1024, 256
AGREEMENT = 0.98


def rows(name):
    with gzip.open(DATA / name, "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)


def is_scored(problem):
    return (
        problem["io_mode"] == "stdin"
        and problem["tests_quality"] == "full"
        and problem["checker"]["kind"] in KINDS
    )


def is_here(language):
    actual = find_language(language)
    return actual is not None and toolchain(actual) is not None


def submission_of(solution, problem):
    checker = problem["checker"]
    tests = [*(problem["public_tests"] or []), *(problem["hidden_tests"] or [])]
    return Submission(
        solution["source"], solution["language"],
        tuple(Test(str(number), "stdin", test["input"], test["output"]) for number, test in enumerate(tests)),
        Limits(
            time_s=problem["time_limit_s"] or DEFAULT_TIME_S,
            memory_mb=max(problem["memory_limit_mb"] or DEFAULT_MEMORY_MB, LEAST_MEMORY_MB),
        ),
        Checker(
            KINDS[checker["kind"]],
            checker.get("case_sensitive") is not False,
            checker.get("float_tol") or 1e-6,
        ),
        key=solution["solution_id"],
    )  # fmt: skip


def line(solution, judgement):
    failed = next((test for test in judgement.tests if test.verdict != "accepted"), None)
    why = (
        f"test {failed.test_id}: {failed.detail}"
        if failed
        else judgement.compile_output[:120].replace("\n", " ")
    )
    claim = f"{solution['verdict']} -> {judgement.verdict}"
    passed = f"{judgement.passed}/{judgement.total}"
    return f"{solution['solution_id']} [{solution['language']}] {claim}, {passed}, {why}"


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.skipif(
    not all((DATA / name).exists() for name in FILES), reason="the real data is not here; set SPO_DATA"
)
def test_agreement_with_the_claimed_verdicts(pool, capsys):
    problems = {problem["problem_id"]: problem for problem in rows(FILES[0]) if is_scored(problem)}
    claims = [
        row
        for row in rows(FILES[1])
        if row["verdict"] and row["problem_id"] in problems and is_here(row["language"])
    ]
    solutions = {row["solution_id"]: row for row in claims}
    work = (submission_of(row, problems[row["problem_id"]]) for row in solutions.values())
    judged = [(solutions[judgement.key], judgement) for judgement in pool.stream(work)]
    disagreements = [
        line(solution, judgement)
        for solution, judgement in judged
        if (solution["verdict"] == "accepted") != (judgement.verdict == "accepted")
        or judgement.verdict == "judge_error"
    ]
    agreement = 1 - len(disagreements) / len(judged)
    with capsys.disabled():
        print(f"\n{len(judged)} solutions, agreement {agreement:.4f}", *sorted(disagreements), sep="\n")
    assert agreement >= AGREEMENT
