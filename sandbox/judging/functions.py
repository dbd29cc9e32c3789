"""Function tests, outside the jail: what goes in, and whether what came back is right.

`assert CALL == LITERAL` and `call` tests: only the call goes in, the value comes back as data and is compared here.
Any other assertion must run beside the program. A pass is then a random token handed back after the assertion, so that
leaving early is no pass; a program that searches the interpreter's frames for the token can still forge it.
"""

from __future__ import annotations

import ast
import json
import secrets
from dataclasses import dataclass
from typing import Any

from sandbox.contracts import Checker, Test
from sandbox.judging.compare import floats_match


@dataclass(frozen=True)
class Opaque:
    """A value that is no plain data: truthy, equal to nothing."""

    type_name: str

    def __eq__(self, other: object) -> bool:
        return False

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True)
class Job:
    """What the supervisor is to run, and what must come back: a value (`expected`) or the token."""

    request: bytes
    token: str = ""
    expected: Any = None


def make_job(test: Test, entry_point: str) -> Job:
    """The job for one assert, check or call test. A test that is no valid Python is sent as it is, and fails."""
    request: dict[str, Any] = {"candidate": entry_point}
    if test.mode != "check":
        call, expected, found = _call_and_literal(test)
        if found:
            return Job(json.dumps(request | {"call": call}).encode(), expected=expected)
    code = test.input if test.mode != "call" else f"assert ({test.input}) == ({test.expected_output})"
    token = secrets.token_hex(16)
    request |= {"code": code, "check": test.mode == "check", "token": token}
    return Job(json.dumps(request).encode(), token)


def answer_matches(answer: bytes, job: Job, checker: Checker) -> bool:
    """Whether the supervisor's answer is the right one. Anything malformed is not."""
    try:
        decoded = json.loads(answer)
        if job.token:
            return isinstance(decoded, dict) and decoded.get("token") == job.token
        return values_match(decode(decoded["value"]), normalised(job.expected), checker)
    except (ValueError, KeyError, TypeError, RecursionError):
        return False


def shown_answer(answer: bytes) -> str:
    """For a person: the value that came back, or what the assertion said; shortened."""
    try:
        decoded = json.loads(answer)
        if "failed" in decoded:
            return f"the assertion failed: {decoded['failed']}".rstrip(": ")[:200]
        return f"gave {decode(decoded['value'])!r}"[:200]
    except (ValueError, KeyError, TypeError, RecursionError):
        return "left before the end of the test"


def _call_and_literal(test: Test) -> tuple[str, Any, bool]:
    """The call, the value it must give, and whether the test has that form."""
    try:
        if test.mode == "call":
            return test.input, ast.literal_eval((test.expected_output or "").strip()), True
        statement = _only_assertion(test.input)
        if (
            isinstance(statement, ast.Compare)
            and len(statement.ops) == 1
            and isinstance(statement.left, ast.Call)
        ):
            right, constant = statement.comparators[0], isinstance(statement.comparators[0], ast.Constant)
            if isinstance(statement.ops[0], ast.Eq) or (isinstance(statement.ops[0], ast.Is) and constant):
                return ast.unparse(statement.left), ast.literal_eval(right), True
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        pass
    return "", None, False


def _only_assertion(code: str) -> ast.expr | None:
    body = ast.parse(code.strip()).body
    return body[0].test if len(body) == 1 and isinstance(body[0], ast.Assert) else None


def decode(value: Any, hashable: bool = False) -> Any:
    """The inverse of the supervisor's `encode`, with tuples as lists (as tuples where they must be hashable)."""
    if not isinstance(value, list):
        return value
    kind, *rest = value
    if kind == "int":
        return int(rest[0], 16)
    if kind == "float":
        return float(rest[0])
    if kind == "complex":
        return complex(float(rest[0]), float(rest[1]))
    if kind == "bytes":
        return bytes.fromhex(rest[0])
    if kind == "list":
        items = [decode(item, hashable) for item in rest[0]]
        return tuple(items) if hashable else items
    if kind == "set":
        return frozenset(decode(item, True) for item in rest[0])
    if kind == "dict":
        return {decode(key, True): decode(item) for key, item in rest[0]}
    return Opaque(str(rest[0]))


def normalised(value: Any, hashable: bool = False) -> Any:
    """A literal in the form `decode` gives."""
    if isinstance(value, list | tuple):
        items = [normalised(item, hashable) for item in value]
        return tuple(items) if hashable else items
    if isinstance(value, set | frozenset):
        return frozenset(normalised(item, True) for item in value)
    if isinstance(value, dict):
        return {normalised(key, True): normalised(item) for key, item in value.items()}
    return value


def values_match(actual: Any, expected: Any, checker: Checker) -> bool:
    """Python equality; with a float checker, floats within its tolerance wherever they stand in lists and dicts."""
    if checker.kind != "float":
        return bool(actual == expected)
    if isinstance(expected, list) and isinstance(actual, list):
        return len(actual) == len(expected) and all(
            values_match(a, e, checker) for a, e in zip(actual, expected, strict=True)
        )
    if isinstance(expected, dict) and isinstance(actual, dict):
        return actual.keys() == expected.keys() and all(
            values_match(actual[k], expected[k], checker) for k in expected
        )
    if (isinstance(expected, float) or isinstance(actual, float)) and _is_real(actual) and _is_real(expected):
        return floats_match(float(actual), float(expected), checker.float_tol)
    return bool(actual == expected)


def _is_real(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
