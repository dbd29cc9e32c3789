"""Comparison of outputs, on bytes, outside the jail.

tokens  Tokens separated by any amount of white space.
lines   Lines; trailing white space of a line and empty lines at the end are ignored.
exact   Every byte.
float   Tokens; where a pair differs, both must be numbers within `float_tol`, absolute or relative. Integers
        must be equal, however large they are. NaN equals nothing; infinity equals itself.
"""

from __future__ import annotations

import math
import re

from sandbox.contracts import Checker
from sandbox.judging.compatibility import GRADERS

INTEGER = re.compile(rb"[+-]?[0-9]+")
NUMBER = re.compile(
    rb"[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|inf(?:inity)?|nan)", re.IGNORECASE
)


def outputs_match(actual: bytes, expected: bytes, checker: Checker) -> bool:
    """Whether `actual` is as good as `expected`, for every kind of checker that is not a program."""
    if grader := GRADERS.get(checker.kind):
        return grader(actual, expected)
    if checker.kind != "float" and actual == expected:
        return True
    if not checker.case_sensitive:
        actual, expected = actual.lower(), expected.lower()
    if checker.kind == "exact":
        return actual == expected
    if checker.kind == "lines":
        return _lines(actual) == _lines(expected)
    actual_tokens, expected_tokens = actual.split(), expected.split()
    if checker.kind == "tokens":
        return actual_tokens == expected_tokens
    return len(actual_tokens) == len(expected_tokens) and all(
        _numbers_match(a, e, checker.float_tol) for a, e in zip(actual_tokens, expected_tokens, strict=True)
    )


def first_difference(actual: bytes, expected: bytes, checker: Checker, width: int = 60) -> str:
    """Where two outputs that do not match differ first: one line for a person."""
    unit = "line" if checker.kind in ("lines", "exact", "sandbox_fusion", "livecodebench") else "token"
    split = _lines if unit == "line" else bytes.split
    actual_parts, expected_parts = split(actual), split(expected)
    for index, (a, e) in enumerate(zip(actual_parts, expected_parts, strict=False)):
        kind = "exact" if checker.kind == "lines" else checker.kind
        one = Checker(kind, checker.case_sensitive, checker.float_tol)
        if not outputs_match(a, e, one):
            return f"{unit} {index + 1}: {_shown(a, width)} instead of {_shown(e, width)}"
    return f"{len(actual_parts)} {unit}s instead of {len(expected_parts)}"


def _shown(part: bytes, width: int) -> str:
    text = part.decode("utf-8", "replace")
    return repr(text if len(text) <= width else text[:width] + "...")


def _lines(data: bytes) -> list[bytes]:
    lines = [line.rstrip() for line in data.split(b"\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def _numbers_match(actual: bytes, expected: bytes, tolerance: float) -> bool:
    if INTEGER.fullmatch(actual) and INTEGER.fullmatch(expected):
        return _integer_key(actual) == _integer_key(expected)
    if not (NUMBER.fullmatch(actual) and NUMBER.fullmatch(expected)):
        return actual == expected
    a, e = float(actual), float(expected)
    return floats_match(a, e, tolerance)


def floats_match(actual: float, expected: float, tolerance: float) -> bool:
    """Whether two floats are within `tolerance`, absolute or relative to `expected`. NaN matches nothing."""
    if math.isnan(actual) or math.isnan(expected):
        return False
    if math.isinf(actual) or math.isinf(expected):
        return actual == expected
    return abs(actual - expected) <= tolerance * max(1.0, abs(expected))


def _integer_key(token: bytes) -> tuple[bool, bytes]:
    """Sign and digits without leading zeros: integers of any length are compared in linear time."""
    digits = token.lstrip(b"+-").lstrip(b"0")
    return (token.startswith(b"-") and bool(digits), digits)
