"""Scoring: store the reference policy's log-probabilities of every judged training trajectory."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Literal

from prefect import flow, task

from flows.display.terminal import progress
from flows.runtime.rules import IN_MEMORY, TASK_RETRIES, with_timeout
from flows.runtime.spreading import parse_runner, spread
from flows.runtime.turns import done, processors, turn
from flows.work.artifacts import report_table
from flows.work.parts import part_predicate
from pipeline.store import Store


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
    with processors(), turn(store, "score"):
        results = spread(
            with_timeout(score_task, timeout_s),
            parse_runner(runner, parts),
            store=store,
            folder=folder,
            max_tokens=max_tokens,
            precision=precision,
            changed=changed,
        )
    total = {
        name: sum(part[name] for part in results) for name in ("scored", "tokens", "too_long", "unusable")
    }
    total["seconds"] = max(part["seconds"] for part in results)
    report_table("score", "Scored under the reference", [total])
    message = f"{total['scored']:,} rows scored, {total['too_long']:,} longer than {max_tokens:,} tokens"
    return done(total, message, cached=not total["scored"])


@task(name="score trajectories", **TASK_RETRIES)
def score_task(
    part: int,
    parts: int,
    store: str,
    folder: str,
    max_tokens: int,
    precision: Literal["fp32", "bf16", "bf16-weights"],
    changed: bool,
) -> dict:
    from trainer.policies import load_policy, score

    predicate = f"p.split = 'train' and {part_predicate('t.problem_id', part, parts)}"
    with progress("score", "rows") as update:
        scored = score(
            Store(store),
            load_policy(folder),
            where=predicate,
            max_tokens=max_tokens,
            precision=precision,
            folder=Path(folder),
            changed=changed,
            on_progress=update,
        )
    return asdict(scored)
