"""Tests from lists of inputs and outputs, and the default comparison for data sets without a checker."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, date, datetime
from typing import Any

# Imports that call-based graders put before each program (APPS, TACO, LiveCodeBench, LeetCode).
PREAMBLE = """\
import bisect, collections, copy, datetime, functools, heapq, itertools, math, operator, random, re, string, \
sys
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
ISO_DAY = re.compile(r"\d{4}-(?:0\d|1[0-2])-(?:[0-2]\d|3[01])(?!\d)")
LAST_SECOND = 1e11  # of the year 5138; larger numbers are in other units


def stdin_test(
    kind: str, number: int, value: Any, expected: Any, origin: str | None = None
) -> dict[str, Any]:
    """A test on standard input; input and output may be lists of lines, as in APPS and TACO."""
    return {
        "test_id": f"{kind}/{number}",
        "kind": kind,
        "mode": "stdin",
        "input": joined_lines(value),
        "expected_output": joined_lines(expected),
        "origin": origin,
    }


def call_test(kind: str, number: int, arguments: list[Any], expected: Any) -> dict[str, Any]:
    """A test that calls the entry point with JSON values and compares its result."""
    call = f"candidate({', '.join(map(repr, arguments))})"
    return {
        "test_id": f"{kind}/{number}",
        "kind": kind,
        "mode": "call",
        "input": call,
        "expected_output": repr(expected),
    }


def day(value: Any) -> str | None:
    """The day of a time as YYYY-MM-DD, from text in ISO 8601 or seconds since 1970; None for other values."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < LAST_SECOND:
        return datetime.fromtimestamp(value, UTC).date().isoformat()
    if isinstance(value, datetime | date):
        return value.isoformat()[:10]
    match = ISO_DAY.match(value) if isinstance(value, str) else None
    return match[0] if match else None


def joined_lines(value: Any) -> Any:
    """A list of lines as one text; any other value is returned unchanged and left to validation."""
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        return "\n".join(value)
    return value


def io_tests(value: dict[str, Any]) -> list[dict[str, Any]]:
    """Tests of {"inputs": [...], "outputs": [...], "fn_name"?: ...}, the form of APPS and TACO.

    With `fn_name` each input is a list of arguments. If all outputs of a problem are lists with one element,
    as is usual, they are unwrapped. Raises ValueError for different numbers of inputs and outputs.
    """
    inputs, outputs = value.get("inputs") or [], value.get("outputs") or []
    if len(inputs) != len(outputs):
        raise ValueError(f"{len(inputs)} inputs but {len(outputs)} outputs")
    if not value.get("fn_name"):
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
    """Expression for the function under test: a method if the stub has a class `Solution`."""
    if not name:
        return None
    return f"Solution().{name}" if "class Solution" in (starter_code or "") else name


def mode_columns(
    name: str | None, starter_code: str | None, tests: Iterable[dict[str, Any]]
) -> dict[str, Any]:
    """Input mode, entry point and comparison of a problem without a checker.

    On standard input: tokens with case folded, or numbers within FLOAT_TOL if an expected output has a
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
    """A human program in the columns of `trajectories`."""
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
