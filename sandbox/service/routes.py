"""The judge over HTTP, for clients in other processes and on other machines.

POST /run_code   one run of one program; fields of request and response are SandboxFusion's
                 (https://bytedance.github.io/SandboxFusion/docs/api/run-code-run-code-post), for clients such
                 as verl's. `files` and `fetch_files` are relative to the working folder, or start with
                 /tmp/, which is that folder here; other places are answered with SandboxError. Both timeouts
                 limit CPU time, in which waiting for a processor is not counted, and `run_timeout` also
                 limits sleep; `execution_time` is wall time.
POST /judge      {"submissions": [...]} -> {"judgements": [...]} with the fields of `contracts.py`, in the
                 same order.
GET /health      {"tier", "judge_version", "workers"}
GET /v1/ping     pong

Every request needs `Authorization: Bearer TOKEN` (but for ping), and none may come from a web page. What is
out of bounds (`bounds.py`) is refused with 4xx and one line. Requests take turns, one program each, so that a
client waits for at most one program of every other client's per worker; a program whose client has gone is
ended.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from sandbox.contracts import Judgement, Submission
from sandbox.service import bounds
from sandbox.service.guard import Budget, Guard, Refused, checked_token
from sandbox.service.requests import Body, read_submissions
from sandbox.service.sandbox_fusion import run_request, run_response
from sandbox.service.turns import Turns
from sandbox.workers import Pool, Result

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

LOOPBACK_NAMES = ["127.0.0.1", "localhost", "[::1]", "::1"]
CLIENT_GONE = 499  # nobody reads it


def is_loopback(host: str) -> bool:
    """Whether an address to listen on can be reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def application(pool: Pool, token: str | None = None, everywhere: bool = False) -> Starlette:
    """The service on a pool. `everywhere`: not only for this machine.

    Without a token it serves every process of this machine; `spo serve-judge` always has one. Raises
    ValueError for an empty token, and for a service for other machines without one.
    """
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    if everywhere and checked_token(token) is None:
        raise ValueError("a service for other machines needs a token")
    service = Service(pool)

    async def ping(_: Request) -> PlainTextResponse:
        return PlainTextResponse("pong")

    routes = [
        Route("/run_code", json_endpoint(service.run_code), methods=["POST"]),
        Route("/judge", json_endpoint(service.judge), methods=["POST"]),
        Route("/health", json_endpoint(service.health)),
        Route("/v1/ping", ping),
    ]
    # A web page must not reach a loopback service under a name of its own.
    names = ["*"] if everywhere else LOOPBACK_NAMES
    guard = Middleware(Guard, token=checked_token(token))
    return Starlette(
        routes=routes, middleware=[guard, Middleware(TrustedHostMiddleware, allowed_hosts=names)]
    )


class Service:
    """What the routes do, with one pool."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        # One program per worker at a time: what waits, waits for its turn and not in the pool's own order.
        self.turns = Turns(len(pool.workers))
        self.budget = Budget(bounds.MAX_BODIES_BYTES)

    async def run_code(self, request: Request) -> Any:
        async with Body(request, self.budget) as given:
            submission = run_request(given)
            if isinstance(submission, dict):
                return submission
            (judgement,) = await self.judge_all(request, [submission])
            return run_response(submission, judgement, given.get("fetch_files") or [])

    async def judge(self, request: Request) -> Any:
        async with Body(request, self.budget) as given:
            submissions = await asyncio.to_thread(read_submissions, given)
            judgements = await self.judge_all(request, submissions)
            return {
                "judgements": await asyncio.to_thread(lambda: [asdict(judgement) for judgement in judgements])
            }

    async def health(self, _: Request) -> Any:
        pool = self.pool
        return {"tier": pool.tier, "judge_version": pool.judge_version, "workers": len(pool.workers)}

    async def judge_all(self, request: Request, submissions: list[Submission]) -> list[Judgement]:
        """The judgements, in order. Raises Refused where the client goes before they are there."""
        work = asyncio.gather(*(self.judge_in_turn(request, submission) for submission in submissions))
        gone = asyncio.ensure_future(wait_for_disconnect(request))
        either: tuple[asyncio.Future[Any], ...] = (work, gone)
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise Refused(CLIENT_GONE, "the client has gone")
            return await work
        finally:
            for task in either:
                task.cancel()

    async def judge_in_turn(self, request: Request, submission: Submission) -> Judgement:
        """Judge one submission when it is the request's turn. Cancelling it ends the program."""
        async with self.turns.turn(request):
            loop = asyncio.get_running_loop()
            future: asyncio.Future[Judgement] = loop.create_future()

            def settle(result: Result) -> None:
                if future.done():
                    return
                if isinstance(result, BaseException):
                    future.set_exception(result)
                else:
                    future.set_result(result)

            def done(result: Result) -> None:
                loop.call_soon_threadsafe(settle, result)

            ticket = self.pool.submit(submission, done)
            try:
                return await asyncio.shield(future)
            except asyncio.CancelledError:
                ticket.cancel(bounds.GRACE_S)
                await asyncio.wait([future])  # the worker is taken until then
                raise


async def wait_for_disconnect(request: Request) -> None:
    """Return when the client has closed the connection. The body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def json_endpoint(handler: Callable[[Request], Awaitable[Any]]) -> Callable[[Request], Awaitable[Response]]:
    """The endpoint that sends what a handler returns, or why it refused the request, as JSON."""
    from starlette.responses import JSONResponse

    async def endpoint(request: Request) -> Response:
        try:
            return JSONResponse(await handler(request))
        except Refused as refused:
            return JSONResponse({"detail": str(refused)}, refused.status)

    return endpoint
