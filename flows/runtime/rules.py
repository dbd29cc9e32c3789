"""Rules for every flow: retries, time limits, locks, and what a run reports.

* A task is a batch, never a row: one call of a stage, or one part of it on another machine.
* A task is retried, with growing pauses, only if the error may be temporary: a store or a server that could
  not be reached. Bad data, a broken contract or a machine without a sandbox fails at once.
* Whether work is done already is looked up in the store; there is no second cache that could disagree. A run
  that finds all its work done ends in the state `Cached`, with a message.
* One process per machine labels (deduplicates, ingests into, maintains) a store at a time; others wait for it
  (`pipeline/store/locks.py`). Runs of one deployment on several machines: `flows/serving/deployments.py`.
* SPO_HEAVY_AT_ONCE limits how many scheduled runs of the stages that use all processors (deduplicate, label,
  score, train, evaluate) work at a time; a schedule sets it with `heavy_at_once`. Commands that a person
  starts do not wait.
"""

from __future__ import annotations

import errno
import urllib.error
from pathlib import Path
from typing import Any, TypeVar, cast

import httpx
from deltalake.exceptions import CommitFailedError
from prefect import Task
from prefect.client.schemas.objects import State, TaskRun
from prefect.task_engine import TaskRunTimeoutError

from flows.runtime.settings import DEFAULTS
from pipeline.store import StoreError

AnyTask = TypeVar("AnyTask", bound=Task)

# Parts of the error messages of delta-rs and polars about object storage.
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


def is_temporary(error: BaseException) -> bool:
    """Whether the error is temporary (unreachable storage or network), not bad data, settings or machines."""
    if isinstance(error, StoreError):
        return isinstance(error.__cause__, CommitFailedError) or any(
            mark in str(error) for mark in _STORAGE_ERRORS
        )
    if isinstance(error, TaskRunTimeoutError):
        return False  # it has used up its time limit
    unreachable = isinstance(
        error, ConnectionError | TimeoutError | urllib.error.URLError | httpx.TransportError
    )
    return unreachable or (isinstance(error, OSError) and error.errno in _TEMPORARY_ERRNO)


def _may_retry(task: Task, task_run: TaskRun, state: State) -> bool:
    error = state.result(raise_on_failure=False)
    return isinstance(error, BaseException) and is_temporary(error)


# For every task: `@task(name=..., **TASK_RETRIES)`.
TASK_RETRIES: dict[str, Any] = {
    "retries": 3,
    "retry_delay_seconds": [2, 10, 60],
    "retry_jitter_factor": 0.3,
    "retry_condition_fn": _may_retry,
}

# For every flow: `@flow(name=..., **IN_MEMORY)`. A flow's result goes to its caller; Prefect does not store
# it. Without a storage location here Prefect would ask the server for one, three times per run.
IN_MEMORY: dict[str, Any] = {
    "persist_result": False,
    "result_storage": Path(DEFAULTS["PREFECT_HOME"]) / "storage",
}


def with_timeout(task: AnyTask, timeout_s: float | None) -> AnyTask:
    """The task with a time limit. Rows that it appended before a time-out stay, and the next run resumes
    there.
    """
    return task if timeout_s is None else cast(AnyTask, task.with_options(timeout_seconds=timeout_s))
