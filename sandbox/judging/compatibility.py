"""Comparison as three public graders do it, to reproduce figures published with them. Their defects are kept.

code_contests   DeepMind's CodeContests (execution/tester_sandboxer.cc, OutputsMatch): tokens in lower case.
                Where the outputs differ anywhere, each pair of numbers must be within 1e-5, absolutely and as
                doubles: so 9007199254740993 passes for 9007199254740992, 0.000001 for 0, and inf never for
                inf.
sandbox_fusion  SandboxFusion (datasets, check_stdio_test_case): the same number of lines, stripped and in
                lower case; a line that is one number may be off by a relative 1e-5. (SandboxFusion also calls
                any output over some 150 KB a time-out; that is not kept.)
livecodebench   LiveCodeBench (lcb_runner/evaluation/testing_util.py): the same number of lines, stripped;
                lines that differ must be equal number by number as decimals, without a tolerance for floats.
                (Its runner also fails programs that read sys.stdin.buffer; that is not kept.)
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation

CODE_CONTESTS_TOKEN = re.compile(rb"[^ \n\t\r\v]+")
CODE_CONTESTS_NUMBER = re.compile(
    rb"[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?|inf(?:inity)?|nan)"
)
CODE_CONTESTS_PRECISION = 1e-5
SANDBOX_FUSION_TOLERANCE, SANDBOX_FUSION_LEAST = 1e-5, 1e-10


def code_contests(actual: bytes, expected: bytes) -> bool:
    actual_tokens, expected_tokens = (
        CODE_CONTESTS_TOKEN.findall(text.lower()) for text in (actual, expected)
    )
    if actual_tokens == expected_tokens:
        return True
    return len(actual_tokens) == len(expected_tokens) and all(
        _close_doubles(a, e) for a, e in zip(actual_tokens, expected_tokens, strict=True)
    )


def _close_doubles(actual: bytes, expected: bytes) -> bool:
    if CODE_CONTESTS_NUMBER.fullmatch(actual) and CODE_CONTESTS_NUMBER.fullmatch(expected):
        return abs(float(actual) - float(expected)) < CODE_CONTESTS_PRECISION
    return actual == expected


def sandbox_fusion(actual: bytes, expected: bytes) -> bool:
    actual_lines, expected_lines = (
        text.decode("utf-8", "replace").strip().split("\n") for text in (actual, expected)
    )
    return len(actual_lines) == len(expected_lines) and all(
        a.lower().strip() == e.lower().strip() or _close_lines(a, e)
        for a, e in zip(actual_lines, expected_lines, strict=True)
    )  # fmt: skip


def _close_lines(actual: str, expected: str) -> bool:
    try:
        a, e = float(actual), float(expected)
    except ValueError:
        return False
    return abs(a - e) / max(abs(e), SANDBOX_FUSION_LEAST) < SANDBOX_FUSION_TOLERANCE


def livecodebench(actual: bytes, expected: bytes) -> bool:
    actual_lines, expected_lines = (
        _stripped_lines(text.decode("utf-8", "replace")) for text in (actual, expected)
    )
    return len(actual_lines) == len(expected_lines) and all(
        a == e or _equal_decimals(a, e) for a, e in zip(actual_lines, expected_lines, strict=True)
    )


def _stripped_lines(text: str) -> list[str]:
    return [line.strip() for line in text.strip().split("\n")]


def _equal_decimals(actual: str, expected: str) -> bool:
    try:
        return [Decimal(word) for word in actual.split()] == [Decimal(word) for word in expected.split()]
    except InvalidOperation:
        return False


GRADERS = {"code_contests": code_contests, "sandbox_fusion": sandbox_fusion, "livecodebench": livecodebench}
