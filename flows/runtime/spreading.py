"""Run a stage in parts on several machines, each part a Prefect task on a Dask or Ray cluster.

Parts are chosen by a hash of the problem, so no two parts write the same row, and together they give what one
pass gives. Each part opens the store itself; only paths and counts travel between machines. Set-up:
`flows/README.md`.
"""

from __future__ import annotations

import os
from typing import Any, Literal

from prefect import Task
from prefect.task_runners import TaskRunner
from pydantic import BaseModel, ConfigDict

_DEFAULT_PARTS = 8


class RunnerError(ValueError):
    """A task runner that is unknown or not installed; the message says what to do."""


class Runner(BaseModel):
    """Where the parts of a stage run. `threads`: here, as one task; a stage uses all cores itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    kind: Literal["threads", "dask", "ray"] = "threads"
    address: str | None = None
    parts: int = 1


def runner_of(text: str | None, parts: int | None = None) -> Runner:
    """Parse `threads`, `dask`, `ray`, or `dask@tcp://HOST:8786` for a running cluster; None is
    SPO_TASK_RUNNER.

    Without an address a cluster of processes is started on this machine for as long as the stage runs.
    """
    text = text or os.environ.get("SPO_TASK_RUNNER") or "threads"
    kind, _, address = text.partition("@")
    if kind not in ("threads", "dask", "ray") or (kind == "threads" and address):
        raise RunnerError(f"no task runner {text!r}; there are threads, dask and ray[@ADDRESS]")
    if kind == "threads":
        return Runner()
    return Runner(kind=kind, address=address or None, parts=parts or _DEFAULT_PARTS)


def spread(task: Task, runner: Runner, **arguments: Any) -> list[Any]:
    """Run the task on every part, as `task(part=i, parts=n, **arguments)`; return the results in order of
    parts.

    The error of the first part that failed is raised once all parts have ended. To be called from a flow.
    """
    if runner.kind == "threads":
        return [task(part=0, parts=1, **arguments)]
    with _task_runner(runner) as cluster:
        futures = [
            cluster.submit(
                task.with_options(task_run_name=f"{task.name} {part + 1} of {runner.parts}"),
                parameters={"part": part, "parts": runner.parts, **arguments},
            )
            for part in range(runner.parts)
        ]
        for future in futures:
            future.wait()
        return [future.result() for future in futures]


def _task_runner(runner: Runner) -> TaskRunner:
    try:
        if runner.kind == "dask":
            from prefect_dask import DaskTaskRunner

            if runner.address:
                return DaskTaskRunner(address=runner.address)
            # One thread per process: DuckDB, torch and the sandbox's pool have threads and processes of their
            # own.
            local = {"n_workers": _local_processes(), "threads_per_worker": 1, "dashboard_address": None}
            return DaskTaskRunner(cluster_kwargs=local)
        from prefect_ray import RayTaskRunner

        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        if runner.address:
            return RayTaskRunner(address=runner.address)
        return RayTaskRunner(init_kwargs={"num_cpus": _local_processes(), "include_dashboard": False})
    except ImportError as error:
        raise RunnerError(
            f"{runner.kind} is not installed: pip install 'spo[{runner.kind}]' ({error})"
        ) from error


def _local_processes() -> int:
    return len(os.sched_getaffinity(0))


def where_part(column: str, part: int, parts: int) -> str:
    """SQL condition that chooses a part, by md5, which is the same on every machine and in every version."""
    return f"md5_number_lower({column}) % {parts} = {part}"
