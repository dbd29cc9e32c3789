"""Turns: who may hand the next program to the pool. Requests take turns, so that a large one does not hold
up a small one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    """`slots` programs at a time, handed out one per request in rotation. For one event loop."""

    def __init__(self, slots: int) -> None:
        self.free = slots
        self.waiting: dict[
            object, deque[asyncio.Future[None]]
        ] = {}  # {request: its programs}; whose turn is next, first

    @asynccontextmanager
    async def turn(self, request: object) -> AsyncIterator[None]:
        """Hold a place, once it is the request's turn."""
        await self._take(request)
        try:
            yield
        finally:
            self.free += 1
            self._hand_out()

    async def _take(self, request: object) -> None:
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting.setdefault(request, deque()).append(place)
        self._hand_out()
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():  # it was handed out at the same time
                self.free += 1
                self._hand_out()
            raise

    def _hand_out(self) -> None:
        while self.free and self.waiting:
            request = next(iter(self.waiting))
            queue = self.waiting.pop(request)
            place = queue.popleft()
            if queue:
                self.waiting[request] = queue  # behind all others
            if not place.done():
                self.free -= 1
                place.set_result(None)
