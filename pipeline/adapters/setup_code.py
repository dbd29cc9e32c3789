"""Code that a data set runs beside a program: before it, or, where it uses the program, before each test."""

from __future__ import annotations

import ast
import builtins
from functools import lru_cache
from typing import Any


def place_setup(code: str | None, tests: list[dict[str, Any]]) -> tuple[str | None, list[dict[str, Any]]]:
    """(preamble, tests) of a problem with setup code. MBPP runs its `test_setup_code` between program and
    tests, and some of it builds objects of the program's classes: that becomes a part of each assertion.
    """
    if not code or any(test["mode"] != "assert" for test in tests) or not uses_the_program(code):
        return code, tests
    setup = "\n".join(code.splitlines())
    return None, [test | {"input": f"{setup}\n{test['input']}"} for test in tests]


# Most problems of a source have the same code, and parsing it takes a hundred times as long as reading it.
@lru_cache(256)
def uses_the_program(code: str) -> bool:
    """Whether code uses a name that neither itself nor Python defines. False for what is not Python, and
    where everything of a module is imported, which may define any name.
    """
    try:
        nodes = list(ast.walk(ast.parse(code)))
    except (SyntaxError, ValueError, RecursionError):
        return False
    imported = [
        alias for node in nodes if isinstance(node, ast.Import | ast.ImportFrom) for alias in node.names
    ]
    if any(alias.name == "*" for alias in imported):
        return False
    known = {(alias.asname or alias.name).partition(".")[0] for alias in imported} | set(dir(builtins))
    used: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Name):
            (used if isinstance(node.ctx, ast.Load) else known).add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            known.add(node.name)
        elif isinstance(node, ast.arg):
            known.add(node.arg)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            known.add(node.name)
    return not used <= known
