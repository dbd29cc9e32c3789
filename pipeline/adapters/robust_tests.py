"""RobustTests: the tables of `sid6/RobustTests` on the Hub, tests without statements.

A row has the `id` and the `source` of a problem of CodeContests+ and its tests, `test_cases` or `tests`: a
list of {input, output}, {"inputs": [...], "outputs": [...]}, or either as JSON text. The card says that the
statement is to be matched by these ids: so ingest `code_contests_plus` (or `codeforces`) first. Each row
becomes the problem `robusttests/<source>/<id>` with the statement, limits and checker of the stored one and
with these tests. Not tested with its own files: the card was read, the data set is 63 GB.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pipeline.adapters import ReadItem, ReadProblem, SourceFile, register
from pipeline.adapters.apps import parsed
from pipeline.adapters.code_contests_plus import problem_id_of as plus_id_of
from pipeline.adapters.io_tests import io_tests, stdin_test
from pipeline.adapters.lines import JsonRow
from pipeline.adapters.rows import RowAdapter
from pipeline.adapters.sample import SampleKey

TESTS = ("test_cases", "tests", "testcases")


class RobustTests(RowAdapter):
    name = "robust_tests"

    def sample_key(self, row: JsonRow) -> SampleKey:
        return SampleKey(row.line, plus_id_of(row.value), "robust_tests")

    def items(self, row: JsonRow, file: SourceFile) -> Iterator[ReadItem]:
        value = row.value
        source, name = value["source"].lower(), str(value["id"])
        cases = tests_of(value)
        tests = [
            stdin_test("generated", number, stdin, expected, "program")
            for number, (stdin, expected) in enumerate(cases, start=1)
        ]
        problem = {
            "problem_id": f"robusttests/{source}/{name}",
            "source": "robusttests",
            "tests_quality": "full",
        }
        joined = (plus_id_of(value), f"{source}/{name.replace('_', '/')}", f"{source}/{name}")
        yield ReadProblem(row.line, row.raw, problem, tests, row.size, statement_of=joined)


register(RobustTests())


def tests_of(value: dict[str, Any]) -> list[tuple[Any, Any]]:
    """(input, output) of each test. Raises KeyError if there are none."""
    held = next((parsed(value[key]) for key in TESTS if value.get(key)), None)
    if not held:
        raise KeyError("test_cases")
    if isinstance(held, dict):
        return [(test["input"], test["expected_output"]) for test in io_tests(held)]
    return [(case["input"], case["output"]) for case in held]
