"""Store the reference policy's log-probabilities of every judged training trajectory."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from prefect import flow, task

from flows.display.terminal import progress
from flows.runtime.rules import IN_MEMORY, PATIENT, done, processors, turn, within
from flows.runtime.spreading import runner_of, spread, where_part
from pipeline.store import Store

if TYPE_CHECKING:
    pass


from flows.stages.artifacts import report_table


@flow(name="score", flow_run_name="{store}", **IN_MEMORY)
def score_flow(
    store: str,
    folder: str,
    max_tokens: int,
    precision: Literal["fp32", "bf16"] = "fp32",
    changed: bool = False,
    runner: str | None = None,
    parts: int | None = None,
    timeout_s: float | None = None,
) -> dict:
    """Store the reference policy's log-probabilities of every judged training trajectory; with a `runner`
    on several machines.
    """
    with processors(), turn(store, "score"):
        found = spread(
            within(score_task, timeout_s),
            runner_of(runner, parts),
            store=store,
            folder=folder,
            max_tokens=max_tokens,
            precision=precision,
            changed=changed,
        )
    total = {name: sum(part[name] for part in found) for name in ("scored", "tokens", "too_long")}
    total["seconds"] = max(part["seconds"] for part in found)
    report_table("score", "Scored under the reference", [total])
    said = f"{total['scored']:,} rows scored, {total['too_long']:,} longer than {max_tokens:,} tokens"
    return done(total, said, cached=not total["scored"])


@task(name="score trajectories", **PATIENT)
def score_task(
    part: int,
    parts: int,
    store: str,
    folder: str,
    max_tokens: int,
    precision: Literal["fp32", "bf16"],
    changed: bool,
) -> dict:
    from trainer.policies import load_policy, score

    chosen = f"p.split = 'train' and {where_part('t.problem_id', part, parts)}"
    with progress("score", "rows") as update:
        scored = score(
            Store(store),
            load_policy(folder),
            where=chosen,
            max_tokens=max_tokens,
            precision=precision,
            folder=Path(folder),
            changed=changed,
            on_progress=update,
        )
    return asdict(scored)
