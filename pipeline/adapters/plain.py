"""The project's own format: JSON lines (`.jsonl`, `.jsonl.gz`, `.jsonl.zst`), UTF-8, one object per line; a
file or a folder of such files.

A line with `statement` is a problem:

    {"problem_id": "mine/sum", "title": "Sum", "statement": "Read two numbers ...", "input_mode": "stdin",
     "time_limit_s": 2, "memory_limit_mb": 256,
     "checker": {"kind": "tokens", "case_sensitive": true, "float_tol": null},
     "tags": ["math"], "difficulty": "easy", "split": "train", "licence": "CC0-1.0",
     "tests": [{"test_id": "1", "kind": "public", "mode": "stdin", "input": "1 2\n",
                "expected_output": "3\n"}]}

Required: `problem_id` (`<source>/<id>`), `statement` and `tests`. Defaults: input_mode stdin, checker tokens
and case-sensitive, split none, test kind private, test mode stdin, test_id the 1-based position, everything
else null. Function problems add `entry_point`, `preamble`, `starter_code`, and tests with mode assert, check
or call (`Tests` in `pipeline/store/contracts.py`). A test on standard input needs its expected output unless
the checker is custom.

A line with `program` or `completion` is a trajectory:

    {"source_key": "mine#1", "problem_id": "mine/sum", "origin": "human", "policy_id": "human",
     "language": "python3", "program": "print(...)", "claimed_verdict": "accepted",
     "claimed_basis": "the site's judge"}

Required: `problem_id`, `origin`, `policy_id`, and `program` or `completion`. A missing `program` is extracted
from the completion (`pipeline/text/extract.py`), and a missing `language` is detected. `source_key`
identifies the sample within its source; the default is a hash of the line. Optional: run_id, policy_step,
sample_index, temperature, top_p, prompt, token_ids, behaviour_logprob, token_logprobs, finish_reason.
Other names of languages and verdicts are accepted (`pipeline/text/names.py`).

Any other key is refused, so that a misspelt key is noticed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.adapters import (
    Adapter,
    ReadItem,
    ReadProblem,
    ReadTrajectory,
    Refused,
    SourceFile,
    register,
)
from pipeline.adapters.lines import SUFFIXES, JsonRow, json_rows, parse
from pipeline.adapters.rows import refused_row, source_files
from pipeline.adapters.sample import SampleKey, bounded_sample
from pipeline.store import content_id
from pipeline.text import detect_language, extract_program, language_name, verdict_name

PROBLEM_KEYS = {
    "problem_id",
    "source",
    "title",
    "statement",
    "input_mode",
    "time_limit_s",
    "memory_limit_mb",
    "checker",
    "tags",
    "difficulty",
    "split",
    "licence",
    "tests",
    "entry_point",
    "preamble",
    "starter_code",
    "tests_quality",
    "contest_date",
}
TEST_KEYS = {"test_id", "kind", "mode", "input", "expected_output", "origin"}
CHECKER_KEYS = {"kind", "case_sensitive", "float_tol", "arguments"}
TRAJECTORY_KEYS = {
    "source_key",
    "problem_id",
    "origin",
    "policy_id",
    "language",
    "program",
    "completion",
    "claimed_verdict",
    "claimed_basis",
    "run_id",
    "policy_step",
    "sample_index",
    "temperature",
    "top_p",
    "token_ids",
    "behaviour_logprob",
    "token_logprobs",
    "finish_reason",
    "prompt",
}


class Plain(Adapter):
    name = "plain"

    def files(self, source: str, limit: int | None) -> list[SourceFile]:
        files = source_files(source, SUFFIXES, any_name=True, from_hub=False)
        files.sort(key=lambda file: not Path(file.name).name.startswith("problem"))
        return files if limit is None else bounded_sample(files, limit, sample_key)

    def read(self, file: SourceFile) -> Iterator[ReadItem]:
        for row in json_rows(file):
            yield row if isinstance(row, Refused) else read_row(row)

    def reread(self, raw: bytes, line: int, file: SourceFile) -> list[ReadItem]:
        row = parse(line, raw)
        return [row if isinstance(row, Refused) else read_row(row)]


register(Plain())


def sample_key(row: JsonRow) -> SampleKey | None:
    """The key that decides whether a line is in a bounded sample."""
    value = row.value
    problem_id, policy = value.get("problem_id"), value.get("policy_id")
    if not isinstance(problem_id, str):
        return None
    source = problem_id.partition("/")[0]
    if "statement" in value:
        return SampleKey(row.line, problem_id, source)
    return SampleKey(row.line, problem_id, source, str(policy), str(value.get("source_key")))


def read_row(row: JsonRow) -> ReadItem:
    """A line as a problem or a trajectory, or a refusal with the key at fault."""
    try:
        return translate(row)
    except Exception as error:
        return refused_row(row, error)


def translate(row: JsonRow) -> ReadItem:
    value, size = row.value, row.size
    if "statement" in value:
        fault = problem_fault(value)
        if fault is None:
            return ReadProblem(row.line, row.raw, problem_row(value), test_rows(value["tests"]), size)
    elif "program" in value or "completion" in value:
        fault = trajectory_fault(value)
        if fault is None:
            return ReadTrajectory(row.line, row.raw, trajectory_row(value, row.text), size)
    else:
        fault = (None, "neither a problem (statement) nor a trajectory (program or completion)")
    return Refused(row.line, row.raw, fault[1], fault[0], size)


def problem_fault(value: dict[str, Any]) -> tuple[str | None, str] | None:
    """(key, reason) if a problem line cannot be translated, else None. Validation checks the values later."""
    if unknown := value.keys() - PROBLEM_KEYS:
        return min(unknown), "unknown key"
    problem_id = value.get("problem_id")
    if not isinstance(problem_id, str) or not all(problem_id.partition("/")):
        return "problem_id", "is not of the form <source>/<id>"
    checker = value.get("checker", {})
    if not isinstance(checker, dict):
        return "checker", "is not an object"
    if unknown := checker.keys() - CHECKER_KEYS:
        return f"checker.{min(unknown)}", "unknown key"
    tests = value.get("tests")
    if not isinstance(tests, list) or not all(isinstance(test, dict) for test in tests):
        return "tests", "is not a list of objects"
    for position, test in enumerate(tests):
        if unknown := test.keys() - TEST_KEYS:
            return f"tests[{position}].{min(unknown)}", "unknown key"
    return None


def problem_row(value: dict[str, Any]) -> dict[str, Any]:
    row = {key: item for key, item in value.items() if key not in ("tests", "checker")}
    checker = value.get("checker", {})
    row["source"] = value.get("source", value["problem_id"].partition("/")[0])
    row["checker"] = checker.get("kind", "tokens")
    row["case_sensitive"] = checker.get("case_sensitive", True)
    row["float_tol"] = checker.get("float_tol")
    row["checker_arguments"] = checker.get("arguments")
    for key, default in (("title", ""), ("input_mode", "stdin"), ("split", "none"), ("tags", [])):
        row.setdefault(key, default)
    return row


def test_rows(tests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {"test_id": str(position), "kind": "private", "mode": "stdin", "expected_output": None, **test}
        for position, test in enumerate(tests, start=1)
    ]


def trajectory_fault(value: dict[str, Any]) -> tuple[str | None, str] | None:
    if unknown := value.keys() - TRAJECTORY_KEYS:
        return min(unknown), "unknown key"
    for key in ("program", "completion"):
        if not isinstance(value.get(key), str | None):
            return key, f"expected text, found {type(value[key]).__name__}"
    if value.get("program") is None and value.get("completion") is None:
        return "program", "neither program nor completion"
    return None


def trajectory_row(value: dict[str, Any], raw: bytes) -> dict[str, Any]:
    row = dict(value)
    language = language_name(value.get("language"))
    row["extraction"] = "given"
    if value.get("program") is None:
        row["program"], row["extraction"], fenced = extract_program(
            value["completion"], language if isinstance(language, str) else None
        )
        language = language or fenced
    row["language"] = language or detect_language(row["program"])
    row["claimed_verdict"] = verdict_name(value.get("claimed_verdict"))
    row["source_key"] = value.get("source_key") or content_id(raw.decode())
    return row
