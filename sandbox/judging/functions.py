"""Function tests, outside the jails: what goes in, and whether what came back is right.

`assert CALL == LITERAL` and `call` tests whose CALL is of the function under test itself: only the call goes
in, the value comes back as data and is compared here. Any other assertion runs in a jail of its own, see
`assertions.py`; beside the program, with a random token as its pass, runs only what cannot be taken apart
from it. A program that searches the interpreter's frames for the token can forge that pass, so such
judgements are marked.
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
    """What a supervisor is to run, and what must come back: a value (`expected`), a report that it passed, or
    the token.

    `isolated`: for the asserting jail. A job for the program's jail has a token, or is one call of the
    function itself.
    """

    request: bytes
    token: str = ""
    expected: Any = None
    has_value: bool = False
    isolated: bool = False


def make_job(test: Test, entry_point: str) -> Job:
    """The job for one assert, check or call test. A test that is not valid Python is sent as it is, and
    fails.
    """
    request: dict[str, Any] = {"candidate": entry_point}
    found = _call_and_literal(test) if test.mode != "check" else None
    if found and _is_direct(found[0], entry_point):
        return Job(json.dumps(request | {"call": found[0]}).encode(), expected=found[1], has_value=True)
    request["names"] = [entry_point] if entry_point.isidentifier() else []
    if found:
        return Job(json.dumps(request | {"call": found[0]}).encode(), "", found[1], True, True)
    request |= {"code": _code(test), "check": test.mode == "check"}
    return Job(json.dumps(request).encode(), isolated=True)


def make_job_beside_the_program(test: Test, entry_point: str) -> Job:
    """The job for a test that cannot be taken apart from the program. Whoever uses it marks the judgement."""
    token = secrets.token_hex(16)
    request = {"candidate": entry_point, "code": _code(test), "check": test.mode == "check", "token": token}
    return Job(json.dumps(request).encode(), token)


def _code(test: Test) -> str:
    return test.input if test.mode != "call" else f"assert ({test.input}) == ({test.expected_output})"


def _is_direct(call: str, entry_point: str) -> bool:
    """Whether a call's value is the tested function's own, with nothing between them that the program could
    replace.

    That is a call of the entry point. Where none is named, it is the only function that the expression calls.
    """
    expression = ast.parse(call.strip(), mode="eval").body
    if not isinstance(expression, ast.Call):
        return False
    if entry_point:
        return ast.unparse(expression.func) in ("candidate", ast.unparse(ast.parse(entry_point, mode="eval")))
    arguments = [*expression.args, *(keyword.value for keyword in expression.keywords)]
    inner = [node for argument in arguments for node in ast.walk(argument)]
    return not any(isinstance(node, ast.Call) and not _makes_an_object(node) for node in inner)


def _makes_an_object(call: ast.Call) -> bool:
    """Whether it is a call of a class, by its name."""
    return isinstance(call.func, ast.Name) and call.func.id[:1].isupper()


def answer_matches(answer: bytes, job: Job, checker: Checker) -> bool:
    """Whether the supervisor's answer is the right one. Anything malformed is not."""
    try:
        decoded = json.loads(answer)
        if not job.has_value:
            return isinstance(decoded, dict) and bool(job.token) and decoded.get("token") == job.token
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


def _call_and_literal(test: Test) -> tuple[str, Any] | None:
    """The call and the value that it must give, where the test has that form."""
    try:
        if test.mode == "call":
            ast.parse(test.input.strip(), mode="eval")
            return test.input, ast.literal_eval((test.expected_output or "").strip())
        statement = _only_assertion(test.input)
        if (
            isinstance(statement, ast.Compare)
            and len(statement.ops) == 1
            and isinstance(statement.left, ast.Call)
        ):
            right, constant = statement.comparators[0], isinstance(statement.comparators[0], ast.Constant)
            if isinstance(statement.ops[0], ast.Eq) or (isinstance(statement.ops[0], ast.Is) and constant):
                return ast.unparse(statement.left), ast.literal_eval(right)
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        pass
    return None


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
    """Python equality; with a float checker, floats within its tolerance wherever they stand in lists and
    dicts.
    """
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
