"""Locks, processor slots and the end of a stage, with and without Prefect."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pipeline.store import exclusive, one_slot, print_to_stderr
from pipeline.text import visible
from sandbox import overload

HEAVY_AT_ONCE = "SPO_HEAVY_AT_ONCE"


@contextmanager
def turn(store: str, work: str) -> Iterator[None]:
    """Hold the lock for work that only one process at a time may do on a store, or in a run's folder."""
    with exclusive(store, work, _report):
        yield


@contextmanager
def processors() -> Iterator[None]:
    """Hold a slot for work that uses all processors, and report if others use them already. Enter it before
    any `turn`, to avoid deadlock.
    """
    if line := overload():
        _report(line)
    limit = os.environ.get(HEAVY_AT_ONCE)
    if not limit:
        yield
    elif not limit.isdecimal() or int(limit) == 0:
        raise ValueError(
            f"{HEAVY_AT_ONCE} is {limit!r}; set it to a whole number of 1 or more, or unset it for no limit"
        )
    else:
        with one_slot(int(limit), "processors", _report):
            yield


def _report(line: str) -> None:
    """Print a line on the terminal, and log it in the run."""
    print_to_stderr(line)
    _log(line)


def done(value: Any, message: str, *, cached: bool = False) -> Any:
    """End a flow with `value` for its caller and `message` for the run's page; outside of a flow, `value`.

    `cached`: all of the work had been done before.
    """
    if not in_run():
        return value
    from prefect.states import Completed

    message = visible(message)  # it may name rows, and Prefect prints it
    _log(message)
    return Completed(data=value, message=message, name="Cached" if cached else None)


def in_run() -> bool:
    """Whether this code runs in a Prefect flow. Commands that work by themselves do not import Prefect."""
    if "prefect" not in sys.modules:
        return False
    from prefect.context import FlowRunContext, TaskRunContext

    return FlowRunContext.get() is not None or TaskRunContext.get() is not None


def _log(message: str) -> None:
    """Write a line to the run's log, if there is a run."""
    if in_run():
        from prefect import get_run_logger

        get_run_logger().info(message)
