"""TACO (Li et al. 2023, arXiv:2312.14852): the Parquet or Arrow files of `BAAI/TACO` on the Hub.

Columns as in its card, all text: `question`, `solutions` and `input_output` (JSON), `starter_code`,
`difficulty`, `raw_tags`, `tags`, `skill_types` (Python lists as text), `name`, `source`, `url`, `time_limit`,
`memory_limit` ("2.0 seconds", "256.0 megabytes"), and others that are not used. Rows have no id. The
problem_id is made of the site, the last parts of the url and a hash of the statement, so it is the same in
every revision. There are no checkers: see `pipeline/adapters/io_tests.py`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import partial
from itertools import islice
from typing import Any

from pipeline.adapters import ReadItem, ReadProblem, ReadTrajectory, SourceFile, register
from pipeline.adapters.apps import parsed
from pipeline.adapters.io_tests import day, human_solution, io_tests, mode_columns
from pipeline.adapters.lines import JsonRow
from pipeline.adapters.rows import RowAdapter, solution_limit
from pipeline.adapters.sample import SampleKey
from pipeline.adapters.tables import json_bytes
from pipeline.store import content_id
from pipeline.text import detect_language, split_name

BASIS = "TACO `solutions` (accepted on the original site)"
CODEFORCES = re.compile(r"codeforces\.com/(?:problemset/problem/|contest/|gym/)?(\d+)/(?:problem/)?(\w+)")
UNITS = r"second|millisecond|ms|s\b|kilobyte|megabyte|gigabyte|byte|kb|mb|gb|mib"
QUANTITY = re.compile(rf"\s*(\d+(?:\.\d+)?)\s*({UNITS})?", re.IGNORECASE)
# Python's parser needs much memory and deep recursion for a long expression.
MAX_LITERAL_CHARACTERS = 10_000
SECONDS = {None: 1.0, "second": 1.0, "s": 1.0, "millisecond": 1e-3, "ms": 1e-3}
MEGABYTES = {
    None: 1.0,
    "megabyte": 1.0,
    "mb": 1.0,
    "mib": 1.0,
    "kilobyte": 2**-10,
    "kb": 2**-10,
    "gigabyte": 2.0**10,
    "gb": 2.0**10,
    "byte": 2**-20,
}


class Taco(RowAdapter):
    name = "taco"

    def sample_key(self, row: JsonRow) -> SampleKey:
        return SampleKey(row.line, problem_id_of(row.value), str(row.value.get("source")))

    def items(self, row: JsonRow, file: SourceFile) -> Iterator[ReadItem]:
        value = row.value
        problem_id = value["problem_id"] if "problem_id" in value else problem_id_of(value)
        if "question" in value:
            raw = partial(json_bytes, {**value, "solutions": None})
            yield ReadProblem(row.line, raw, *problem(problem_id, split_name(file.name), value), row.size)
        programs = parsed(value["solutions"]) or []
        for program in islice(programs, solution_limit(file)):
            language = detect_language(program)
            trajectory = human_solution(
                problem_id,
                f"solutions#{content_id(program)}",
                program,
                "python3" if language == "unknown" else language,
                "accepted",
                BASIS,
            )
            part = {"problem_id": problem_id, "solutions": [program]}
            yield ReadTrajectory(row.line, partial(json_bytes, part), trajectory, len(program))


register(Taco())


def problem_id_of(value: dict[str, Any]) -> str:
    """taco/<site>/<name on the site>/<8 characters of the statement's hash>."""
    url = value.get("url") or ""
    known = CODEFORCES.search(url)
    name = (
        f"{known[1]}_{known[2].upper()}"
        if known
        else re.sub(r"[?#].*", "", url).rstrip("/").rpartition("/")[2]
    )
    return f"taco/{value.get('source') or 'unknown'}/{name or 'unnamed'}/{content_id(value['question'])[:8]}"


def problem(
    problem_id: str, split: str, value: dict[str, Any]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    cases = parsed(value["input_output"]) or {}
    tests = io_tests(cases)
    tags = value.get("tags") or "[]"
    row = {
        "problem_id": problem_id,
        "source": "taco",
        "split": split,
        "title": value.get("name") or value.get("url") or "",
        "statement": value["question"],
        "time_limit_s": quantity(value.get("time_limit"), SECONDS),
        "memory_limit_mb": quantity(value.get("memory_limit"), MEGABYTES),
        "tags": parse_literal(tags) if isinstance(tags, str) else tags,
        "difficulty": value.get("difficulty") or None,
        "contest_date": day(value.get("date")),
        "licence": "Apache-2.0 (TACO; statements belong to their sites)",
        "tests_quality": "full" if tests else None,
    }
    return row | mode_columns(cases.get("fn_name"), value.get("starter_code"), tests), tests


def parse_literal(text: str) -> Any:
    """The value of a Python literal. Raises ValueError, also for more than MAX_LITERAL_CHARACTERS."""
    if len(text) > MAX_LITERAL_CHARACTERS:
        raise ValueError(f"tags of more than {MAX_LITERAL_CHARACTERS} characters")
    try:
        return ast.literal_eval(text)
    except (MemoryError, RecursionError, SyntaxError) as error:
        raise ValueError(f"tags: {type(error).__name__}") from error


def quantity(text: Any, units: dict[str | None, float]) -> float | None:
    """A limit such as "2.0 seconds", in the unit with factor 1; None if it is missing or cannot be parsed."""
    match = QUANTITY.match(text) if isinstance(text, str) else None
    unit = match[2].lower() if match and match[2] else None
    return float(match[1]) * units[unit] or None if match and unit in units else None
