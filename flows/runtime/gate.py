"""The gate in front of Prefect's server: it refuses pages of other origins and unknown host names.

Any page in the user's browser can send requests to loopback. A page of another origin is recognised by the
headers `Origin` and `Sec-Fetch-Site` (Fetch standard, Fetch Metadata). A page whose host name was pointed at
this machine (DNS rebinding) is recognised by `Host`. Programs send no origin and pass the gate; like pages,
they need the secret.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_HOST = re.compile(r"(\[(?P<address>[0-9a-f:.]+)\]|(?P<name>[a-z0-9._-]+))(:[0-9]+)?")  # RFC 9110, 7.2
_POLICY_VIOLATION = 1008  # RFC 6455, 7.4.1
# The UI may load from and send to its own server only; without this rule it reports to an analytics service
# regardless of Prefect's settings. It runs no script that came with data, and other pages cannot put it in a
# frame (clickjacking).
_POLICY = {
    "default-src": "'self'",
    "style-src": "'self' 'unsafe-inline'",
    "img-src": "'self' data: blob:",
    "font-src": "'self' data:",
    "worker-src": "'self' blob:",
    "frame-ancestors": "'none'",
}
_PROTECTION = [
    (b"content-security-policy", "; ".join(f"{name} {value}" for name, value in _POLICY.items()).encode()),
    (b"x-frame-options", b"DENY"),
    (b"x-content-type-options", b"nosniff"),
    (b"cross-origin-resource-policy", b"same-origin"),
]


@dataclass(frozen=True)
class Names:
    """Host names and addresses under which clients may reach a server."""

    names: frozenset[str]
    any_address: bool = False  # a numeric address cannot be rebound by DNS

    @classmethod
    def of(cls, host: str, more: Iterable[str] = ()) -> Names:
        """Names of a server that listens on `host`: those of loopback, or of this machine and any address."""
        own = {host, *more} | _LOOPBACK_NAMES
        if not is_loopback(host):
            own |= {socket.gethostname(), socket.getfqdn()}
        return cls(frozenset(name.lower() for name in own), any_address=not is_loopback(host))

    def __contains__(self, host: str) -> bool:
        """Whether a Host header, with or without a port, names the server."""
        name = _host_name(host)
        return name in self.names or (self.any_address and _address(name) is not None)


@dataclass(frozen=True)
class Gate:
    """ASGI application that passes requests on to `application`, if they are for one of `names` and do not
    come from a page of another origin.
    """

    application: Application
    names: Names
    api: str = "/api"

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self.application(scope, receive, send)
        refusal = self._refusal(scope)
        if refusal is None:
            await self.application(scope, receive, _protected(send))
        elif scope["type"] == "websocket":
            # Before the connection is accepted, this becomes HTTP 403.
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION})
        else:
            await _answer(send, *refusal)

    def _refusal(self, scope: Message) -> tuple[int, str] | None:
        """HTTP status and reason if the request is refused, else None."""
        hosts = _values(scope, b"host")
        if len(hosts) != 1 or hosts[0] not in self.names:
            return 421, "not a name of this server; add it with: spo up --name NAME"
        origins = _values(scope, b"origin")
        own = {f"{scheme}://{hosts[0].lower()}" for scheme in ("http", "https")}
        if not {origin.lower() for origin in origins} <= own:
            return 403, "pages of other origins are refused"
        if not origins and _crosses_sites(scope) and not self._opens_a_page(scope):
            return 403, "pages of other origins are refused"
        return None

    def _opens_a_page(self, scope: Message) -> bool:
        """Whether a user followed a link to the UI. The page with the link cannot read what it opens."""
        navigates = _values(scope, b"sec-fetch-mode") == ["navigate"]
        whole_page = _values(scope, b"sec-fetch-dest") == ["document"]
        outside_api = not scope["path"].startswith(self.api)
        return navigates and whole_page and outside_api and scope.get("method") in ("GET", "HEAD")


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server that listens on this name or address."""
    if (address := _address(host)) is not None:
        return address.is_loopback
    try:
        entries = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return all(ipaddress.ip_address(entry[4][0]).is_loopback for entry in entries)


def _crosses_sites(scope: Message) -> bool:
    return not set(_values(scope, b"sec-fetch-site")) <= {"same-origin", "none"}


def _values(scope: Message, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]


def _host_name(host: str) -> str:
    """The host without its port: `[::1]:4200` gives ::1, `localhost:4200` gives localhost; "" if invalid."""
    match = _HOST.fullmatch(host.lower())
    return "" if match is None else match["address"] or match["name"]


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def _protected(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *_PROTECTION]}
        await send(message)

    return sending


async def _answer(send: Send, status: int, reason: str) -> None:
    body = f"{reason}\n".encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*headers, *_PROTECTION]})
    await send({"type": "http.response.body", "body": body})
