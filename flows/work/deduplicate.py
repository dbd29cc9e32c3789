"""Deduplication: mark equal and nearly equal programs; nothing is deleted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from flows.display.terminal import progress
from flows.runtime.turns import done, processors, turn
from flows.work.artifacts import report_table
from pipeline.dedup import deduplicate
from pipeline.store import Store

DEDUPLICATED = {
    "seconds": "seconds",
    "signed": "programs signed now",
    "problems_clustered": "problems clustered now",
    "rows_changed": "marks changed now",
    "programs": "programs",
    "clusters": "clusters",
}


LEVELS = ("unique", "exact", "token", "near")


def deduplicate_store(
    store: str, *, sign: Callable[[], int] = int, cluster: Callable[[str], dict] | None = None
) -> Any:
    """Sign and cluster programs, and show the counts.

    `sign`: signs programs before, and returns their number. `cluster`: what replaces `cluster_programs`, a
    task in a Prefect run.
    """
    with processors(), turn(store, "deduplicate"):
        signed = sign()
        result = (cluster or cluster_programs)(store)
    result["signed"] += signed
    levels = {f"programs, {level}": result["levels"][level] for level in LEVELS if level in result["levels"]}
    report_table(
        "deduplicate",
        "Deduplicated",
        [{title: result[name] for name, title in DEDUPLICATED.items()} | levels],
    )
    message = (
        f"{result['signed']:,} programs signed, {result['rows_changed']:,} marks changed;"
        f" {result['clusters']:,} clusters"
    )
    return done(result, message, cached=not result["signed"] and not result["rows_changed"])


def cluster_programs(store: str) -> dict:
    with progress("deduplicate", "programs") as update:
        return asdict(deduplicate(Store(store), on_progress=lambda p: update(p.done, p.total)))
