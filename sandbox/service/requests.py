"""What a request to the judge must look like: its type, its size, the time it takes to arrive, and its
fields.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NoReturn

from sandbox.bounds import MIB, Files, is_number, is_plain_name, shown
from sandbox.contracts import Checker, Limits, Submission, Test
from sandbox.service import bounds
from sandbox.service.guard import Budget, Refused

if TYPE_CHECKING:
    from starlette.requests import Request

PARTS = {"limits": Limits, "checker": Checker, "tests": Test}  # of a submission
MAX_CHARACTERS = 300  # of a refusal
LIMITS = {
    "time_s": bounds.MAX_TIME_S,
    "memory_mb": bounds.MAX_MEMORY_MB,
    "output_bytes": bounds.MAX_OUTPUT_BYTES,
    "processes": bounds.MAX_PROCESSES,
    "wall_limit_s": bounds.MAX_WALL_S,
}


class Body:
    """The body of one request, whose bytes are given back to the budget at the end. An asynchronous
    context manager.
    """

    def __init__(self, request: Request, budget: Budget) -> None:
        self.request, self.budget, self.held = request, budget, 0

    async def __aenter__(self) -> Any:
        """The body's JSON. Raises Refused."""
        try:
            return await self._read()
        except BaseException:
            self.budget.give_back(self.held)
            raise

    async def __aexit__(self, *_: object) -> None:
        self.budget.give_back(self.held)

    async def _read(self) -> Any:
        if self.request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            raise Refused(415, "the body must be application/json")
        declared = self.request.headers.get("content-length", "0")
        if not declared.isdecimal() or len(declared) > 18 or int(declared) > bounds.MAX_BODY_BYTES:
            raise Refused(413, f"the body is larger than {bounds.MAX_BODY_BYTES // MIB} MiB")
        parts, end = [], time.monotonic() + bounds.BODY_S
        stream = aiter(self.request.stream())
        while True:
            try:
                left_s = min(bounds.CHUNK_S, end - time.monotonic())
                part = await asyncio.wait_for(anext(stream), max(left_s, 0.001))
            except StopAsyncIteration:
                break
            except TimeoutError:
                raise Refused(408, "the body takes too long to arrive") from None
            self.budget.take(len(part))
            self.held += len(part)
            parts.append(part)
            if self.held > bounds.MAX_BODY_BYTES:
                raise Refused(413, f"the body is larger than {bounds.MAX_BODY_BYTES // MIB} MiB")
        return await asyncio.to_thread(read_json, b"".join(parts))


def read_json(text: bytes) -> Any:
    """Raises Refused for what is not JSON, or holds NaN, an infinity, half a surrogate pair, or too many
    levels.
    """
    try:
        value = json.loads(text, parse_constant=refuse_constant)
        for string in strings_in(value):
            if not string.isascii():
                string.encode()
    except RecursionError as error:
        raise Refused(422, "the body is nested too deeply") from error
    except UnicodeEncodeError as error:
        raise Refused(422, "the body holds half a surrogate pair, which is no character") from error
    except ValueError as error:
        raise Refused(422, f"the body is not JSON: {error}"[:MAX_CHARACTERS]) from error
    return value


def refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number of JSON")


def strings_in(document: Any) -> Iterator[str]:
    """All strings, keys too."""
    waiting = [document]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, list):
            waiting += value
        elif isinstance(value, dict):
            waiting += value
            waiting += value.values()


def read_submissions(given: Any) -> list[Submission]:
    """Raises Refused, naming the field."""
    from pydantic import TypeAdapter, ValidationError

    if (
        not isinstance(given, dict)
        or given.keys() != {"submissions"}
        or not isinstance(given["submissions"], list)
    ):
        raise Refused(422, 'the body must be {"submissions": [...]}')
    if len(given["submissions"]) > bounds.MAX_SUBMISSIONS:
        raise Refused(422, f"submissions: more than {bounds.MAX_SUBMISSIONS}")
    for number, one in enumerate(given["submissions"]):
        check_fields(one, Submission, f"submissions.{number}")
    try:
        submissions = TypeAdapter(list[Submission]).validate_python(given["submissions"])
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise Refused(422, f"submissions.{where}: {first['msg']}"[:MAX_CHARACTERS]) from error
    for number, submission in enumerate(submissions):
        check_limits(submission.limits, f"submissions.{number}.limits")
        for checker in (submission.checker, submission.checker.then):
            if checker:
                check_limits(checker, f"submissions.{number}.checker")
        check_file_names(submission, f"submissions.{number}")
        if submission.fetch_files:
            raise Refused(422, f"submissions.{number}.fetch_files: only /run_code returns files")
    if sum(len(submission.tests) for submission in submissions) > bounds.MAX_TESTS:
        raise Refused(422, f"submissions: more than {bounds.MAX_TESTS} tests in all")
    if (
        sum(2 * submission.keep_bytes * len(submission.tests) for submission in submissions)
        > bounds.MAX_KEPT_BYTES
    ):
        raise Refused(422, f"keep_bytes: more than {bounds.MAX_KEPT_BYTES // MIB} MiB of output in all")
    return submissions


def check_file_names(submission: Submission, where: str) -> None:
    """Raises Refused for a file in a folder: packages have such files, clients name plain files only."""
    holders: list[tuple[str, Files]] = [("", submission.files), (".checker", submission.checker.files)]
    if submission.checker.then:
        holders.append((".checker.then", submission.checker.then.files))
    if submission.scoring and submission.scoring.grader:
        holders.append((".scoring.grader", submission.scoring.grader.files))
    holders += [(f".tests.{number}", test.files) for number, test in enumerate(submission.tests)]
    for field, files in holders:
        for name, _ in files:
            if not is_plain_name(name):
                raise Refused(422, f"{where}{field}.files: {shown(name)} is not a plain file name")


def check_fields(given: Any, kind: type, where: str) -> None:
    """Raises Refused for a field that a record does not have, which would be a setting that is not
    applied, and for a limit that is not a number, which would be converted to one."""
    if not isinstance(given, dict):
        return
    unknown = given.keys() - {field.name for field in dataclasses.fields(kind)}
    if unknown:
        raise Refused(422, f"{where}: unknown field {shown(min(unknown))}")
    for field in LIMITS if kind is Limits else ():
        value = given.get(field)
        if value is not None and not is_number(value, (int, float)):
            raise Refused(422, f"{where}.{field}: not {shown(value)}; a number is required")
    if kind is Checker:
        check_fields(given.get("then"), Checker, f"{where}.then")
    for name, part in PARTS.items() if kind is Submission else ():
        values = given.get(name)
        for number, value in enumerate(values) if isinstance(values, list) else ():
            check_fields(value, part, f"{where}.{name}.{number}")
        check_fields(values, part, f"{where}.{name}")


def check_limits(limits: Limits | Checker, where: str) -> None:
    """Raises Refused for a limit above what this service gives."""
    for field, largest in LIMITS.items():
        value = getattr(limits, field, None)
        if value is not None and value > largest:
            raise Refused(422, f"{where}.{field}: {largest:g} at most")
