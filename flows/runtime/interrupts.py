"""Repeat Ctrl-C: libraries may swallow a KeyboardInterrupt, e.g. Prefect at the end of a heartbeat."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType

INSIST_S = 8.0


def insist() -> None:
    """Repeat an interrupt every INSIST_S seconds until this process ends.

    For commands that an interrupt should end, from the main thread. Not for a prompt, and not for an asyncio
    loop, which has its own handler.
    """
    signal.signal(signal.SIGINT, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    again = threading.Timer(INSIST_S, os.kill, (os.getpid(), number))
    again.daemon = True
    again.start()
    raise KeyboardInterrupt
