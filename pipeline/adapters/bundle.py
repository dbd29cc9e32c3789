"""The contest bundle: a folder with problems.jsonl.gz, human_solutions.jsonl.gz and model_samples.jsonl.gz.

The format is in its README: 16 sources of problems under one schema, human solutions, and samples of a dozen
models with the verdicts that their sources recorded. Human solutions get origin `human` and policy `human`,
model samples get origin `other_policy` and the model's name. A missing temperature is null.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.adapters import (
    Adapter,
    ReadItem,
    ReadProblem,
    ReadTrajectory,
    Refused,
    SourceError,
    SourceFile,
    local_file,
    register,
)
from pipeline.adapters.lines import JsonRow, json_rows, parse
from pipeline.adapters.rows import refused_row
from pipeline.adapters.sample import SampleKey, bounded_sample
from pipeline.adapters.setup_code import place_setup
from pipeline.text import language_name, verdict_name

PROBLEMS, HUMAN, MODEL = "problems.jsonl.gz", "human_solutions.jsonl.gz", "model_samples.jsonl.gz"
CHECKERS = {"token": "tokens", "float": "float", "custom": "custom"}
# Splits are those of the sources. The ten few-shot examples of MBPP have the split `prompt`, here none.
SPLITS = {"prompt": "none"}


class Bundle(Adapter):
    name = "bundle"

    def files(self, source: str, limit: int | None) -> list[SourceFile]:
        root = Path(source)
        missing = [name for name in (PROBLEMS, HUMAN, MODEL) if not os.path.lexists(root / name)]
        if missing:
            raise SourceError(f"no {missing[0]} in {source}")
        files = [local_file(root / name, root) for name in (PROBLEMS, HUMAN, MODEL)]
        return files if limit is None else bounded_sample(files, limit, sample_key)

    def read(self, file: SourceFile) -> Iterator[ReadItem]:
        translate = TRANSLATORS[Path(file.path).name]
        for row in json_rows(file):
            yield row if isinstance(row, Refused) else translate_or_refuse(translate, row)

    def reread(self, raw: bytes, line: int, file: SourceFile) -> list[ReadItem]:
        row = parse(line, raw)
        return [
            row if isinstance(row, Refused) else translate_or_refuse(TRANSLATORS[Path(file.name).name], row)
        ]


register(Bundle())


def translate_or_refuse(translate: Any, row: JsonRow) -> ReadItem:
    """Translate a row; refuse it with the key at fault if it does not have the documented shape."""
    try:
        return translate(row)
    except Exception as error:
        return refused_row(row, error)


def sample_key(row: JsonRow) -> SampleKey | None:
    """The key that decides whether a line is in a bounded sample."""
    value = row.value
    if not isinstance(value.get("problem_id"), str):
        return None
    if "statement" in value:
        return SampleKey(row.line, value["problem_id"], str(value.get("source")))
    policy, key = value.get("model", "human"), value.get("solution_id") or value.get("sample_id")
    return SampleKey(row.line, value["problem_id"], "", str(policy), str(key))


def read_problem(row: JsonRow) -> ReadItem:
    value = row.value
    checker = value["checker"]
    problem = {
        "problem_id": value["problem_id"],
        "source": value["source"],
        "split": SPLITS.get(value["split"], value["split"]),
        "title": value["title"] or "",
        "statement": value["statement"],
        "input_mode": value["io_mode"],
        "entry_point": value.get("entry_point"),
        "preamble": value.get("preamble"),
        "starter_code": value.get("starter_code"),
        "time_limit_s": value["time_limit_s"],
        "memory_limit_mb": value["memory_limit_mb"],
        "checker": "function"
        if checker["kind"].startswith("function-")
        else CHECKERS.get(checker["kind"], checker["kind"]),
        "case_sensitive": checker.get("case_sensitive", True),
        "float_tol": checker.get("float_tol"),
        "tags": value["tags"],
        "difficulty": None if value["difficulty"] is None else str(value["difficulty"]),
        "licence": value["license"],
        "tests_quality": value["tests_quality"],
    }
    tests = [read_test(test, "public", n) for n, test in enumerate(value["public_tests"], start=1)]
    tests += [read_test(test, "private", n) for n, test in enumerate(value["hidden_tests"], start=1)]
    problem["preamble"], tests = place_setup(problem["preamble"], tests)
    return ReadProblem(row.line, row.raw, problem, tests, row.size)


def read_test(test: dict[str, Any], kind: str, number: int) -> dict[str, Any]:
    """A test of the bundle: {input, output}, {assert}, {check} or {call, output}."""
    row: dict[str, Any] = {"test_id": test.get("name") or f"{kind}/{number}", "kind": kind}
    for mode in ("assert", "check", "call"):
        if mode in test:
            return {**row, "mode": mode, "input": test[mode], "expected_output": test.get("output")}
    return {**row, "mode": "stdin", "input": test["input"], "expected_output": test.get("output")}


def read_human(row: JsonRow) -> ReadItem:
    value = row.value
    trajectory = {
        "problem_id": value["problem_id"],
        "origin": "human",
        "policy_id": "human",
        "source_key": value["solution_id"],
        "program": value["source"],
        "extraction": "given",
        "language": language_name(value["language"]),
        "claimed_verdict": verdict_name(value["verdict"]),
        "claimed_basis": value["verdict_basis"],
    }
    return ReadTrajectory(row.line, row.raw, trajectory, row.size)


def read_model(row: JsonRow) -> ReadItem:
    value = row.value
    sampling = value["sampling"]
    trajectory = {
        "problem_id": value["problem_id"],
        "origin": "other_policy",
        "policy_id": value["model"],
        "source_key": value["sample_id"],
        # `<...>#<index>` is the index of the sample only if a prompt has several samples; else it counts
        # rows.
        "sample_index": int(value["sample_id"].rpartition("#")[2]) if sampling["n"] > 1 else None,
        "temperature": sampling.get("temperature"),
        "top_p": sampling.get("top_p"),
        "completion": value.get("completion"),
        "program": value["code"],
        "extraction": "given",
        "language": language_name(value["language"]),
        "claimed_verdict": verdict_name(value["verdict"]),
        "claimed_basis": value["verdict_basis"],
    }
    return ReadTrajectory(row.line, row.raw, trajectory, row.size)


TRANSLATORS = {PROBLEMS: read_problem, HUMAN: read_human, MODEL: read_model}
