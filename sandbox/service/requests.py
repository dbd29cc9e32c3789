"""What a request to the judge must look like: its token, its type, its size and its fields."""

from __future__ import annotations

import hmac
import json
from typing import TYPE_CHECKING, Any

from sandbox.contracts import MIB, Submission

if TYPE_CHECKING:
    from starlette.requests import Request

MAX_BODY_BYTES = 256 * MIB


class Refused(Exception):
    """A request that is not served: an HTTP status and one line."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


async def body(request: Request, token: str | None) -> Any:
    """The JSON of a request that may be served. Raises Refused."""
    given = request.headers.get("authorization", "")
    if token and not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
        raise Refused(401, "this service needs its token: Authorization: Bearer TOKEN")
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise Refused(415, "the body must be application/json")
    parts, size = [], 0
    async for part in request.stream():
        parts.append(part)
        size += len(part)
        if size > MAX_BODY_BYTES:
            raise Refused(413, f"the body is larger than {MAX_BODY_BYTES // MIB} MiB")
    try:
        return json.loads(b"".join(parts))
    except ValueError as error:
        raise Refused(422, f"the body is no JSON: {error}") from error


def read_submissions(given: Any) -> list[Submission]:
    """Raises Refused, naming the field."""
    from pydantic import TypeAdapter, ValidationError

    if not isinstance(given, dict) or "submissions" not in given:
        raise Refused(422, 'the body must be {"submissions": [...]}')
    try:
        return TypeAdapter(list[Submission]).validate_python(given["submissions"])
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise Refused(422, f"submissions.{where}: {first['msg']}") from error
