"""Runs a stage in parts on several machines, each part a Prefect task on a Dask or Ray cluster.

Rows are assigned to parts by a hash of the problem, so no two parts write the same row, and together they
give the result of a single pass. Each part opens the store itself; only paths and counts are sent between
machines. Set-up: `flows/README.md`.
"""

from __future__ import annotations

import os
from typing import Any, Literal

from prefect import Task
from prefect.task_runners import TaskRunner
from pydantic import BaseModel, ConfigDict

from sandbox import usable_processors

_DEFAULT_PARTS = 8


class RunnerError(ValueError):
    """A task runner that is unknown or not installed; the message says what to do."""


class Runner(BaseModel):
    """Where the parts of a stage run. `threads`: in this process, as one task that uses all cores."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    kind: Literal["threads", "dask", "ray"] = "threads"
    address: str | None = None
    parts: int = 1


def parse_runner(text: str | None, parts: int | None = None) -> Runner:
    """Parse `threads`, `dask`, `ray`, or `dask@tcp://HOST:8786` for a running cluster; None means the value
    of SPO_TASK_RUNNER. Raises RunnerError.

    Without an address, a cluster of processes is started on this machine while the stage runs.
    """
    text = text or os.environ.get("SPO_TASK_RUNNER") or "threads"
    kind, _, address = text.partition("@")
    if kind not in ("threads", "dask", "ray") or (kind == "threads" and address):
        raise RunnerError(f"unknown task runner {text!r}; use threads, dask[@ADDRESS] or ray[@ADDRESS]")
    if kind == "threads":
        return Runner()
    return Runner(kind=kind, address=address or None, parts=parts or _DEFAULT_PARTS)


def spread(task: Task, runner: Runner, **arguments: Any) -> list[Any]:
    """Run `task(part=i, parts=n, **arguments)` for every part; return the results in the order of the parts.

    Once all parts have ended, the error of the first part that failed is raised. Call it from a flow.
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
            # One thread per process: DuckDB, torch and the sandbox's pool start their own threads and
            # processes.
            local = {"n_workers": usable_processors(), "threads_per_worker": 1, "dashboard_address": None}
            return DaskTaskRunner(cluster_kwargs=local)
        from prefect_ray import RayTaskRunner

        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        if runner.address:
            return RayTaskRunner(address=runner.address)
        return RayTaskRunner(init_kwargs={"num_cpus": usable_processors(), "include_dashboard": False})
    except ImportError as error:
        raise RunnerError(
            f"{runner.kind} is not installed: pip install 'spo[{runner.kind}]' ({error})"
        ) from error
