"""Run every program that has no verdict yet in the sandbox."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from prefect import flow, task
from prefect.artifacts import create_table_artifact

from flows.display.terminal import progress
from flows.runtime.events import announce_labelled
from flows.runtime.rules import IN_MEMORY, PATIENT, done, processors, turn, within
from flows.runtime.spreading import runner_of, spread, where_part
from pipeline.labelling import label
from pipeline.store import Store

if TYPE_CHECKING:
    pass


from flows.stages.artifacts import SHOWN_ROWS, report_table, rows_of


@flow(name="label", flow_run_name="{store}", **IN_MEMORY)
def label_flow(
    store: str,
    workers: int | None = None,
    runner: str | None = None,
    parts: int | None = None,
    time_factor: float = 1.0,
    timeout_s: float | None = None,
) -> dict:
    """Run every program that has no verdict yet in the sandbox; with a `runner`
    (`flows/runtime/spreading.py`) on several machines.
    """
    started = datetime.now(UTC)
    with processors(), turn(store, "label"):
        task = within(label_task, timeout_s)
        found = total_of(
            spread(task, runner_of(runner, parts), store=store, workers=workers, time_factor=time_factor)
        )
    rows = [{"verdict": name, "rows": count} for name, count in sorted(found["verdicts"].items())]
    ran = f"{found['programs']:,} programs ran {found['tests']:,} tests in {found['seconds']:.0f} s"
    report_table(
        "label",
        f"Labelled in the sandbox: {ran}, {found['unjudgeable']:,} rows without tests or checker",
        rows,
    )
    said = f"{found['rows']:,} rows labelled, {ran}"
    if found["rows"]:
        reached = announce_labelled(store, found["verdicts"])
        said += f"; reached: {', '.join(reached)}" if reached else ""
    if found["verdicts"].get("judge_error"):
        said += f"; {report_judge_errors(store, started)}"
    return done(found, said, cached=not found["rows"])


def total_of(parts: list[dict]) -> dict:
    """The labelling of all parts in one; every part counts the rows without a judge of the whole store."""
    verdicts = sum((Counter(part["verdicts"]) for part in parts), Counter())
    summed = {name: sum(part[name] for part in parts) for name in ("rows", "programs", "tests", "cpu_s")}
    largest = {name: max(part[name] for part in parts) for name in ("seconds", "unjudgeable")}
    return {**summed, **largest, "verdicts": dict(verdicts)}


def report_judge_errors(store: str, since: datetime) -> str:
    """An artifact with the first judge errors of this labelling, and a line that names one of them."""
    rows = rows_of(
        store,
        "select trajectory_id, problem_id, attempt, coalesce(tests[1].detail, '') as reason from verdicts"
        " where verdict = 'judge_error' and judged_at >= $since order by trajectory_id limit $shown",
        {"since": since, "shown": SHOWN_ROWS},
    )
    create_table_artifact(
        key="judge-errors", table=rows, description=f"The first {len(rows)} judge errors; they are no rewards"
    )
    first = rows[0]
    return f"judge errors, for one {first['trajectory_id']} of {first['problem_id']}: {first['reason']}"


@task(name="judge programs", **PATIENT)
def label_task(part: int, parts: int, store: str, workers: int | None, time_factor: float = 1.0) -> dict:
    with progress("label", "rows") as update:
        chosen = where_part("t.problem_id", part, parts)
        found = label(
            Store(store), workers=workers, time_factor=time_factor, where=chosen, on_progress=update
        )
    return {**asdict(found), "verdicts": dict(found.verdicts)}
