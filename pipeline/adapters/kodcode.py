"""KodCode (Xu et al. 2025, arXiv:2503.02951): the tables of `KodCode/KodCode-V1` on the Hub.

Columns as in its card: `question_id` (older: `conversation_id`), `question`, `solution` (by GPT-4o, it passes
the tests), `test` or `test_code` (pytest functions that import the solution), `test_info` ([{function_name,
function_declaration, ...}]), `subset`, `style`, `gpt_difficulty`, `gpt_pass_percentage`. Every test function
becomes one test: the module's other statements, the function, and its call. Tests that need pytest itself
(fixtures, parameters, `pytest.raises`, classes) cannot run in the sandbox; such rows are refused with that
reason.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import partial
from typing import Any

from pipeline.adapters import ReadItem, ReadProblem, ReadTrajectory, SourceFile, register
from pipeline.adapters.io_tests import human_solution
from pipeline.adapters.lines import JsonRow
from pipeline.adapters.rows import RowAdapter
from pipeline.adapters.sample import SampleKey
from pipeline.adapters.tables import json_bytes
from pipeline.text import split_name

POLICY = "gpt-4o"
BASIS = "KodCode `solution` (passes its tests)"
# Python's parser needs about a hundred times the size of the source.
MAX_PARSED_CHARACTERS = 1 << 20


class KodCode(RowAdapter):
    name = "kodcode"

    def sample_key(self, row: JsonRow) -> SampleKey:
        return SampleKey(row.line, problem_id_of(row.value), str(row.value.get("subset")))

    def items(self, row: JsonRow, file: SourceFile) -> Iterator[ReadItem]:
        value = row.value
        problem_id = problem_id_of(value)
        info = (value.get("test_info") or [{}])[0]
        stub = info.get("function_declaration")
        code = value["test"] if "test" in value else value["test_code"]
        problem = {
            "problem_id": problem_id,
            "source": "kodcode",
            "split": split_name(str(value.get("split") or file.name), "train"),
            "title": str(value.get("subset") or ""),
            "statement": value["question"] + (f"\n\nComplete this function:\n{stub}" if stub else ""),
            "input_mode": "function",
            "entry_point": info.get("function_name") or value.get("test_entry_point") or None,
            "starter_code": stub or None,
            "checker": "function",
            "case_sensitive": True,
            "tags": [],
            "difficulty": value.get("gpt_difficulty"),
            "licence": "CC BY-NC 4.0 (KodCode)",
            "tests_quality": "full",
        }
        raw = partial(json_bytes, value | {"trials": None})
        yield ReadProblem(row.line, raw, problem, pytest_functions(code), row.size)
        if value.get("solution"):
            solution = human_solution(
                problem_id, "solution", value["solution"], "python3", "accepted", BASIS
            ) | {"origin": "other_policy", "policy_id": POLICY}
            yield ReadTrajectory(row.line, raw, solution, len(value["solution"]), problem_line=row.line)


register(KodCode())


def problem_id_of(value: dict[str, Any]) -> str:
    name = value["question_id"] if "question_id" in value else value["conversation_id"]
    if not isinstance(name, str) or not name:
        raise TypeError("question_id is not a string")
    return f"kodcode/{name}"


def pytest_functions(code: str) -> list[dict[str, Any]]:
    """A test per function of a module for pytest. Raises ValueError if one needs pytest itself."""
    if len(code) > MAX_PARSED_CHARACTERS:
        raise ValueError(f"test of more than {MAX_PARSED_CHARACTERS} characters")
    try:
        body = ast.parse(code).body
    except (SyntaxError, MemoryError, RecursionError) as error:
        raise ValueError(f"test is not Python: {error}") from error
    refuse_pytest(body)
    functions = [node for node in body if is_test(node)]
    others = [node for node in body if not is_test(node) and not imports_solution(node)]
    if not functions:
        raise ValueError("test has no function test_...")
    beginning = "".join(ast.unparse(node) + "\n" for node in others)
    return [
        {
            "test_id": f"private/{number}",
            "kind": "private",
            "mode": "assert",
            "input": f"{beginning}{ast.unparse(node)}\n{node.name}()\n",
            "origin": "model",
        }
        for number, node in enumerate(functions, start=1)
        if isinstance(node, ast.FunctionDef)
    ]


def is_test(node: ast.stmt) -> bool:
    return isinstance(node, ast.FunctionDef) and node.name.startswith("test")


def imports_solution(node: ast.stmt) -> bool:
    """Whether a statement only imports names of the solution, which are there when a test runs."""
    return isinstance(node, ast.ImportFrom) and node.module == "solution"


def refuse_pytest(body: list[ast.stmt]) -> None:
    """Raise ValueError for tests that only pytest can run."""
    for node in ast.walk(ast.Module(body, [])):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module]
            if "pytest" in names:
                raise ValueError("its tests need pytest, which the sandbox does not have")
            if isinstance(node, ast.Import) and "solution" in names:
                raise ValueError("its tests use the solution as a module")
        if isinstance(node, ast.ImportFrom) and node.module == "solution" and has_other_names(node):
            raise ValueError("its tests give names of the solution other names")
    for node in body:
        if is_test(node) and needs_fixtures(node):
            name = getattr(node, "name", "")
            raise ValueError(f"{name} has decorators or parameters, which only pytest gives")
        if isinstance(node, ast.ClassDef) and node.name.startswith("Test"):
            raise ValueError(f"{node.name} is a class of tests, which only pytest runs")


def has_other_names(node: ast.ImportFrom) -> bool:
    return any(alias.asname not in (None, alias.name) for alias in node.names)


def needs_fixtures(node: ast.stmt) -> bool:
    return isinstance(node, ast.FunctionDef) and bool(
        node.decorator_list or node.args.args or node.args.kwonlyargs
    )
