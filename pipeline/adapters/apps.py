"""APPS (Hendrycks et al. 2021, arXiv:2105.09938): the JSON lines of `codeparrot/apps` on the Hub, or tables
with the same columns.

Columns as in its card: `problem_id` (`id` in the files), `question`, `solutions` and `input_output`
(JSON as text), `difficulty`, `url`, `starter_code`. `input_output` is {"inputs", "outputs"} and, for
functions, "fn_name". APPS has no checkers, so outputs are compared as described in
`pipeline/adapters/io_tests.py`. Numbers start at 0 in each split, so the split is part of the problem_id. A
row without tests is accepted as a problem without tests, which cannot be judged.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import islice
from typing import Any

from pipeline.adapters import ReadItem, ReadProblem, ReadTrajectory, SourceFile, register
from pipeline.adapters.io_tests import human_solution, io_tests, mode_columns
from pipeline.adapters.lines import JsonRow, parse_nested_json
from pipeline.adapters.rows import RowAdapter, solution_limit
from pipeline.adapters.sample import SampleKey
from pipeline.adapters.tables import json_bytes
from pipeline.store import content_id
from pipeline.text import detect_language, split_name

BASIS = "APPS `solutions` (accepted on the original site)"


class Apps(RowAdapter):
    name = "apps"

    def sample_key(self, row: JsonRow) -> SampleKey:
        return SampleKey(row.line, f"apps/{number_of(row.value)}", "apps")

    def items(self, row: JsonRow, file: SourceFile) -> Iterator[ReadItem]:
        value = row.value
        split = split_name(file.name)
        problem_id = f"apps/{split}/{number_of(value)}"
        if "question" in value:
            raw = partial(json_bytes, {**value, "solutions": None})
            yield ReadProblem(row.line, raw, *problem(problem_id, split, value), row.size)
        programs = parsed(value["solutions"]) or []
        for program in islice(programs, solution_limit(file)):
            # One solution in the form of a row, so that it can be retried alone.
            part = {"id": number_of(value), "solutions": [program]}
            language = detect_language(program)
            trajectory = human_solution(
                problem_id,
                f"solutions#{content_id(program)}",
                program,
                "python3" if language == "unknown" else language,
                "accepted",
                BASIS,
            )
            yield ReadTrajectory(row.line, partial(json_bytes, part), trajectory, len(program))


register(Apps())


def number_of(value: dict[str, Any]) -> int:
    number = value["problem_id"] if "problem_id" in value else value["id"]
    if not isinstance(number, int | str):
        raise TypeError(f"problem_id is {type(number).__name__}")
    return int(number)


def parsed(value: Any) -> Any:
    """The value of a column with JSON text; None if it is empty."""
    return parse_nested_json(value) if isinstance(value, str) and value.strip() else value or None


def problem(
    problem_id: str, split: str, value: dict[str, Any]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    cases = parsed(value["input_output"]) or {}
    tests = io_tests(cases)
    row = {
        "problem_id": problem_id,
        "source": "apps",
        "split": split,
        "title": value.get("url") or "",
        "statement": value["question"],
        "tags": [],
        "difficulty": value.get("difficulty") or None,
        "licence": "MIT (APPS; statements belong to their sites)",
        "tests_quality": "full" if tests else None,
    }
    return row | mode_columns(cases.get("fn_name"), value.get("starter_code"), tests), tests
