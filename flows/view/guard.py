"""Who may read the explorer: a browser on this machine that has the token. Nothing can be written.

Loopback is no boundary: a web page in the same browser can send requests to it, under a host name of its own
(DNS rebinding) too. So host, origin and token are checked before a route sees a request, and every response
forbids scripts, styles and frames from elsewhere.
"""

from __future__ import annotations

import hashlib
import hmac
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

HOSTS = ("127.0.0.1", "localhost", "[::1]")
SAME_SITES = ("none", "same-origin")  # of Sec-Fetch-Site
TOKEN = "token"
MAX_TARGET_BYTES = 32_000  # of path and query together
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


class Refused(Exception):
    """A request that is not served: an HTTP status and one line."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Guard:
    """ASGI middleware. `port`: the port in the Host header; None accepts any (tests without a socket).

    The token comes once in the URL. The answer sets a cookie derived from it and redirects to the same
    address without the token, which thus stays out of the history and of copied links.
    """

    def __init__(self, app: ASGIApp, token: str, port: int | None = None) -> None:
        if len(token) < 16:
            raise ValueError("the token of the explorer needs at least 16 characters")
        self.app, self.token, self.port = app, token, port
        self.cookie = f"spo_view_{port or 0}"
        self.session = hmac.new(token.encode(), b"spo view session", hashlib.sha256).hexdigest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message.get("headers", []), *own]
            await send(message)

        from starlette.responses import PlainTextResponse, RedirectResponse

        try:
            target = self.check(scope)
        except Refused as refused:
            answer = PlainTextResponse(f"{refused}\n", refused.status)
            await answer(scope, receive, send_with_headers)
            return
        if target is None:
            await self.app(scope, receive, send_with_headers)
            return
        redirect = RedirectResponse(target, 303)
        redirect.set_cookie(self.cookie, self.session, httponly=True, samesite="strict", path="/")
        await redirect(scope, receive, send_with_headers)

    def check(self, scope: Scope) -> str | None:
        """The address to redirect to, for a request that brings the token; None for one that may pass. Raises
        Refused.
        """
        headers = _single_headers(scope)
        host = headers.get("host", "")
        if not self._is_own_host(host):
            raise Refused(421, "this address belongs to another host; open the one that `spo view` printed")
        origin = headers.get("origin")
        if origin is not None and origin != f"http://{host}":
            raise Refused(403, "the explorer does not answer other web pages")
        if headers.get("sec-fetch-site", "none") not in SAME_SITES:
            raise Refused(403, "the explorer cannot be opened from another web page; copy the link instead")
        if scope["method"] not in ("GET", "HEAD"):
            raise Refused(405, "the explorer is read-only")
        if len(scope["raw_path"]) + len(scope["query_string"]) > MAX_TARGET_BYTES:
            raise Refused(414, f"the address is longer than {MAX_TARGET_BYTES} bytes")
        pairs = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        if given := [value for name, value in pairs if name == TOKEN]:
            if not hmac.compare_digest(given[-1].encode(), self.token.encode()):
                raise Refused(401, "wrong token; open the address that `spo view` printed")
            rest = urlencode([pair for pair in pairs if pair[0] != TOKEN])
            # One slash only: `//host` would be another host.
            path = "/" + scope["raw_path"].decode("latin-1").lstrip("/\\")
            return path + (f"?{rest}" if rest else "")
        if not hmac.compare_digest(self._cookie_of(headers).encode(), self.session.encode()):
            raise Refused(401, "the token is missing; open the address that `spo view` printed")
        return None

    def _is_own_host(self, host: str) -> bool:
        name, _, port = host.rpartition(":") if not host.endswith("]") else (host, "", "")
        name, port = (name, port) if name else (port, "")
        return name in HOSTS and (self.port is None or port == str(self.port))

    def _cookie_of(self, headers: dict[str, str]) -> str:
        try:
            cookies = SimpleCookie(headers.get("cookie", ""))
        except CookieError:
            return ""
        return cookies[self.cookie].value if self.cookie in cookies else ""


def _single_headers(scope: Scope) -> dict[str, str]:
    """Headers by name. Raises Refused for a repeated one among those that decide."""
    headers: dict[str, str] = {}
    for name, value in scope["headers"]:
        key = name.decode("latin-1").lower()
        if key in headers and key in ("host", "origin", "sec-fetch-site"):
            raise Refused(400, f"the header {key} is repeated")
        joined = f"{headers[key]}; {value.decode('latin-1')}" if key in headers else value.decode("latin-1")
        headers[key] = joined
    return headers
