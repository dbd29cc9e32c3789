"""Who is let in: programs with the token, and no web page. And how much of all bodies may be in memory at
once.
"""

from __future__ import annotations

import asyncio
import hmac
from typing import TYPE_CHECKING, Any

from sandbox.service import bounds

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

OPEN_PATHS = ("/v1/ping",)
SAME_SITES = (b"none", b"same-origin")  # of Sec-Fetch-Site: not from a page of another site


class Refused(Exception):
    """A request that is not served: an HTTP status and one line."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def checked_token(token: str | None) -> str | None:
    """The token as given. Raises ValueError for one that protects nothing or does not fit into a header."""
    if token is not None and not (token.isascii() and token.isprintable() and token and " " not in token):
        raise ValueError("the token is empty, or holds something else than printable ASCII without spaces")
    return token


class Budget:
    """Bytes that all requests together may hold."""

    def __init__(self, max_bytes: int) -> None:
        self.free_bytes = max_bytes

    def take(self, count: int) -> None:
        """Raises Refused where there is no room."""
        if count > self.free_bytes:
            raise Refused(503, "the service is busy with large requests; try again later")
        self.free_bytes -= count

    def give_back(self, count: int) -> None:
        self.free_bytes += count


class Guard:
    """ASGI middleware: refuses web pages and requests without the token before it reads them, and disconnects
    clients that do not receive their answers."""

    def __init__(self, app: ASGIApp, token: str | None) -> None:
        self.app, self.token = app, checked_token(token)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        try:
            self.check_access(scope)
        except Refused as refused:
            from starlette.responses import JSONResponse

            answer = JSONResponse({"detail": str(refused)}, refused.status, {"connection": "close"})
            await answer(scope, receive, send)
            return

        async def send_in_time(message: Message) -> None:
            await asyncio.wait_for(send(message), bounds.ANSWER_S)

        await self.app(scope, receive, send_in_time)

    def check_access(self, scope: Scope) -> None:
        """Raises Refused."""
        headers: dict[bytes, Any] = dict(scope["headers"])
        if b"origin" in headers or headers.get(b"sec-fetch-site", b"none") not in SAME_SITES:
            raise Refused(403, "this service is not for web pages")
        if self.token is None or scope["path"] in OPEN_PATHS:
            return
        scheme, _, given = headers.get(b"authorization", b"").strip().partition(b" ")
        right = hmac.compare_digest(given.strip(), self.token.encode())
        if scheme.lower() != b"bearer" or not right:
            raise Refused(401, "this service needs its token: Authorization: Bearer TOKEN")
