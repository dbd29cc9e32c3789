"""The judge over HTTP, for clients in other processes and on other machines.

POST /run_code   one run of one program; fields of request and response are SandboxFusion's
                 (https://bytedance.github.io/SandboxFusion/docs/api/run-code-run-code-post), for clients such as verl's.
                 `files` and `fetch_files` are answered with SandboxError; `compile_timeout` is read and not used: compilers
                 have limits of their own. Times are CPU time, and sleep counts up to `run_timeout` as well.
POST /judge      {"submissions": [...]} -> {"judgements": [...]} with the fields of `contracts.py`, in the same order.
GET /health      {"tier", "judge_version", "workers"}; GET /v1/ping says "pong".

On loopback it serves whoever is on this machine; anywhere else only with `Authorization: Bearer TOKEN`.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from sandbox.contracts import MIB, Judgement, Limits, Submission, Test
from sandbox.languages import find_language
from sandbox.pool import JUDGE_VERSION, Pool

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request

LANGUAGES = {"python": "python3", "nodejs": "javascript"}  # SandboxFusion's names that are not ours
DEFAULT_TIMEOUT_S, DEFAULT_MEMORY_MB = 10.0, 1024
MAX_BODY_BYTES = 256 * MIB
KEEP_BYTES = 16 * MIB
IN_FLIGHT_PER_WORKER = 4
LOOPBACK_NAMES = ["127.0.0.1", "localhost", "[::1]", "::1"]


class Refused(Exception):
    """A request that is not served: an HTTP status and one line."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def application(pool: Pool, token: str | None = None, everywhere: bool = False) -> Starlette:
    """The service on a pool. `everywhere`: not only for this machine; then a token is needed. Raises ValueError without."""
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.responses import JSONResponse, PlainTextResponse
    from starlette.routing import Route

    if everywhere and not token:
        raise ValueError("a service for other machines needs a token")
    # Whoever has more to do waits here, and not in memory.
    places = asyncio.Semaphore(IN_FLIGHT_PER_WORKER * len(pool.workers))

    async def judged(submission: Submission) -> Judgement:
        async with places:
            return await asyncio.to_thread(pool.judge, submission)

    async def run_code(request: Request) -> Any:
        submission = run_request(await body(request, token))
        return submission if isinstance(submission, dict) else run_response(submission, await judged(submission))

    async def judge(request: Request) -> Any:
        submissions = read_submissions(await body(request, token))
        return {"judgements": [asdict(found) for found in await asyncio.gather(*map(judged, submissions))]}

    async def health(_: Request) -> Any:
        return {"tier": pool.tier, "judge_version": JUDGE_VERSION, "workers": len(pool.workers)}

    def answered(handler: Callable[[Request], Awaitable[Any]]) -> Callable[[Request], Awaitable[JSONResponse]]:
        async def endpoint(request: Request) -> JSONResponse:
            try:
                return JSONResponse(await handler(request))
            except Refused as refused:
                return JSONResponse({"detail": str(refused)}, refused.status)

        return endpoint

    async def ping(_: Request) -> PlainTextResponse:
        return PlainTextResponse("pong")

    routes = [
        Route("/run_code", answered(run_code), methods=["POST"]),
        Route("/judge", answered(judge), methods=["POST"]),
        Route("/health", answered(health)),
        Route("/v1/ping", ping),
    ]
    # A web page must not reach a loopback service under a name of its own.
    names = ["*"] if everywhere else LOOPBACK_NAMES
    return Starlette(routes=routes, middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=names)])


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


def run_request(given: Any) -> Submission | dict[str, Any]:
    """The run that is asked for, or at once the answer to what cannot be done. Raises Refused."""
    if not isinstance(given, dict):
        raise Refused(422, "the body must be an object")
    for field, kind in (("code", str), ("language", str)):
        if not isinstance(given.get(field), kind):
            raise Refused(422, f"{field}: a string is required")
    stdin, timeout_s, memory_mb = given.get("stdin") or "", given.get("run_timeout"), given.get("memory_limit_MB")
    numbers = (("run_timeout", timeout_s or 0, (int, float)), ("memory_limit_MB", memory_mb or 0, (int,)))
    for field, value, kinds in (("stdin", stdin, (str,)), *numbers):
        if not isinstance(value, kinds):
            raise Refused(422, f"{field}: not {value!r}")
    if given.get("files") or given.get("fetch_files"):
        return answer("SandboxError", "files and fetch_files are not served here")
    seconds = float(timeout_s) if timeout_s and timeout_s > 0 else DEFAULT_TIMEOUT_S
    limits = Limits(
        time_s=seconds, memory_mb=memory_mb if memory_mb and memory_mb > 0 else DEFAULT_MEMORY_MB, wall_limit_s=seconds
    )
    name = str(given["language"])
    language = LANGUAGES.get(name, name)
    return Submission(given["code"], language, (Test("run", "stdin", stdin),), limits, keep_bytes=KEEP_BYTES)


def answer(status: str, message: str, compiled: Any = None, run: Any = None) -> dict[str, Any]:
    return {
        "status": status, "message": message, "compile_result": compiled, "run_result": run, "executor_pod_name": None,
        "files": {},
    }  # fmt: skip


def command(status: str, seconds: float | None, code: int | None, stdout: str, stderr: str) -> dict[str, Any]:
    return {"status": status, "execution_time": seconds, "return_code": code, "stdout": stdout, "stderr": stderr}


def run_response(submission: Submission, judgement: Judgement) -> dict[str, Any]:
    """A judgement in SandboxFusion's words."""
    if judgement.verdict == "compile_error":
        late = "went over its limit of" in judgement.compile_output
        failed = command("TimeLimitExceeded" if late else "Finished", None, None if late else 1, "", judgement.compile_output)
        if find_language(submission.language) == find_language("python3"):  # has no step of its own for it
            return answer("Failed", "", None, failed)
        return answer("Failed", "", failed)
    if judgement.verdict in ("judge_error", "language_unavailable"):
        why = judgement.compile_output or next((test.detail for test in judgement.tests), "")
        return answer("SandboxError", why)
    language, (test,), (output,) = find_language(submission.language), judgement.tests, judgement.outputs
    compile_step = bool(language and language.compile)
    compiled = command("Finished", None, 0, "", "") if compile_step else None
    if judgement.verdict == "time_limit_exceeded":
        late_run = command("TimeLimitExceeded", test.wall_s, None, output.stdout, output.stderr)
        return answer("Failed", "", compiled, late_run)
    code = -test.signal if test.signal else test.exit_code
    if judgement.verdict in ("memory_limit_exceeded", "output_limit_exceeded") and not code:
        code = -9
    run = command("Finished", test.wall_s, code, output.stdout, output.stderr)
    return answer("Failed" if code else "Success", "", compiled, run)
