"""Mark equal and nearly equal programs; nothing is deleted."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from prefect import flow, task

from flows.display.terminal import progress
from flows.runtime.rules import IN_MEMORY, PATIENT, done, processors, turn, within
from flows.runtime.spreading import runner_of, spread
from pipeline.dedup import deduplicate, sign_part
from pipeline.store import Store

if TYPE_CHECKING:
    pass


from flows.stages.artifacts import report_table

DEDUPLICATED = {
    "seconds": "seconds",
    "signed": "programs signed now",
    "problems_clustered": "problems clustered now",
    "rows_changed": "marks changed now",
    "programs": "programs",
    "clusters": "clusters",
}


LEVELS = ("unique", "exact", "token", "near")


@flow(name="deduplicate", flow_run_name="{store}", **IN_MEMORY)
def deduplicate_flow(
    store: str, runner: str | None = None, parts: int | None = None, timeout_s: float | None = None
) -> dict:
    """Mark equal and nearly equal programs; nothing is deleted.

    With a `runner` (`flows/runtime/spreading.py`) programs are signed in parts; clusters are made here, from
    the signatures.
    """
    where = runner_of(runner, parts)
    with processors(), turn(store, "deduplicate"):
        signed = (
            0 if where.kind == "threads" else sum(spread(within(sign_task, timeout_s), where, store=store))
        )
        found = within(deduplicate_task, timeout_s)(store)
    found["signed"] += signed
    levels = {f"programs, {level}": found["levels"][level] for level in LEVELS if level in found["levels"]}
    report_table(
        "deduplicate", "Deduplicated", [{said: found[name] for name, said in DEDUPLICATED.items()} | levels]
    )
    said = f"{found['signed']:,} programs signed, {found['rows_changed']:,} marks changed; {found['clusters']:,} clusters"
    return done(found, said, cached=not found["signed"] and not found["rows_changed"])


@task(name="sign programs", **PATIENT)
def sign_task(part: int, parts: int, store: str) -> int:
    return sign_part(Store(store), part, parts)


@task(name="sign and cluster programs", **PATIENT)
def deduplicate_task(store: str) -> dict:
    with progress("deduplicate", "programs") as update:
        return asdict(deduplicate(Store(store), on_progress=lambda p: update(p.done, p.total)))
