"""From rows of the store to submissions for the judge."""

from __future__ import annotations

import json
from typing import Any

import polars as pl

from pipeline.labelling.checkers import grader_of, problem_checker
from pipeline.labelling.time_limits import MEASURING_LIMIT_S, derived_limits
from pipeline.store import Store, included_files
from sandbox import LARGEST, Limits, Submission, Test
from sandbox.bounds import MIB
from sandbox.building import script_of
from sandbox.scoring import Group, Scoring

DEFAULT_TIME_LIMIT_S = 10.0
DEFAULT_MEMORY_MB = 1024.0
OUTPUT_FACTOR = 2  # a program may write this many times as much as the longest expected output
# The first line of a script that prints its other lines: an answer in place of a program.
PRINTS_ITSELF = "#!/usr/bin/tail -n+2"
TEST_COLUMNS = ("test_id", "mode", "input", "expected_output", "checker_arguments", "arguments", "files")


class SubmissionBuilder:
    """Builds submissions for the judge from the stored problems and tests of some problem_ids. Asked for one
    problem after the other, it converts the tests of each once.
    """

    def __init__(self, store: Store, problem_ids: list[str]):
        wanted = pl.col("problem_id").is_in(problem_ids)
        problems = store.snapshot("problems").scan().filter(wanted).drop("statement").collect()
        self._problems = {row["problem_id"]: row for row in problems.to_dicts()}
        without = [name for name, row in self._problems.items() if row["time_limit_rule"]]
        self._derived_limits = derived_limits(store, without) if without else {}
        # The tests of a problem have its batch_id: a killed batch of another file may have left others.
        own = pl.LazyFrame(
            [{"problem_id": r["problem_id"], "batch_id": r["batch_id"]} for r in self._problems.values()]
        )
        scan = (
            store.snapshot("tests").scan().filter(wanted).join(own, on=["problem_id", "batch_id"], how="semi")
        )
        tests = scan.sort("problem_id", "position").collect()
        self._tests = {key[0]: frame for key, frame in tests.partition_by("problem_id", as_dict=True).items()}
        self._last: tuple[str, tuple[Test, ...]] = ("", ())  # of the problem that was asked for last

    def public_tests(self, problem_id: str) -> set[str]:
        """test_ids of the public tests, which a contestant may see."""
        tests = self._tests[problem_id]
        return set(tests.filter(pl.col("kind") == "public")["test_id"])

    def time_limit_s(self, problem: dict, row: dict) -> float:
        """The problem's limit, or the derived one; a larger one where the program sets the limit."""
        if row.get("sets_limit"):
            return MEASURING_LIMIT_S
        derived = self._derived_limits.get(problem["problem_id"])
        return problem["time_limit_s"] or derived or DEFAULT_TIME_LIMIT_S

    def _tests_of(self, problem_id: str) -> tuple[Test, ...]:
        if self._last[0] != problem_id:
            rows = self._tests[problem_id].select(TEST_COLUMNS).to_dicts()
            self._last = problem_id, tuple(map(test_of, rows))
        return self._last[1]

    def submission(self, row: dict, key: str) -> Submission:
        """The submission of a row of `trajectories`. Raises CheckerUnavailable."""
        problem = self._problems[row["problem_id"]]
        tests = self._tests_of(row["problem_id"])
        files = files_of(row.get("files"))
        program, language = row["program"], row["language"]
        if language == "script" and (script := script_of(files)):
            program, language = files.pop(script), script
        if language == "answer":
            program, language = f"{PRINTS_ITSELF}\n{program}", "run"
        files |= included_files(problem, language)
        return Submission(
            program=program,
            language=language,
            files=tuple(files.items()),
            tests=tests,
            limits=Limits(
                time_s=min(self.time_limit_s(problem, row), LARGEST["time_s"][1]),
                memory_mb=int(
                    max(1.0, min(problem["memory_limit_mb"] or DEFAULT_MEMORY_MB, LARGEST["memory_mb"][1]))
                ),
                output_bytes=output_limit_bytes(tests, problem["output_limit_mb"]),
            ),
            checker=problem_checker(problem),
            scoring=scoring_of(problem["scoring"], problem["programs"]),
            preamble=problem["preamble"] or "",
            entry_point=problem["entry_point"] or "",
            key=key,
        )


def output_limit_bytes(tests: tuple[Test, ...], stated_mb: float | None = None) -> int:
    """The stated limit; without one the usual limit, or a larger one where the expected outputs are nearly as
    long.
    """
    if stated_mb is not None:
        return int(max(1, min(stated_mb * MIB, LARGEST["output_bytes"][1])))
    longest = max((len(test.expected_output or "") for test in tests), default=0)
    return int(min(max(Limits().output_bytes, OUTPUT_FACTOR * longest), LARGEST["output_bytes"][1]))


def test_of(row: dict[str, Any]) -> Test:
    """The test in a row of `tests`."""
    own = row["checker_arguments"]
    return Test(
        row["test_id"],
        row["mode"],
        row["input"],
        row["expected_output"],
        None if own is None else tuple(own),
        tuple(row["arguments"] or ()),
        tuple(files_of(row["files"]).items()),
    )


test_of.__test__ = False  # type: ignore[attr-defined]  # pytest collects every imported `test_*`


def scoring_of(column: str | None, programs: str | None = None) -> Scoring | None:
    """The rules in the column `scoring` of `problems`, with the grader in its `programs`. Raises
    CheckerUnavailable where that is not one program.
    """
    if column is None:
        return None
    rules = json.loads(column)
    groups = [
        Group(**one | {"flags": tuple(one["flags"]), "require_pass": tuple(one["require_pass"])})
        for one in rules["groups"]
    ]
    grader = grader_of(programs) if any(group.custom for group in groups) else None
    return Scoring(rules["rules"], tuple(groups), grader)


def files_of(column: str | None) -> dict[str, str]:
    """{path: text} of a column `files`."""
    return dict(json.loads(column or "[]"))
