"""Rules for every flow: when a task is retried, how long it may take, what waits for what, what a run
reports.

* A task is a batch, never a row: one call of a stage, or one part of it on another machine.
* A task is retried, with growing pauses, only if the error may be temporary: a store or a server that could
  not be reached. Bad data, a broken contract or a machine without a sandbox fails at once.
* Whether work is done already is looked up in the store; there is no second cache that could disagree. Such a
  run ends in the state `Cached`, with a message.
* One process per machine labels (deduplicates, ingests into, maintains) a store at a time; others wait for it
  (`pipeline/store/locks.py`). Runs of one deployment on several machines: `flows/serving/deployments.py`.
* Of the stages that use all processors (deduplicate, label, score, train, evaluate), SPO_HEAVY_AT_ONCE limits
  how many scheduled runs work at a time; a schedule sets it by `heavy_at_once`. Commands that a person starts
  do not wait.
"""

from __future__ import annotations

import errno
import os
import urllib.error
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar, cast

import httpx
from deltalake.exceptions import CommitFailedError
from prefect import Task, get_run_logger
from prefect.client.schemas.objects import State, TaskRun
from prefect.exceptions import MissingContextError
from prefect.states import Completed
from prefect.task_engine import TaskRunTimeoutError

from flows.runtime.engine import DEFAULTS
from pipeline.store import StoreError, alone, one_of, say

HEAVY_AT_ONCE = "SPO_HEAVY_AT_ONCE"

AnyTask = TypeVar("AnyTask", bound=Task)

# Parts of the messages of delta-rs and polars about object storage.
_STORAGE_ERRORS = (
    "Generic S3 error",
    "Generic GCS error",
    "Generic MicrosoftAzure error",
    "error sending request",
)
_TEMPORARY_ERRNO = {
    errno.EIO,
    errno.ESTALE,
    errno.ENETDOWN,
    errno.ENETUNREACH,
    errno.EHOSTUNREACH,
    errno.ETIMEDOUT,
}


def another_try_may_help(error: BaseException) -> bool:
    """Whether storage or a network could not be reached, as opposed to bad data, settings or machines."""
    if isinstance(error, StoreError):
        return isinstance(error.__cause__, CommitFailedError) or any(
            mark in str(error) for mark in _STORAGE_ERRORS
        )
    if isinstance(error, TaskRunTimeoutError):
        return False  # it has used its time
    unreachable = isinstance(
        error, ConnectionError | TimeoutError | urllib.error.URLError | httpx.TransportError
    )
    return unreachable or (isinstance(error, OSError) and error.errno in _TEMPORARY_ERRNO)


def _may_retry(task: Task, task_run: TaskRun, state: State) -> bool:
    error = state.result(raise_on_failure=False)
    return isinstance(error, BaseException) and another_try_may_help(error)


# For every task: `@task(name=..., **PATIENT)`.
PATIENT: dict[str, Any] = {
    "retries": 3,
    "retry_delay_seconds": [2, 10, 60],
    "retry_jitter_factor": 0.3,
    "retry_condition_fn": _may_retry,
}

# For every flow: `@flow(name=..., **IN_MEMORY)`. What a flow returns is for its caller, and Prefect does not
# store it. Without a place named here Prefect would ask the server for one, three times per run.
IN_MEMORY: dict[str, Any] = {
    "persist_result": False,
    "result_storage": Path(DEFAULTS["PREFECT_HOME"]) / "storage",
}


def within(task: AnyTask, timeout_s: float | None) -> AnyTask:
    """The task with a time limit. What it has appended when it fails stays, and the next run goes on from
    there.
    """
    return task if timeout_s is None else cast(AnyTask, task.with_options(timeout_seconds=timeout_s))


@contextmanager
def turn(store: str, work: str) -> Iterator[None]:
    """Around work that one process at a time may do on a store, or in the folder of a run."""
    with alone(store, work, _report):
        yield


@contextmanager
def processors() -> Iterator[None]:
    """Around work that uses all processors. To be entered before any `turn`, to avoid deadlock."""
    limit = os.environ.get(HEAVY_AT_ONCE)
    if not limit:
        yield
    elif not limit.isdecimal() or int(limit) == 0:
        raise ValueError(f"{HEAVY_AT_ONCE} is {limit!r}; give a number from 1 on, or unset it for no limit")
    else:
        with one_of(int(limit), "processors", _report):
            yield


def _report(line: str) -> None:
    """On the terminal, and on the run's page."""
    say(line)
    _log(line)


def done(value: Any, message: str, *, cached: bool = False) -> Any:
    """End a flow: `value` for its caller, `message` for the run's page. `cached`: all of it had been done
    before.
    """
    _log(message)
    return Completed(data=value, message=message, name="Cached" if cached else None)


def _log(message: str) -> None:
    """A line in the run's log, if there is a run."""
    with suppress(MissingContextError):
        get_run_logger().info(message)
