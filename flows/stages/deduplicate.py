"""Deduplication: mark equal and nearly equal programs; nothing is deleted."""

from __future__ import annotations

from prefect import flow, task

from flows.runtime.rules import IN_MEMORY, TASK_RETRIES, with_timeout
from flows.runtime.spreading import parse_runner, spread
from flows.work.deduplicate import cluster_programs, deduplicate_store
from pipeline.dedup import sign_part
from pipeline.store import Store

deduplicate_task = task(name="sign and cluster programs", **TASK_RETRIES)(cluster_programs)


@flow(name="deduplicate", flow_run_name="{store}", **IN_MEMORY)
def deduplicate_flow(
    store: str, runner: str | None = None, parts: int | None = None, timeout_s: float | None = None
) -> dict:
    """Mark equal and nearly equal programs; nothing is deleted.

    With a `runner` (`flows/runtime/spreading.py`) the signatures of programs are computed in parts; this
    process then clusters them.
    """
    where = parse_runner(runner, parts)

    def sign() -> int:
        if where.kind == "threads":
            return 0
        return sum(spread(with_timeout(sign_task, timeout_s), where, store=store))

    return deduplicate_store(store, sign=sign, cluster=with_timeout(deduplicate_task, timeout_s))


@task(name="sign programs", **TASK_RETRIES)
def sign_task(part: int, parts: int, store: str) -> int:
    return sign_part(Store(store), part, parts)
