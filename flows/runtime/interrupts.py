"""Ctrl-C that holds: libraries swallow a KeyboardInterrupt now and then, Prefect for one while a flow's heartbeat ends."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType

INSIST_S = 8.0


def insist() -> None:
    """Make an interrupt come again every INSIST_S seconds for as long as this process lives. Main thread only, and for
    commands that an interrupt is to end: not for a prompt, nor for a loop of asyncio, which has its own way out."""
    signal.signal(signal.SIGINT, interrupt)


def interrupt(number: int, frame: FrameType | None) -> None:
    again = threading.Timer(INSIST_S, os.kill, (os.getpid(), number))
    again.daemon = True
    again.start()
    raise KeyboardInterrupt
