"""CodeContests-O (arXiv:2601.13682): the tables of `caijanfeng/CodeContests-O` on the Hub.

Columns as in its card: `name`, `description`, `corner_cases` ([{input: {stdin}, output: {stdout}}]),
`checker` and `generator` (testlib C++), `commands` of the generator, `results` (earlier rounds of the
iteration, not read). The problems are those of CodeContests with other tests, so they have ids of their own;
the view `problem_clusters` has the same problem in both.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from typing import Any

from pipeline.adapters import ReadItem, ReadProblem, SourceFile, register
from pipeline.adapters.io_tests import mode_columns, stdin_test
from pipeline.adapters.lines import JsonRow
from pipeline.adapters.rows import RowAdapter
from pipeline.adapters.sample import SampleKey
from pipeline.adapters.tables import json_bytes
from pipeline.text import split_name


class CodeContestsO(RowAdapter):
    name = "code_contests_o"

    def sample_key(self, row: JsonRow) -> SampleKey:
        return SampleKey(row.line, problem_id_of(row.value), "code_contests_o")

    def items(self, row: JsonRow, file: SourceFile) -> Iterator[ReadItem]:
        value = row.value
        cases = [(case["input"]["stdin"], case["output"]["stdout"]) for case in value["corner_cases"]]
        tests = [
            stdin_test("generated", number, stdin, expected, "program")
            for number, (stdin, expected) in enumerate(cases, start=1)
        ]
        programs = programs_of(value)
        problem = {
            "problem_id": problem_id_of(value),
            "source": "codecontests-o",
            "split": split_name(file.name),
            "title": value["name"],
            "statement": value["description"],
            "tags": [],
            "licence": "Apache-2.0 (CodeContests-O; statements belong to their sites)",
            "tests_quality": "full" if tests else None,
            "programs": json.dumps(programs, ensure_ascii=False) if programs else None,
            **mode_columns(None, None, tests),
        }
        if value.get("checker"):
            problem |= {"checker": "custom", "float_tol": None}
        yield ReadProblem(row.line, partial(json_bytes, value | {"results": None}), problem, tests, row.size)


register(CodeContestsO())


def problem_id_of(value: dict[str, Any]) -> str:
    if not isinstance(value["name"], str) or not value["name"]:
        raise TypeError("name is not a string")
    return f"codecontests-o/{value['name']}"


def programs_of(value: dict[str, Any]) -> list[dict[str, Any]]:
    """The checker, the generator and its commands, in the form of `problems.programs`."""
    parts = {"checker": value.get("checker"), "generator": value.get("generator")}
    programs = [
        {"role": role, "interface": "testlib", "path": f"{role}.cpp", "text": text}
        for role, text in parts.items()
        if text
    ]
    if value.get("commands"):
        text = "\n".join(value["commands"])
        programs.append(
            {"role": "generator_cmd", "interface": "testlib", "path": "generator_cmd", "text": text}
        )
    return programs
