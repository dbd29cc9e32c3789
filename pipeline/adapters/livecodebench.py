"""LiveCodeBench problems (Jain et al. 2024, arXiv:2403.07974): `livecodebench/code_generation_lite` or
`code_generation`.

Schema as its code reads it (`lcb_runner/benchmarks/code_generation.py`): `question_title`,
`question_content`, `platform`, `question_id`, `contest_id`, `contest_date`, `starter_code`, `difficulty`,
`public_test_cases` (JSON text of [{input, output, testtype}]), `private_test_cases` (the same, or base64 of
zlib of a pickled JSON text), `metadata` (JSON text, `func_name`). The pickle is loaded by an unpickler that
allows only strings. Functional tests have one JSON value per line as arguments. The comparison is
case-sensitive, as in its own grader.
"""

from __future__ import annotations

import base64
import io
import pickle
import zlib
from collections.abc import Iterator
from typing import Any

from pipeline.adapters import ReadItem, ReadProblem, SourceFile, register
from pipeline.adapters.io_tests import call_test, day, mode_columns, stdin_test
from pipeline.adapters.lines import JsonRow, parse_nested_json
from pipeline.adapters.rows import RowAdapter
from pipeline.adapters.sample import SampleKey
from pipeline.adapters.source_policy import EXPANSION_RATIO

# Decompressed tests of a row may have FREE_TESTS_BYTES, or up to MAX_TESTS_BYTES within the policy's ratio.
FREE_TESTS_BYTES, MAX_TESTS_BYTES = 16 << 20, 192 << 20


class LiveCodeBench(RowAdapter):
    name = "livecodebench"

    def sample_key(self, row: JsonRow) -> SampleKey:
        return SampleKey(row.line, problem_id_of(row.value), str(row.value["platform"]))

    def items(self, row: JsonRow, file: SourceFile) -> Iterator[ReadItem]:
        value = row.value
        name = (parse_nested_json(value["metadata"]) if value.get("metadata") else {}).get("func_name")
        tests = tests_of("public", parse_nested_json(value["public_test_cases"]))
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
            "contest_date": day(value.get("contest_date")),
            **mode_columns(name, value.get("starter_code"), tests),
            "case_sensitive": True,
        }
        yield ReadProblem(row.line, row.raw, problem, tests, row.size)


register(LiveCodeBench())


def problem_id_of(value: dict[str, Any]) -> str:
    if not isinstance(value["question_id"], str | int):
        raise TypeError("question_id is not a string")
    return f"lcb/{value['question_id']}"


def tests_of(kind: str, cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    tests = []
    for number, case in enumerate(cases, start=1):
        if case["testtype"] == "functional":
            arguments = [parse_nested_json(line) for line in case["input"].split("\n") if line.strip()]
            tests.append(call_test(kind, number, arguments, parse_nested_json(case["output"])))
        elif case["testtype"] == "stdin":
            tests.append(stdin_test(kind, number, case["input"], case["output"]))
        else:
            raise ValueError(f"testtype {case['testtype']!r}")
    return tests


def private_tests(text: str) -> list[dict[str, Any]]:
    """Private tests in either of the two forms. Raises ValueError for other forms and for too many bytes."""
    if text.lstrip()[:1] == "[":
        return parse_nested_json(text)
    unpacking = zlib.decompressobj()
    max_bytes = min(MAX_TESTS_BYTES, max(FREE_TESTS_BYTES, EXPANSION_RATIO * len(text)))
    pickled = unpacking.decompress(base64.b64decode(text, validate=True), max_bytes)
    if unpacking.unconsumed_tail:
        raise ValueError(f"private_test_cases of more than {max_bytes} bytes")
    try:
        return parse_nested_json(TextUnpickler(io.BytesIO(pickled)).load())
    except (pickle.UnpicklingError, KeyError, MemoryError) as error:
        raise ValueError(f"private_test_cases: {error}") from error


class TextUnpickler(pickle.Unpickler):
    """Loads a pickled string.

    A pickle with a class or function is refused, because loading would execute it.
    """

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"contains {module}.{name}; only strings are allowed")
