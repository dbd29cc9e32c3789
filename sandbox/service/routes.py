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
import ipaddress
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from sandbox.contracts import Judgement, Submission
from sandbox.judging import JUDGE_VERSION
from sandbox.service.requests import Refused, body, read_submissions
from sandbox.service.sandbox_fusion import run_request, run_response
from sandbox.workers import Pool

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse

IN_FLIGHT_PER_WORKER = 4
LOOPBACK_NAMES = ["127.0.0.1", "localhost", "[::1]", "::1"]


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
    from starlette.responses import PlainTextResponse
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
        return (
            submission if isinstance(submission, dict) else run_response(submission, await judged(submission))
        )

    async def judge(request: Request) -> Any:
        submissions = read_submissions(await body(request, token))
        return {"judgements": [asdict(found) for found in await asyncio.gather(*map(judged, submissions))]}

    async def health(_: Request) -> Any:
        return {"tier": pool.tier, "judge_version": JUDGE_VERSION, "workers": len(pool.workers)}

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


def answered(
    handler: Callable[[Request], Awaitable[Any]],
) -> Callable[[Request], Awaitable[JSONResponse]]:
    """The endpoint that sends what a handler returns, or why it refused the request, as JSON."""
    from starlette.responses import JSONResponse

    async def endpoint(request: Request) -> JSONResponse:
        try:
            return JSONResponse(await handler(request))
        except Refused as refused:
            return JSONResponse({"detail": str(refused)}, refused.status)

    return endpoint
