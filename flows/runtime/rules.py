"""What holds for every flow: when a task is tried again, how long it may take, who waits for whom, what a run says it did.

* A task is a batch, never a row: one call of a stage, or one part of it on another machine.
* Tried again, with growing pauses, is only what another try can mend: a store or a server that could not be reached. Bad data,
  a broken contract or a machine without a sandbox fails at once.
* What is done already is looked up in the store, which knows; there is no second cache that could say otherwise. Such a run
  ends as `Cached`, with a message.
* One process at a time labels (deduplicates, ingests into, maintains) a store on a machine; others wait for it
  (`pipeline/store/locks.py`). Runs of one deployment on several machines: `flows/serving/deployments.py`.
* Of what fills all processors (deduplicate, label, score, train, evaluate), scheduled runs do so many at a time as
  SPO_HEAVY_AT_ONCE says, which the schedule's `heavy_at_once` sets; what a person starts by hand waits for none of them.
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

# How delta-rs and polars name trouble with object storage.
REMOTE_TROUBLE = (
    "Generic S3 error",
    "Generic GCS error",
    "Generic MicrosoftAzure error",
    "error sending request",
)
PASSING_ERRNO = {
    errno.EIO,
    errno.ESTALE,
    errno.ENETDOWN,
    errno.ENETUNREACH,
    errno.EHOSTUNREACH,
    errno.ETIMEDOUT,
}


def another_try_may_help(error: BaseException) -> bool:
    """Whether an error comes from storage or a network that could not be reached, and not from data, settings or this machine."""
    if isinstance(error, StoreError):
        return isinstance(error.__cause__, CommitFailedError) or any(
            mark in str(error) for mark in REMOTE_TROUBLE
        )
    if isinstance(error, TaskRunTimeoutError):
        return False  # the time that was allowed is over
    unreachable = isinstance(
        error, ConnectionError | TimeoutError | urllib.error.URLError | httpx.TransportError
    )
    return unreachable or (isinstance(error, OSError) and error.errno in PASSING_ERRNO)


def worth_retrying(task: Task, task_run: TaskRun, state: State) -> bool:
    error = state.result(raise_on_failure=False)
    return isinstance(error, BaseException) and another_try_may_help(error)


# For every task: `@task(name=..., **PATIENT)`.
PATIENT: dict[str, Any] = {
    "retries": 3,
    "retry_delay_seconds": [2, 10, 60],
    "retry_jitter_factor": 0.3,
    "retry_condition_fn": worth_retrying,
}

# For every flow: `@flow(name=..., **IN_MEMORY)`. What a flow gives is for its caller, and Prefect stores none of it; without a
# place named here it would ask the server for one, three times a run.
IN_MEMORY: dict[str, Any] = {
    "persist_result": False,
    "result_storage": Path(DEFAULTS["PREFECT_HOME"]) / "storage",
}


def within(task: AnyTask, timeout_s: float | None) -> AnyTask:
    """The task, failed if it takes longer than this. What it has appended stays, and the next run goes on from there."""
    return task if timeout_s is None else cast(AnyTask, task.with_options(timeout_seconds=timeout_s))


@contextmanager
def turn(store: str, work: str) -> Iterator[None]:
    """Around work that one process at a time does on a store, or in the folder of a run."""
    with alone(store, work, tell):
        yield


@contextmanager
def processors() -> Iterator[None]:
    """Around work that fills all processors. Taken before any turn, so that nobody waits in a ring."""
    places = os.environ.get(HEAVY_AT_ONCE)
    if not places:
        yield
    elif not places.isdecimal() or int(places) == 0:
        raise ValueError(
            f"{HEAVY_AT_ONCE} is {places!r}; give a number from 1 on, or leave it away for no limit"
        )
    else:
        with one_of(int(places), "processors", tell):
            yield


def tell(line: str) -> None:
    """Where a person looks: on the terminal, and on the run's page."""
    say(line)
    note(line)


def done(value: Any, message: str, *, cached: bool = False) -> Any:
    """End of a flow: `value` for its caller, `message` for the run's page. `cached`: everything had been done before."""
    note(message)
    return Completed(data=value, message=message, name="Cached" if cached else None)


def note(message: str) -> None:
    """A line in the run's log, where there is a run."""
    with suppress(MissingContextError):
        get_run_logger().info(message)
