"""Comparison of outputs, on bytes, outside the jail.

tokens  Tokens separated by any amount of white space.
lines   Lines; trailing white space of a line and empty lines at the end are ignored.
exact   Every byte.
float   Tokens; where a pair differs, both must be numbers, integers too, within the absolute or the relative
        tolerance (`numbers.py`).
default_validator, domjudge  As those programs, with their flags: see the files of those names.
rcmp4, rcmp6, wcmp, ...      As testlib's standard checkers: see `testlib_standard.py`.
"""

from __future__ import annotations

from sandbox.contracts import Checker
from sandbox.judging import default_validator, domjudge, testlib_standard
from sandbox.judging.compatibility import GRADERS
from sandbox.judging.numbers import Tolerance, tokens_match
from sandbox.validator_flags import parse_flags

WITH_FLAGS = {"default_validator": default_validator.outputs_match, "domjudge": domjudge.outputs_match}
BY_LINES = ("lines", "exact", "sandbox_fusion", "livecodebench", "lcmp", "fcmp")


def outputs_match(actual: bytes, expected: bytes, checker: Checker) -> bool:
    """Whether `actual` is as good as `expected`, for every kind of checker that is not a program.

    Raises AnswerRefused where a standard checker of testlib cannot read `expected`.
    """
    if grader := GRADERS.get(checker.kind):
        return grader(actual, expected)
    if checker.kind in WITH_FLAGS:
        return WITH_FLAGS[checker.kind](actual, expected, parse_flags(checker.arguments))
    if checker.kind in testlib_standard.STANDARD_CHECKERS:
        return testlib_standard.outputs_match(checker.kind, actual, expected)
    if actual == expected:
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
    tolerance = Tolerance(*checker.tolerances)
    return len(actual_tokens) == len(expected_tokens) and all(
        tokens_match(a, e, tolerance) for a, e in zip(actual_tokens, expected_tokens, strict=True)
    )


def first_difference(actual: bytes, expected: bytes, checker: Checker, width: int = 60) -> str:
    """Where two outputs that do not match differ first: one line for a person."""
    unit = "line" if checker.kind in BY_LINES else "token"
    split = {"exact": _whole_lines}.get(checker.kind, _lines if unit == "line" else bytes.split)
    actual_parts, expected_parts = split(actual), split(expected)
    for index, (a, e) in enumerate(zip(actual_parts, expected_parts, strict=False)):
        if not _parts_match(a, e, checker):
            return f"{unit} {index + 1}: {_shown(a, width)} instead of {_shown(e, width)}"
    if len(actual_parts) == len(expected_parts):
        return "equal tokens with other white space between them"
    return f"{len(actual_parts)} {unit}s instead of {len(expected_parts)}"


def _parts_match(actual: bytes, expected: bytes, checker: Checker) -> bool:
    try:
        return outputs_match(actual, expected, checker)
    except testlib_standard.AnswerRefused:  # behind the part that the checker reads
        return True


def _shown(part: bytes, width: int) -> str:
    text = part.decode("utf-8", "replace")
    return repr(text if len(text) <= width else text[:width] + "...")


def _whole_lines(data: bytes) -> list[bytes]:
    return data.split(b"\n")


def _lines(data: bytes) -> list[bytes]:
    lines = [line.rstrip() for line in data.split(b"\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines
