"""Scoring: store the reference policy's log-probabilities of every judged training trajectory."""

from __future__ import annotations

from typing import Literal

from prefect import flow, task

from flows.runtime.rules import IN_MEMORY, TASK_RETRIES, with_timeout
from flows.runtime.spreading import parse_runner, spread
from flows.work.score import score_store, score_trajectories

score_task = task(name="score trajectories", **TASK_RETRIES)(score_trajectories)


@flow(name="score", flow_run_name="{store}", **IN_MEMORY)
def score_flow(
    store: str,
    folder: str,
    max_tokens: int,
    precision: Literal["fp32", "bf16", "bf16-weights"] = "fp32",
    changed: bool = False,
    runner: str | None = None,
    parts: int | None = None,
    timeout_s: float | None = None,
) -> dict:
    """Store the reference policy's log-probabilities of every judged training trajectory.

    With a `runner` (`flows/runtime/spreading.py`), on several machines.
    """

    def score() -> list[dict]:
        return spread(
            with_timeout(score_task, timeout_s),
            parse_runner(runner, parts),
            store=store,
            folder=folder,
            max_tokens=max_tokens,
            precision=precision,
            changed=changed,
        )

    return score_store(store, max_tokens, score)
