"""Labelling: judge every program that has no verdict yet in the sandbox."""

from __future__ import annotations

from prefect import flow, task

from flows.runtime.events import announce_labelled
from flows.runtime.rules import IN_MEMORY, TASK_RETRIES, with_timeout
from flows.runtime.spreading import parse_runner, spread
from flows.work.label import judge_programs, label_store

label_task = task(name="judge programs", **TASK_RETRIES)(judge_programs)


@flow(name="label", flow_run_name="{store}", **IN_MEMORY)
def label_flow(
    store: str,
    workers: int | None = None,
    runner: str | None = None,
    parts: int | None = None,
    time_factor: float = 1.0,
    timeout_s: float | None = None,
    all_tests: bool = False,
) -> dict:
    """Judge every program that has no verdict yet in the sandbox.

    With a `runner` (`flows/runtime/spreading.py`), on several machines.
    """
    options = {"store": store, "workers": workers, "time_factor": time_factor, "all_tests": all_tests}

    def judge() -> list[dict]:
        return spread(with_timeout(label_task, timeout_s), parse_runner(runner, parts), **options)

    return label_store(store, judge, announce_labelled)
