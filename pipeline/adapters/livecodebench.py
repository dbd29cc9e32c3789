"""LiveCodeBench problems (Jain et al. 2024, arXiv:2403.07974): `livecodebench/code_generation_lite` or
`code_generation`.

Schema as its code reads it (`lcb_runner/benchmarks/code_generation.py`): `question_title`,
`question_content`, `platform`, `question_id`, `contest_id`, `contest_date`, `starter_code`, `difficulty`,
`public_test_cases` (JSON text of [{input, output, testtype}]), `private_test_cases` (the same, or base64 of
zlib of a pickled JSON text), `metadata` (JSON text, `func_name`). The pickle is opened by an unpickler that
knows texts only. Functional tests give one JSON value a line as arguments. Its own grader compares letter
case, so case is kept here.
"""

from __future__ import annotations

import base64
import io
import pickle
import zlib
from collections.abc import Iterator
from typing import Any

from pipeline.adapters import ReadItem, ReadProblem, SourceFile, register
from pipeline.adapters.io_tests import call_test, mode_columns, stdin_test
from pipeline.adapters.lines import JsonRow, json_in_row
from pipeline.adapters.rows import RowAdapter
from pipeline.adapters.sample import Place
from pipeline.adapters.source_policy import EXPANSION_RATIO

# A row's tests unpack to the second, and beyond the first to no more than the policy's multiple of what is
# stored.
FREE_TESTS_BYTES, MAX_TESTS_BYTES = 16 << 20, 192 << 20


class LiveCodeBench(RowAdapter):
    name = "livecodebench"

    def place(self, row: JsonRow) -> Place:
        return Place(row.line, problem_id_of(row.value), str(row.value["platform"]))

    def items(self, row: JsonRow, file: SourceFile) -> Iterator[ReadItem]:
        value = row.value
        name = (json_in_row(value["metadata"]) if value.get("metadata") else {}).get("func_name")
        tests = tests_of("public", json_in_row(value["public_test_cases"]))
        tests += tests_of("private", private_tests(value["private_test_cases"]))
        problem = {
            "problem_id": problem_id_of(value),
            "source": "livecodebench",
            "split": "test",
            "title": value["question_title"],
            "statement": value["question_content"],
            "tags": [],
            "difficulty": value.get("difficulty"),
            "licence": "CC BY 4.0 (LiveCodeBench; statements belong to AtCoder, Codeforces, LeetCode)",
            "tests_quality": "full",
            **mode_columns(name, value.get("starter_code"), tests),
            "case_sensitive": True,
        }
        yield ReadProblem(row.line, row.raw, problem, tests, row.size)


register(LiveCodeBench())


def problem_id_of(value: dict[str, Any]) -> str:
    if not isinstance(value["question_id"], str | int):
        raise TypeError("question_id is no text")
    return f"lcb/{value['question_id']}"


def tests_of(kind: str, cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    tests = []
    for number, case in enumerate(cases, start=1):
        if case["testtype"] == "functional":
            arguments = [json_in_row(line) for line in case["input"].split("\n") if line.strip()]
            tests.append(call_test(kind, number, arguments, json_in_row(case["output"])))
        elif case["testtype"] == "stdin":
            tests.append(stdin_test(kind, number, case["input"], case["output"]))
        else:
            raise ValueError(f"testtype {case['testtype']!r}")
    return tests


def private_tests(text: str) -> list[dict[str, Any]]:
    """Private tests in either of their forms. Raises ValueError for a third, or for more than
    MAX_TESTS_BYTES of them.
    """
    if text.lstrip()[:1] == "[":
        return json_in_row(text)
    unpacking = zlib.decompressobj()
    at_most = min(MAX_TESTS_BYTES, max(FREE_TESTS_BYTES, EXPANSION_RATIO * len(text)))
    pickled = unpacking.decompress(base64.b64decode(text, validate=True), at_most)
    if unpacking.unconsumed_tail:
        raise ValueError(f"private_test_cases of more than {at_most} bytes")
    try:
        return json_in_row(OnlyText(io.BytesIO(pickled)).load())
    except (pickle.UnpicklingError, KeyError, MemoryError) as error:
        raise ValueError(f"private_test_cases: {error}") from error


class OnlyText(pickle.Unpickler):
    """Opens a pickled text. A pickle that names any class or function is refused: loading it would run it."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"names {module}.{name}; only text is read")
