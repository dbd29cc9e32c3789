"""open-r1 Codeforces: the Parquet files of `open-r1/codeforces` on the Hub (configurations default and
verifiable).

Columns as in its card: `id` ("852/A"), `title`, `description`, `input_format`, `output_format`,
`interaction_format`, `note`, `examples` and `official_tests` ([{input, output}]), `official_tests_complete`,
`time_limit` (seconds), `memory_limit` (megabytes), `rating`, `tags`, `input_mode` (stdio or file),
`generated_checker` (Python), and more. A problem with a checker is judged only by it; others by tokens, or as
numbers if decimals are expected. Interactive problems are stored with the checker `custom`. Problems that
read a named file are refused. Generated tests are separate files of that data set and are not read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pipeline.adapters import ReadItem, ReadProblem, Refused, SourceFile, register
from pipeline.adapters.io_tests import day, mode_columns, stdin_test
from pipeline.adapters.lines import JsonRow
from pipeline.adapters.rows import RowAdapter
from pipeline.adapters.sample import SampleKey
from pipeline.text import split_name

SECTIONS = {
    "input_format": "Input",
    "output_format": "Output",
    "interaction_format": "Interaction",
    "note": "Note",
}


class Codeforces(RowAdapter):
    name = "codeforces"

    def sample_key(self, row: JsonRow) -> SampleKey:
        return SampleKey(row.line, problem_id_of(row.value), "codeforces")

    def items(self, row: JsonRow, file: SourceFile) -> Iterator[ReadItem]:
        value = row.value
        if value.get("input_mode") == "file":
            yield Refused(
                row.line,
                row.raw,
                "reads or writes a named file instead of standard input",
                "input_mode",
                row.size,
            )
            return
        yield ReadProblem(row.line, row.raw, *problem(value, split_name(file.name)), row.size)


register(Codeforces())


def problem_id_of(value: dict[str, Any]) -> str:
    if not isinstance(value["id"], str) or not value["id"]:
        raise TypeError("id is not a string")
    return f"codeforces/{value['id']}"


def problem(value: dict[str, Any], split: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    examples = value.get("examples") or []
    # The official tests repeat the examples.
    repeated = {(case["input"], case["output"]) for case in examples}
    official = [
        case for case in value.get("official_tests") or [] if (case["input"], case["output"]) not in repeated
    ]
    tests = [
        stdin_test("public", number, case["input"], case["output"], "statement")
        for number, case in enumerate(examples, start=1)
    ]
    tests += [
        stdin_test("private", number, case["input"], case["output"], "judge")
        for number, case in enumerate(official, start=1)
    ]
    row = {
        "problem_id": problem_id_of(value),
        "source": "codeforces",
        "split": split,
        "title": value["title"],
        "statement": statement(value, examples),
        "time_limit_s": value.get("time_limit") or None,
        "memory_limit_mb": value.get("memory_limit") or None,
        "tags": value.get("tags") or [],
        "contest_date": day(value.get("contest_start")),
        "difficulty": str(value["rating"]) if value.get("rating") else None,
        "licence": "CC BY 4.0 (open-r1; statements belong to Codeforces)",
        "tests_quality": "full"
        if value.get("official_tests_complete")
        else "partial"
        if official
        else "examples",
        **mode_columns(None, None, tests),
    }
    checker = value.get("generated_checker")
    if checker:
        program = {"role": "checker", "interface": "open-r1", "path": "checker.py", "text": checker}
        row["programs"] = json.dumps([program], ensure_ascii=False)
    if checker or value.get("interaction_format"):
        row |= {"checker": "custom", "float_tol": None}
    return row, tests


def statement(value: dict[str, Any], examples: list[dict[str, Any]]) -> str:
    """The statement as on the site: description, the sections that exist, examples."""
    parts = [value["description"]] if value["description"] else []
    parts += [f"{title}\n{value[key]}" for key, title in SECTIONS.items() if key != "note" and value.get(key)]
    parts += [f"Example input\n{case['input']}\nExample output\n{case['output']}" for case in examples]
    parts += [f"Note\n{value['note']}"] if value.get("note") else []
    return "\n\n".join(parts)
