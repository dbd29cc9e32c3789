"""LeetCodeDataset (Xia et al. 2025, arXiv:2504.14655): `newfacade/LeetCodeDataset`, JSON lines of versions
0.1 to 0.3.

Keys as in its README: `task_id` (the slug), `problem_description`, `starter_code`, `prompt` (imports and
helper classes that programs use), `completion` (canonical solution), `entry_point`, `test` (defines
`check(candidate)`), `difficulty`, `tags`. If `check` has only assertions, each becomes a separate test, so
that a verdict says which one failed.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

from pipeline.adapters import ReadItem, ReadProblem, ReadTrajectory, SourceFile, register
from pipeline.adapters.io_tests import human_solution
from pipeline.adapters.lines import JsonRow
from pipeline.adapters.rows import RowAdapter
from pipeline.adapters.sample import SampleKey
from pipeline.text import split_name

BASIS = "LeetCodeDataset `completion` (canonical solution)"
# Python's parser needs about a hundred times the size of the source.
MAX_PARSED_CHARACTERS = 1 << 20


class LeetCode(RowAdapter):
    name = "leetcode"

    def sample_key(self, row: JsonRow) -> SampleKey:
        return SampleKey(row.line, problem_id_of(row.value), "leetcode")

    def items(self, row: JsonRow, file: SourceFile) -> Iterator[ReadItem]:
        value = row.value
        problem_id = problem_id_of(value)
        problem = {
            "problem_id": problem_id,
            "source": "leetcode",
            "split": split_name(file.name),
            "title": value["task_id"].replace("-", " "),
            "statement": value["problem_description"],
            "input_mode": "function",
            "entry_point": value["entry_point"],
            "preamble": value["prompt"],
            "starter_code": value["starter_code"],
            "checker": "function",
            "case_sensitive": True,
            "tags": value.get("tags") or [],
            "difficulty": value.get("difficulty"),
            "licence": "MIT (LeetCodeDataset; statements belong to LeetCode)",
            "tests_quality": "full",
        }
        yield ReadProblem(row.line, row.raw, problem, check_tests(value["test"]), row.size)
        if value.get("completion"):
            solution = human_solution(
                problem_id, "completion", value["completion"], "python3", "accepted", BASIS
            )
            yield ReadTrajectory(row.line, row.raw, solution, len(value["completion"]))


register(LeetCode())


def problem_id_of(value: dict[str, Any]) -> str:
    if not isinstance(value["task_id"], str) or not value["task_id"]:
        raise TypeError("task_id is not a string")
    return f"leetcode/{value['task_id']}"


def check_tests(code: str) -> list[dict[str, Any]]:
    """Tests of code that defines `check(candidate)`: one per assertion, or the whole code as one test."""
    if not isinstance(code, str):
        raise TypeError("test is not a string")
    assertions = assertions_of(code) if len(code) <= MAX_PARSED_CHARACTERS else None
    if assertions:
        numbered = enumerate(assertions, start=1)
        return [
            {"test_id": f"private/{n}", "kind": "private", "mode": "assert", "input": one}
            for n, one in numbered
        ]
    return [{"test_id": "private/1", "kind": "private", "mode": "check", "input": code}]


def assertions_of(code: str) -> list[str] | None:
    """The assertions of `check`; None if the code has anything else."""
    try:
        body = ast.parse(code).body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None
    if len(body) != 1 or not isinstance(body[0], ast.FunctionDef) or body[0].name != "check":
        return None
    statements = body[0].body
    if not all(isinstance(one, ast.Assert) and one.msg is None for one in statements):
        return None
    try:
        return [ast.unparse(one) for one in statements]
    except RecursionError:
        return None
