"""Training sets of verl and of sets in its form: Eurus-2-RL, DeepCoder, PrimeIntellect's verifiable problems.

Parquet or JSON lines. verl's columns (verl 0.9.1, `docs/preparation/prepare_data.rst`): `data_source`,
`prompt`
(messages), `ability`, `reward_model` {style, ground_truth}, `extra_info` {index, split}; the ground truth
of code is
JSON with `inputs` and `outputs` (and `fn_name` for functions), or a list of {input, output, testtype}. Sets
of PrimeIntellect have `prompt`, `verification_info` (JSON, `test_cases` or `ground_truth`) and `problem_id`.
Rows of other abilities (mathematics) are refused as such.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pipeline.adapters import ReadItem, ReadProblem, Refused, SourceFile, register
from pipeline.adapters.io_tests import call_test, mode_columns, stdin_test
from pipeline.adapters.lines import JsonRow, parse_nested_json
from pipeline.adapters.messages import message_text, plain_prompt
from pipeline.adapters.rows import RowAdapter
from pipeline.adapters.sample import SampleKey
from pipeline.store import content_id
from pipeline.text import split_name

TRUTHS = ("ground_truth", "test_cases", "tests")


class RlProblems(RowAdapter):
    name = "rl_problems"

    def sample_key(self, row: JsonRow) -> SampleKey:
        source, _, _ = identity(row.value)
        return SampleKey(row.line, f"{source}/{row.line}", source)

    def items(self, row: JsonRow, file: SourceFile) -> Iterator[ReadItem]:
        value = row.value
        ability = value.get("ability") or value.get("task_type") or "code"
        if not any(word in str(ability).lower() for word in ("code", "coding", "program")):
            yield Refused(row.line, row.raw, f"not a problem of programming: {ability}", "ability", row.size)
            return
        source, problem_id, split = identity(value)
        name, tests = tests_of(truth_of(value))
        problem = {
            "problem_id": problem_id,
            "source": source,
            "split": split_name(str(split or file.name)),
            "title": "",
            "statement": statement_of(value["prompt"]),
            "tags": [],
            "tests_quality": "full",
            **mode_columns(name, value.get("starter_code"), tests),
            "case_sensitive": True,
        }
        yield ReadProblem(row.line, row.raw, problem, tests, row.size)


register(RlProblems())


def identity(value: dict[str, Any]) -> tuple[str, str, str | None]:
    """(source, problem_id, split) of a row; without an id of the source the id is a hash of the prompt."""
    extra = value.get("extra_info") if isinstance(value.get("extra_info"), dict) else {}
    assert isinstance(extra, dict)
    source = str(value.get("data_source") or value.get("source") or "rl").replace("/", "-")
    problem_id = value.get("problem_id") or value.get("id")
    name = str(problem_id) if problem_id else content_id(plain_prompt(value["prompt"]))[:16]
    return source, name if problem_id and "/" in name else f"{source}/{name}", extra.get("split")


def statement_of(prompt: Any) -> str:
    """The text of the user's messages; instructions of the system are not part of a statement."""
    if isinstance(prompt, str):
        return prompt
    asked = [message for message in prompt if message.get("role") == "user"] or prompt
    return "\n".join(message_text(message) for message in asked)


def truth_of(value: dict[str, Any]) -> Any:
    """The tests of a row, parsed. Raises KeyError if there are none."""
    held = value.get("reward_model") or value.get("verification_info") or value
    held = parse_nested_json(held) if isinstance(held, str) else held
    truth = next((held[key] for key in TRUTHS if held.get(key) is not None), None)
    if truth is None:
        raise KeyError("reward_model.ground_truth")
    return parse_nested_json(truth) if isinstance(truth, str) else truth


def tests_of(truth: Any) -> tuple[str | None, list[dict[str, Any]]]:
    """(name of the function or None, tests) in the columns of `tests`. Raises ValueError for other forms."""
    if isinstance(truth, dict) and "inputs" in truth:
        name = truth.get("fn_name")
        pairs = list(zip(truth["inputs"], truth["outputs"], strict=True))
    elif isinstance(truth, list):
        name = next((one.get("fn_name") for one in truth if one.get("fn_name")), None)
        pairs = [(one["input"], one["output"]) for one in truth]
    else:
        raise ValueError("the ground truth has neither inputs and outputs nor a list of tests")
    if not pairs:
        raise ValueError("the ground truth has no test")
    if name:
        calls = [(arguments_of(given), wanted_of(wanted)) for given, wanted in pairs]
        return name, [call_test("private", n, *call) for n, call in enumerate(calls, start=1)]
    return None, [
        stdin_test("private", n, text(given), text(wanted)) for n, (given, wanted) in enumerate(pairs, 1)
    ]


def text(lines: Any) -> str:
    return "\n".join(map(str, lines)) if isinstance(lines, list) else str(lines)


def arguments_of(arguments: Any) -> list[Any]:
    if isinstance(arguments, str):
        return [parse_nested_json(line) for line in arguments.split("\n") if line.strip()]
    return arguments if isinstance(arguments, list) else [arguments]


def wanted_of(wanted: Any) -> Any:
    if isinstance(wanted, str):
        return parse_nested_json(wanted)
    return wanted[0] if isinstance(wanted, list) and len(wanted) == 1 else wanted
