"""Runs one of the generator's own programs in this process and says what verdict it earns.

Only for programs written by this package: there is no isolation here. Everything else is judged in the sandbox.
"""

from __future__ import annotations

import io
import sys
from functools import lru_cache
from types import CodeType, FrameType
from typing import Any

MAX_LINES = 20_000


class TooManyLinesError(Exception):
    """The program ran more lines than any finite one of this data set does."""


@lru_cache(maxsize=4096)
def _compiled(program: str) -> CodeType:
    return compile(program, "<program>", "exec")


def _limiter() -> Any:
    lines = 0

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal lines
        lines += 1
        if lines > MAX_LINES:
            raise TooManyLinesError
        return trace if frame.f_code.co_filename == "<program>" else None

    return trace


def output_of(program: str, text: str) -> str:
    """What the program prints for `text` on stdin. Raises what the program raises, or TooManyLinesError."""
    stdin, stdout, tracer = sys.stdin, sys.stdout, sys.gettrace()
    sys.stdin, sys.stdout = io.StringIO(text), io.StringIO()
    if "while " in program:
        sys.settrace(_limiter())
    try:
        exec(_compiled(program), {"__name__": "__main__"})
        return sys.stdout.getvalue()
    finally:
        sys.settrace(tracer)
        sys.stdin, sys.stdout = stdin, stdout


def passes(program: str, text: str, expected: str) -> bool:
    """True when the program ends and prints the expected tokens."""
    try:
        return output_of(program, text).split() == expected.split()
    except Exception:
        return False


def verdict_of(program: str, tests: list[dict[str, str]]) -> str:
    """The verdict of the first failing test in the order of `tests`, else `accepted`."""
    for test in tests:
        try:
            printed = output_of(program, test["input"])
        except TooManyLinesError:
            return "time_limit_exceeded"
        except Exception:
            return "runtime_error"
        if printed.split() != test["expected_output"].split():
            return "wrong_answer"
    return "accepted"
