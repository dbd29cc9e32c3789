"""CodeContests+ (Wang et al. 2025, arXiv:2506.05817): the tables of `ByteDance-Seed/Code-Contests-Plus` on
the Hub.

Columns as in the paper, the card and programs that read it: `source`, `id` ("1041_E"), `title`,
`description`, `time_limit`, `memory_limit`, `validator`, `generator`, `generator_cmd`, `checker` (testlib
C++), `correct_submissions` and `incorrect_submissions` ([{code, language}]), and in the folders ccplus_1x to
ccplus_5x also `test_cases` ([{input, output}]). The default folder has no tests; its problems are accepted
without tests. The card does not state the units of the limits, so their size decides: a time above 100 is in
milliseconds, a memory above 65,536 is in bytes.

The checker, validator and generator are stored in `problems.programs`. A problem with a checker is judged
only by it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from itertools import islice
from typing import Any

from pipeline.adapters import ReadItem, ReadProblem, ReadTrajectory, SourceFile, register
from pipeline.adapters.io_tests import human_solution, mode_columns, stdin_test
from pipeline.adapters.lines import JsonRow
from pipeline.adapters.rows import RowAdapter, solution_limit
from pipeline.adapters.sample import SampleKey
from pipeline.adapters.tables import json_bytes
from pipeline.store import content_id
from pipeline.text import detect_language, language_name, split_name

SUBMISSIONS = {"correct_submissions": "accepted", "incorrect_submissions": "rejected"}
PROGRAMS = ("checker", "validator", "generator", "generator_cmd")
MILLISECONDS_ABOVE, BYTES_ABOVE = 100, 1 << 16


class CodeContestsPlus(RowAdapter):
    name = "code_contests_plus"

    def sample_key(self, row: JsonRow) -> SampleKey:
        return SampleKey(row.line, problem_id_of(row.value), str(row.value["source"]))

    def items(self, row: JsonRow, file: SourceFile) -> Iterator[ReadItem]:
        value = row.value
        problem_id = problem_id_of(value)
        if "description" in value:
            raw = partial(json_bytes, value | dict.fromkeys(SUBMISSIONS))
            yield ReadProblem(
                row.line, raw, *problem(problem_id, split_name(file.name, "train"), value), row.size
            )
        for column, verdict in SUBMISSIONS.items():
            for one in islice(value.get(column) or [], solution_limit(file)):
                program = one["code"]
                language = language_name(one["language"])
                part = {"source": value["source"], "id": value["id"], column: [one]}
                trajectory = human_solution(
                    problem_id,
                    f"{column}#{content_id(program)}",
                    program,
                    language or detect_language(program),
                    verdict,
                    f"CodeContests+ `{column}` (verdict of the original site)",
                )
                yield ReadTrajectory(row.line, partial(json_bytes, part), trajectory, len(program))


register(CodeContestsPlus())


def problem_id_of(value: dict[str, Any]) -> str:
    if not isinstance(value["id"], str | int) or not isinstance(value["source"], str):
        raise TypeError("source and id are not strings")
    return f"codecontests+/{value['source'].lower()}/{value['id']}"


def problem(
    problem_id: str, split: str, value: dict[str, Any]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    cases = enumerate(value.get("test_cases") or [], start=1)
    tests = [
        stdin_test("generated", number, case["input"], case["output"], "program") for number, case in cases
    ]
    programs = [
        {
            "role": role,
            "interface": "testlib",
            "path": role if role == "generator_cmd" else f"{role}.cpp",
            "text": value[role],
        }
        for role in PROGRAMS
        if value.get(role)
    ]
    seconds, memory = value.get("time_limit") or None, value.get("memory_limit") or None
    row = {
        "problem_id": problem_id,
        "source": "codecontests+",
        "split": split,
        "title": value.get("title") or "",
        "statement": value["description"],
        "time_limit_s": seconds / 1000 if seconds and seconds > MILLISECONDS_ABOVE else seconds,
        "memory_limit_mb": memory / (1 << 20) if memory and memory > BYTES_ABOVE else memory,
        "tags": [],
        "licence": "CC BY 4.0 (CodeContests+; statements belong to their sites)",
        "tests_quality": "full" if tests else None,
        "programs": json.dumps(programs, ensure_ascii=False) if programs else None,
        **mode_columns(None, None, tests),
    }
    if value.get("checker"):
        row |= {"checker": "custom", "float_tol": None}
    return row, tests
