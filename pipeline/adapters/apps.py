"""APPS (Hendrycks et al. 2021, arXiv:2105.09938): the JSON lines of `codeparrot/apps` on the Hub, or tables
of the same columns.

Columns as its card gives them: `problem_id` (`id` in the files), `question`, `solutions` and `input_output`
(JSON as text), `difficulty`, `url`, `starter_code`. `input_output` is {"inputs", "outputs"} and, for
functions, "fn_name"; both forms are compared as `pipeline/adapters/io_tests.py` says, for APPS has no
checkers. Numbers start again in each split, so the split is part of a problem's id. A row without tests is a
problem nobody can judge; it is accepted, with no tests.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import islice
from typing import Any

from pipeline.adapters import ReadItem, ReadProblem, ReadTrajectory, SourceFile, register
from pipeline.adapters.io_tests import human_solution, io_tests, mode_columns
from pipeline.adapters.lines import JsonRow, json_in_row
from pipeline.adapters.rows import RowAdapter, at_most
from pipeline.adapters.sample import Place
from pipeline.adapters.tables import written
from pipeline.store import content_id
from pipeline.text import detect_language, split_of

BASIS = "APPS `solutions` (accepted on the original site)"


class Apps(RowAdapter):
    name = "apps"

    def place(self, row: JsonRow) -> Place:
        return Place(row.line, f"apps/{number_of(row.value)}", "apps")

    def items(self, row: JsonRow, file: SourceFile) -> Iterator[ReadItem]:
        value = row.value
        split = split_of(file.name)
        problem_id = f"apps/{split}/{number_of(value)}"
        if "question" in value:
            raw = partial(written, {**value, "solutions": None})
            yield ReadProblem(row.line, raw, *problem(problem_id, split, value), row.size)
        programs = parsed(value["solutions"]) or []
        for program in islice(programs, at_most(file)):
            # One solution of a row, in the form of a row: it can be read again by itself.
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
            yield ReadTrajectory(row.line, partial(written, part), trajectory, len(program))


register(Apps())


def number_of(value: dict[str, Any]) -> int:
    number = value["problem_id"] if "problem_id" in value else value["id"]
    if not isinstance(number, int | str):
        raise TypeError(f"problem_id is {type(number).__name__}")
    return int(number)


def parsed(value: Any) -> Any:
    """A column that holds JSON as text; empty text stands for nothing."""
    return json_in_row(value) if isinstance(value, str) and value.strip() else value or None


def problem(
    problem_id: str, split: str, value: dict[str, Any]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    given = parsed(value["input_output"]) or {}
    tests = io_tests(given)
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
    return row | mode_columns(given.get("fn_name"), value.get("starter_code"), tests), tests
