"""Scoring: store the reference policy's log-probabilities of every judged training trajectory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from flows.display.terminal import progress
from flows.runtime.turns import done, processors, turn
from flows.work.artifacts import report_table
from flows.work.parts import part_predicate
from pipeline.store import Store

Precision = Literal["fp32", "bf16", "bf16-weights"]


def score_store(store: str, max_tokens: int, score: Callable[[], list[dict]]) -> Any:
    """Score with `score`, which gives the result of each part, and show the counts."""
    with processors(), turn(store, "score"):
        results = score()
    total = {
        name: sum(part[name] for part in results) for name in ("scored", "tokens", "too_long", "unusable")
    }
    total["seconds"] = max(part["seconds"] for part in results)
    report_table("score", "Scored under the reference", [total])
    message = f"{total['scored']:,} rows scored, {total['too_long']:,} longer than {max_tokens:,} tokens"
    return done(total, message, cached=not total["scored"])


def score_trajectories(
    part: int,
    parts: int,
    store: str,
    folder: str,
    max_tokens: int,
    precision: Precision,
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
