"""The server around the application: uvicorn, with a time limit for the head of each request."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol

from sandbox.service import bounds

if TYPE_CHECKING:
    from starlette.applications import Starlette


class HeaderTimeoutProtocol(H11Protocol):
    """A connection that is closed where the head of a request does not arrive in time.

    Beyond MAX_CONNECTIONS, the one that has kept the server waiting longest makes room.
    """

    waiting_since: float | None = None
    cut_off: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.wait_for_head()
        if len(self.connections) > bounds.MAX_CONNECTIONS:
            self.longest_waiting().close_now()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.is_serving():
            self.stop_waiting()
        elif self.cut_off is None:
            self.wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self.stop_waiting()
        super().connection_lost(exc)

    def longest_waiting(self) -> HeaderTimeoutProtocol:
        """The connection that has waited longest for the head of a request; this one if no other waits."""
        all_here = [each for each in self.connections if isinstance(each, HeaderTimeoutProtocol)]
        return min(all_here, key=lambda each: each.waiting_since or time.monotonic(), default=self)

    def is_serving(self) -> bool:
        """Whether the head of a request has arrived, and its answer is not complete."""
        return self.cycle is not None and not self.cycle.response_complete

    def wait_for_head(self) -> None:
        self.waiting_since = time.monotonic()
        self.cut_off = self.loop.call_later(bounds.HEADER_S, self.close_now)

    def stop_waiting(self) -> None:
        self.waiting_since = None
        if self.cut_off is not None:
            self.cut_off.cancel()
            self.cut_off = None

    def close_now(self) -> None:
        if not self.is_serving():
            self.transport.abort()


def server_config(app: Starlette, **options: Any) -> Config:
    """uvicorn's settings for the service; `options` are more of them, such as host and port."""
    return Config(
        app,
        http=HeaderTimeoutProtocol,
        ws="none",
        h11_max_incomplete_event_size=bounds.MAX_HEADER_BYTES,
        timeout_keep_alive=5,
        backlog=256,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        **{"log_level": "warning"} | options,
    )
