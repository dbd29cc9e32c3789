"""LiveCodeBench result files: answers of a model and their grades (`lcb_runner`, `insert_output_evaluation`).

`output/<model>/Scenario.codegeneration_<n>_<temperature>_eval_all.json`, else the same without `_eval_all`:
a list of
objects with `question_id`, `output_list` (answers), `code_list` (extracted programs), `graded_list` (true or
false) and `metadata` (one JSON text per sample; `error_code` -2 wrong answer, -3 time limit, -4 runtime
error). Model and temperature come from the path. The problems are those of `livecodebench`, by `question_id`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import PurePosixPath
from typing import Any

from pipeline.adapters import ReadItem, ReadTrajectory, SourceFile, register
from pipeline.adapters.lines import JsonRow, parse_nested_json
from pipeline.adapters.livecodebench import problem_id_of
from pipeline.adapters.rollouts import path_name
from pipeline.adapters.rows import DOCUMENTS, RowAdapter, solution_limit
from pipeline.adapters.sample import SampleKey
from pipeline.adapters.tables import json_bytes
from pipeline.text import detect_language, extract_program, reasoning_length

NAME = re.compile(
    r"Scenario\.[a-z]+_\d+_(?P<temperature>[\d.]+?)(?:_codegeneration_output|_eval|_eval_all)*\.json"
)
ERRORS = {-2: "wrong_answer", -3: "time_limit_exceeded", -4: "runtime_error"}
LISTS = ("output_list", "code_list", "graded_list", "metadata")
BASIS = "LiveCodeBench graded_list (hidden tests)"


class LiveCodeBenchResults(RowAdapter):
    name = "livecodebench_results"
    suffixes = DOCUMENTS

    def files(self, source: str, limit: int | None) -> list[SourceFile]:
        return one_file_per_run(super().files(source, limit))

    def sample_key(self, row: JsonRow) -> SampleKey:
        return SampleKey(row.line, problem_id_of(row.value), "lcb")

    def items(self, row: JsonRow, file: SourceFile) -> Iterator[ReadItem]:
        value = row.value
        problem_id = problem_id_of(value)
        path = PurePosixPath(file.name)
        match = NAME.search(path.name)
        model = path_name(file)
        count = len(value["output_list"])
        lists = {name: value.get(name) or [None] * count for name in LISTS}
        for position in islice(range(count), solution_limit(file)):
            one = {name: items[position] for name, items in lists.items()}
            index = value.get("first", 0) + position
            program, rule, fenced = one["code_list"], "given", None
            if program is None:
                program, rule, fenced = extract_program(one["output_list"] or "")
            language = fenced or detect_language(program)
            trajectory = {
                "problem_id": problem_id,
                "origin": "other_policy",
                "policy_id": model,
                "source_key": f"{path.name.replace('_eval_all', '')}#{value['question_id']}#{index}",
                # A single answer has no sample index.
                "sample_index": index if count > 1 or index else None,
                "temperature": float(match["temperature"]) if match else None,
                "completion": one["output_list"],
                "program": program,
                "extraction": rule,
                "reasoning_length": reasoning_length(one["output_list"] or ""),
                "language": "python3" if language == "unknown" else language,
                **claim(one["graded_list"], one["metadata"]),
            }
            part = {
                "question_id": value["question_id"],
                "first": index,
                **{name: [item] for name, item in one.items()},
            }
            yield ReadTrajectory(
                row.line,
                partial(json_bytes, part),
                trajectory,
                len(one["output_list"] or ""),
                other_ids=(f"livecodebench/{value['question_id']}", f"leetcode/{value['question_id']}"),
            )


register(LiveCodeBenchResults())


def one_file_per_run(files: list[SourceFile]) -> list[SourceFile]:
    """The files without totals (`_eval.json`), and without outputs that `_eval_all.json` has with grades.

    A file that the user named is always read.
    """
    names = {file.name for file in files}
    retained = []
    skipped: Counter[str] = Counter()
    for file in files:
        if len(files) > 1 and file.name.endswith("_eval.json"):
            skipped["totals (_eval.json)"] += 1
        elif file.name.removesuffix(".json") + "_eval_all.json" in names:
            skipped["outputs that _eval_all.json has with their grades"] += 1
        else:
            retained.append(file)
    if retained:
        retained[0].skipped = files[0].skipped + skipped
    return retained


def claim(graded: Any, metadata: Any) -> dict[str, Any]:
    """The claimed verdict of a sample: `graded` says whether it passed, `metadata` why not."""
    if graded is None:
        return {}
    if not isinstance(graded, bool):
        raise TypeError(f"graded_list holds {type(graded).__name__}")
    facts = (
        parse_nested_json(metadata) if isinstance(metadata, str) and metadata.startswith("{") else metadata
    )
    code = facts.get("error_code") if isinstance(facts, dict) else None
    wrong = ERRORS.get(code, "rejected") if isinstance(code, int) else "rejected"
    return {"claimed_verdict": "accepted" if graded else wrong, "claimed_basis": BASIS}
