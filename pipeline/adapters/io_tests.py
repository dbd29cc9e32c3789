"""Tests that data sets give as lists of inputs and outputs, and what data sets without a checker are
compared by.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

# Modules that call-based graders put before every program (APPS, TACO, LiveCodeBench, LeetCode).
PREAMBLE = """\
import bisect, collections, copy, datetime, functools, heapq, itertools, math, operator, random, re, string, sys
from bisect import *
from collections import *
from functools import *
from heapq import *
from itertools import *
from math import *
from typing import *
"""
DECIMAL = re.compile(r"(?:^|\s)-?\d+\.\d+(?:\s|$)")
FLOAT_TOL = 1e-6


def stdin_test(kind: str, number: int, given: Any, expected: Any) -> dict[str, Any]:
    """A test on standard input; both texts may be lists of lines, as in APPS and TACO."""
    return {
        "test_id": f"{kind}/{number}",
        "kind": kind,
        "mode": "stdin",
        "input": text_of(given),
        "expected_output": text_of(expected),
    }


def call_test(kind: str, number: int, arguments: list[Any], expected: Any) -> dict[str, Any]:
    """A test that calls the entry point with JSON values and compares what it gives."""
    call = f"candidate({', '.join(map(repr, arguments))})"
    return {
        "test_id": f"{kind}/{number}",
        "kind": kind,
        "mode": "call",
        "input": call,
        "expected_output": repr(expected),
    }


def text_of(value: Any) -> Any:
    """Lines as one text; anything that is neither a text nor lines is handed on, for the contract to refuse."""
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        return "\n".join(value)
    return value


def io_tests(given: dict[str, Any]) -> list[dict[str, Any]]:
    """Tests of {"inputs": [...], "outputs": [...], "fn_name"?: ...}, the form of APPS and TACO.

    With `fn_name` each input is a list of arguments. Expected values are then usually wrapped in a list of
    one; they are unwrapped where all of a problem's are. Raises ValueError for inputs and outputs of unequal
    number.
    """
    inputs, outputs = given.get("inputs") or [], given.get("outputs") or []
    if len(inputs) != len(outputs):
        raise ValueError(f"{len(inputs)} inputs but {len(outputs)} outputs")
    if not given.get("fn_name"):
        return [
            stdin_test("private", n, one, other)
            for n, (one, other) in enumerate(zip(inputs, outputs, strict=True), start=1)
        ]
    wrapped = all(isinstance(output, list) and len(output) == 1 for output in outputs)
    expected = [output[0] for output in outputs] if wrapped else outputs
    return [
        call_test("private", n, one, other)
        for n, (one, other) in enumerate(zip(inputs, expected, strict=True), start=1)
    ]


def entry_point(name: str | None, starter_code: str | None) -> str | None:
    """How tests reach a function: as a method where the stub has a class `Solution`."""
    if not name:
        return None
    return f"Solution().{name}" if "class Solution" in (starter_code or "") else name


def mode_columns(
    name: str | None, starter_code: str | None, tests: Iterable[dict[str, Any]]
) -> dict[str, Any]:
    """Input mode, entry point and comparison of a problem that comes without a checker.

    On standard input: tokens with case folded, or numbers within FLOAT_TOL where an expected output has a
    decimal fraction.
    """
    if name:
        return {
            "input_mode": "function",
            "entry_point": entry_point(name, starter_code),
            "preamble": PREAMBLE,
            "starter_code": starter_code or None,
            "checker": "function",
            "case_sensitive": True,
            "float_tol": None,
        }
    outputs = (test["expected_output"] for test in tests)
    has_decimals = any(isinstance(output, str) and DECIMAL.search(output) for output in outputs)
    return {
        "input_mode": "stdin",
        "starter_code": starter_code or None,
        "checker": "float" if has_decimals else "tokens",
        "case_sensitive": False,
        "float_tol": FLOAT_TOL if has_decimals else None,
    }


def human_solution(
    problem_id: str, key: str, program: Any, language: Any, verdict: str | None, basis: str
) -> dict[str, Any]:
    """A person's program in the columns of `trajectories`."""
    return {
        "problem_id": problem_id,
        "origin": "human",
        "policy_id": "human",
        "source_key": key,
        "program": program,
        "extraction": "given",
        "language": language,
        "claimed_verdict": verdict,
        "claimed_basis": basis,
    }
