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
from sandbox.judging.values import decode, is_identical, long_integers, normalised, shown_value, values_match


@dataclass(frozen=True)
class Job:
    """The request for a supervisor, and the required answer: a value (`expected`), a report that the test
    passed, or the token.

    `identical`: the test says `is`, not `==`. `isolated`: for the assertion jail. A job for the program's
    jail has a token, or is one call of the function itself.
    """

    request: bytes
    token: str = ""
    expected: Any = None
    has_value: bool = False
    isolated: bool = False
    identical: bool = False


def make_job(test: Test, entry_point: str) -> Job:
    """The job for one assert, check or call test. A test that is not valid Python is sent as it is, and
    fails.
    """
    request: dict[str, Any] = {"candidate": entry_point}
    with long_integers():
        parts = _call_and_literal(test) if test.mode != "check" else None
        direct = parts is not None and _is_direct(parts[0], entry_point)
    if parts:
        call, expected, identical = parts
        request |= {"call": call} if direct else {"call": call, "names": names_of(entry_point)}
        return Job(json.dumps(request).encode(), "", expected, True, not direct, identical)
    request["names"] = names_of(entry_point)
    request |= {"code": _code(test), "check": test.mode == "check"}
    return Job(json.dumps(request).encode(), isolated=True)


def make_unisolated_job(test: Test, entry_point: str) -> Job:
    """The job for a test that must run in the program's own jail. The caller marks the judgement."""
    token = secrets.token_hex(16)
    request = {"candidate": entry_point, "code": _code(test), "check": test.mode == "check", "token": token}
    return Job(json.dumps(request).encode(), token)


def names_of(entry_point: str) -> list[str]:
    """The names, beside `candidate`, by which a test may call the function."""
    return [entry_point] if entry_point.isidentifier() else []


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
        value = decode(decoded["value"])
        if job.identical:
            return is_identical(value, job.expected)
        return values_match(value, normalised(job.expected), checker)
    except (ValueError, KeyError, TypeError, RecursionError):
        return False


def shown_answer(answer: bytes) -> str:
    """The returned value, or the assertion's message, shortened for a person."""
    try:
        decoded = json.loads(answer)
        if "failed" in decoded:
            return f"the assertion failed: {decoded['failed']}".rstrip(": ")[:200]
        return f"gave {shown_value(decode(decoded['value']))}"[:200]
    except (ValueError, KeyError, TypeError, RecursionError):
        return "left before the end of the test"


def _call_and_literal(test: Test) -> tuple[str, Any, bool] | None:
    """The call, the value that it must return, and whether it must be the same object, if the test has that
    form; else None.
    """
    try:
        if test.mode == "call":
            ast.parse(test.input.strip(), mode="eval")
            return test.input, ast.literal_eval((test.expected_output or "").strip()), False
        statement = _only_assertion(test.input)
        if (
            isinstance(statement, ast.Compare)
            and len(statement.ops) == 1
            and isinstance(statement.left, ast.Call)
        ):
            right, operator = statement.comparators[0], statement.ops[0]
            identical = isinstance(operator, ast.Is) and isinstance(right, ast.Constant)
            if isinstance(operator, ast.Eq) or identical:
                return ast.unparse(statement.left), ast.literal_eval(right), identical
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        pass
    return None


def _only_assertion(code: str) -> ast.expr | None:
    body = ast.parse(code.strip()).body
    return body[0].test if len(body) == 1 and isinstance(body[0], ast.Assert) else None
