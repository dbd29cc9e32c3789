"""Decontamination: mark training data that would reveal an evaluation set."""

from __future__ import annotations

from prefect import flow, task

from flows.runtime.rules import IN_MEMORY, TASK_RETRIES
from flows.work.decontaminate import compare_rows, decontaminate_store

decontaminate_task = task(name="compare with the evaluation set", **TASK_RETRIES)(compare_rows)


@flow(name="decontaminate", flow_run_name="{store}", **IN_MEMORY)
def decontaminate_flow(store: str, evaluation: str) -> dict:
    """Mark problems and trajectories that would reveal an evaluation set; nothing is deleted."""
    return decontaminate_store(store, evaluation, compare=decontaminate_task)
