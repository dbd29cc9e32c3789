"""HumanEval (Chen et al. 2021, arXiv:2107.03374) and HumanEval+ (Liu et al. 2023, arXiv:2305.01210).

Keys of HumanEval: `task_id` ("HumanEval/0"), `prompt`, `canonical_solution` (the function body after the
prompt), `entry_point`, `test` (defines `check(candidate)`). HumanEval+ on the Hub (`evalplus/humanevalplus`)
has `test` too. EvalPlus' release file HumanEvalPlus.jsonl has `base_input`, `plus_input` and `atol` instead;
its tests compare the program with the canonical solution, which runs next to it in the sandbox. A row with
EvalPlus' keys, or in a file named humanevalplus, is HumanEval+.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pipeline.adapters import ReadItem, ReadProblem, ReadTrajectory, SourceFile, register
from pipeline.adapters.io_tests import human_solution
from pipeline.adapters.lines import JsonRow
from pipeline.adapters.rows import RowAdapter
from pipeline.adapters.sample import SampleKey

BASIS = "HumanEval `canonical_solution`"
INPUTS = ("base_input", "plus_input")
# The canonical solution gives the expected values; floats may differ by `atol` or a relative 1e-6. The code
# shares the namespace of the program, hence the prefix `spo_`.
ORACLE = """\
import copy as spo_copy, math as spo_math

spo_inputs = {inputs!r}
spo_oracle = {{}}
exec({source!r}, spo_oracle)

def spo_same(found, expected):
    if isinstance(expected, float) or isinstance(found, float):
        return found == expected or spo_math.isclose(found, expected, rel_tol=1e-6, abs_tol={atol!r})
    if isinstance(expected, (list, tuple)) and isinstance(found, (list, tuple)):
        return len(found) == len(expected) and all(spo_same(a, b) for a, b in zip(found, expected))
    return found == expected

def check(candidate):
    for given in spo_inputs:
        expected = spo_oracle[{name!r}](*spo_copy.deepcopy(given))
        assert spo_same(candidate(*spo_copy.deepcopy(given)), expected), "wrong for " + repr(given)[:200]
"""


class HumanEval(RowAdapter):
    name = "humaneval"

    def sample_key(self, row: JsonRow) -> SampleKey:
        return SampleKey(row.line, str(row.value["task_id"]), "humaneval")

    def items(self, row: JsonRow, file: SourceFile) -> Iterator[ReadItem]:
        value = row.value
        is_plus = "plus_input" in value or "humanevalplus" in file.name.lower()
        problem_id = f"{'humanevalplus' if is_plus else 'humaneval'}/{number_of(value)}"
        problem = {
            "problem_id": problem_id,
            "source": problem_id.partition("/")[0],
            "split": "test",
            "title": value["entry_point"],
            "statement": value["prompt"],
            "input_mode": "function",
            "entry_point": value["entry_point"],
            "starter_code": value["prompt"],
            "checker": "function",
            "case_sensitive": True,
            "tags": [],
            "licence": "MIT (HumanEval)" if not is_plus else "Apache-2.0 (EvalPlus)",
            "tests_quality": "full",
        }
        yield ReadProblem(row.line, row.raw, problem, tests_of(value), row.size)
        if value.get("canonical_solution"):
            program = value["prompt"] + value["canonical_solution"]
            solution = human_solution(problem_id, "canonical_solution", program, "python3", "accepted", BASIS)
            yield ReadTrajectory(row.line, row.raw, solution, len(program))


register(HumanEval())


def number_of(value: dict[str, Any]) -> str:
    name, _, number = str(value["task_id"]).rpartition("/")
    if name not in ("HumanEval", "") or not number.isdigit():
        raise ValueError(f"task_id is {value['task_id']!r}")
    return number


def tests_of(value: dict[str, Any]) -> list[dict[str, Any]]:
    if "test" in value:
        return [{"test_id": "check", "kind": "private", "mode": "check", "input": value["test"]}]
    source = value["prompt"] + value["canonical_solution"]
    options = {"source": source, "name": value["entry_point"], "atol": float(value.get("atol") or 0)}
    return [
        {
            "test_id": name,
            "kind": "private",
            "mode": "check",
            "input": ORACLE.format(inputs=value[name], **options),
        }
        for name in INPUTS
        if value.get(name)
    ]
