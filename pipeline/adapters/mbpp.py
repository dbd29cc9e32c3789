"""MBPP (Austin et al. 2021, arXiv:2108.07732): `mbpp.jsonl`, `sanitized-mbpp.json`, their tables on the Hub,
and MBPP+.

Keys: `task_id`, `code`, `test_list` (assertions that call the function by its name); the whole set has
`text`, `test_setup_code` and `challenge_test_list`, the sanitized set `prompt` and `test_imports`. MBPP+
(`evalplus/mbppplus`) has `test` in addition: a script with inputs and results. The three sets have different
ids, because their statements and tests differ. EvalPlus' release file MbppPlus.jsonl has inputs without test
code; its rows are refused with a message that names the other source. Splits by number, as in the paper: 1 to
10 prompts, 11 to 510 test, 511 to 600 validation, from 601 training.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pipeline.adapters import ReadItem, ReadProblem, ReadTrajectory, Refused, SourceFile, register
from pipeline.adapters.io_tests import human_solution
from pipeline.adapters.lines import JsonRow
from pipeline.adapters.rows import RowAdapter
from pipeline.adapters.sample import SampleKey
from pipeline.adapters.setup_code import place_setup

BASIS = "MBPP `code` (reference solution)"
RELEASE = "EvalPlus' release file has no test code; read the same problems from the Hub: evalplus/mbppplus"
LAST = ((10, "none"), (510, "test"), (600, "valid"))


class Mbpp(RowAdapter):
    name = "mbpp"

    def sample_key(self, row: JsonRow) -> SampleKey:
        return SampleKey(row.line, problem_id_of(row.value), "mbpp")

    def items(self, row: JsonRow, file: SourceFile) -> Iterator[ReadItem]:
        value = row.value
        if "plus_input" in value:
            yield Refused(row.line, row.raw, RELEASE, "plus_input", row.size)
            return
        problem_id = problem_id_of(value)
        read, tests = problem(problem_id, value), tests_of(value)
        read["preamble"], tests = place_setup(read["preamble"], tests)
        yield ReadProblem(row.line, row.raw, read, tests, row.size)
        if value.get("code"):
            solution = human_solution(problem_id, "code", value["code"], "python3", "accepted", BASIS)
            yield ReadTrajectory(row.line, row.raw, solution, len(value["code"]))


register(Mbpp())


def problem_id_of(value: dict[str, Any]) -> str:
    source = "mbppplus" if "test" in value else "mbpp-sanitized" if "test_imports" in value else "mbpp"
    return f"{source}/{int(value['task_id'])}"


def problem(problem_id: str, value: dict[str, Any]) -> dict[str, Any]:
    source, _, number = problem_id.partition("/")
    return {
        "problem_id": problem_id,
        "source": source,
        "split": next((split for last, split in LAST if int(number) <= last), "train"),
        "title": "",
        # The paper's prompt: the task, and the assertions that name the function.
        "statement": (value["text"] if "text" in value else value["prompt"])
        + "\nYour code should pass these tests:\n"
        + "\n".join(value["test_list"]),
        "input_mode": "function",
        "preamble": "\n".join(value.get("test_imports") or []) or value.get("test_setup_code") or None,
        "checker": "function",
        "case_sensitive": True,
        "tags": [],
        "licence": "CC BY 4.0 (MBPP)",
        "tests_quality": "full",
    }


def tests_of(value: dict[str, Any]) -> list[dict[str, Any]]:
    kinds = [("public", "test_list"), ("private", "challenge_test_list")]
    tests = [
        {"test_id": f"{key}/{number}", "kind": kind, "mode": "assert", "input": code}
        for kind, key in kinds
        for number, code in enumerate(value.get(key) or [], start=1)
    ]
    if "test" in value:
        tests.append({"test_id": "plus", "kind": "generated", "mode": "assert", "input": value["test"]})
    return tests
