"""Repeats Ctrl-C: libraries may swallow a KeyboardInterrupt, e.g. Prefect at the end of a heartbeat."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType

REPEAT_AFTER_S = 8.0


def repeat_interrupts() -> None:
    """Repeat an interrupt every REPEAT_AFTER_S seconds until this process exits.

    Call it from the main thread, in commands that an interrupt should end. It is not for a prompt, nor for an
    asyncio loop, which has its own handler.
    """
    signal.signal(signal.SIGINT, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    timer = threading.Timer(REPEAT_AFTER_S, os.kill, (os.getpid(), number))
    timer.daemon = True
    timer.start()
    raise KeyboardInterrupt
