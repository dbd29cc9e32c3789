"""LiveCodeBench result files: what a model answered, and how it was graded (`lcb_runner`,
`insert_output_evaluation`).

`output/<model>/Scenario.codegeneration_<n>_<temperature>_eval_all.json`, also without `_eval_all`: a list of
objects with `question_id`, `output_list` (answers), `code_list` (programs taken from them), `graded_list`
(true or false) and `metadata` (one JSON text a sample; `error_code` -2 wrong answer, -3 time limit, -4
runtime error). Model, number of samples and temperature are told by the path. The problems are those of
`livecodebench`, by `question_id`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import PurePosixPath
from typing import Any

from pipeline.adapters import ReadItem, ReadTrajectory, SourceFile, register
from pipeline.adapters.lines import JsonRow, json_in_row
from pipeline.adapters.livecodebench import problem_id_of
from pipeline.adapters.rows import DOCUMENTS, RowAdapter, at_most
from pipeline.adapters.sample import Place
from pipeline.adapters.tables import written
from pipeline.text import detect_language, extract_program

NAME = re.compile(
    r"Scenario\.[a-z]+_\d+_(?P<temperature>[\d.]+?)(?:_codegeneration_output|_eval|_eval_all)*\.json"
)
ERRORS = {-2: "wrong_answer", -3: "time_limit_exceeded", -4: "runtime_error"}
LISTS = ("output_list", "code_list", "graded_list", "metadata")
BASIS = "LiveCodeBench graded_list (hidden tests)"


class LiveCodeBenchResults(RowAdapter):
    name = "livecodebench_results"
    suffixes = DOCUMENTS

    def place(self, row: JsonRow) -> Place:
        return Place(row.line, problem_id_of(row.value), "lcb")

    def items(self, row: JsonRow, file: SourceFile) -> Iterator[ReadItem]:
        value = row.value
        problem_id = problem_id_of(value)
        path = PurePosixPath(file.name)
        found = NAME.search(path.name)
        model = path.parent.name or path.name.partition(".")[0]
        count = len(value["output_list"])
        lists = {name: value.get(name) or [None] * count for name in LISTS}
        for place in islice(range(count), at_most(file)):
            one = {name: items[place] for name, items in lists.items()}
            index = value.get("first", 0) + place
            program, rule, fenced = one["code_list"], "given", None
            if program is None:
                program, rule, fenced = extract_program(one["output_list"])
            language = fenced or detect_language(program)
            trajectory = {
                "problem_id": problem_id,
                "origin": "other_policy",
                "policy_id": model,
                "source_key": f"{path.name}#{value['question_id']}#{index}",
                # One answer alone is no sample of several.
                "sample_index": index if count > 1 or index else None,
                "temperature": float(found["temperature"]) if found else None,
                "completion": one["output_list"],
                "program": program,
                "extraction": rule,
                "language": "python3" if language == "unknown" else language,
                **claim(one["graded_list"], one["metadata"]),
            }
            part = {
                "question_id": value["question_id"],
                "first": index,
                **{name: [item] for name, item in one.items()},
            }
            yield ReadTrajectory(row.line, partial(written, part), trajectory, len(one["output_list"] or ""))


register(LiveCodeBenchResults())


def claim(graded: Any, metadata: Any) -> dict[str, Any]:
    """The verdict of a sample: `graded` says whether it passed, `metadata` what went wrong."""
    if graded is None:
        return {}
    if not isinstance(graded, bool):
        raise TypeError(f"graded_list holds {type(graded).__name__}")
    facts = json_in_row(metadata) if isinstance(metadata, str) and metadata.startswith("{") else metadata
    code = facts.get("error_code") if isinstance(facts, dict) else None
    wrong = ERRORS.get(code, "rejected") if isinstance(code, int) else "rejected"
    return {"claimed_verdict": "accepted" if graded else wrong, "claimed_basis": BASIS}
