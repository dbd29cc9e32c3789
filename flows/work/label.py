"""Labelling: judge every program that has no verdict yet in the sandbox."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from flows.display.terminal import progress
from flows.runtime.turns import done, processors, turn
from flows.work.artifacts import SHOWN_ROWS, query_rows, report_table, table_artifact
from flows.work.parts import part_predicate
from pipeline.labelling import label
from pipeline.store import Store


def label_store(
    store: str,
    judge: Callable[[], list[dict]],
    announce: Callable[[str, dict[str, int]], list[str]] = lambda store, verdicts: [],
) -> Any:
    """Judge pending programs with `judge`, which gives the result of each part, and show the counts.

    `announce`: reports new verdicts to those that wait for them, and returns the thresholds that they
    reached.
    """
    started = datetime.now(UTC)
    with processors(), turn(store, "label"):
        result = sum_parts(judge())
    rows = [{"verdict": name, "rows": count} for name, count in sorted(result["verdicts"].items())]
    ran = f"{result['programs']:,} programs ran {result['tests']:,} tests in {result['seconds']:.0f} s"
    report_table(
        "label",
        f"Labelled in the sandbox: {ran}, {result['unjudgeable']:,} rows without tests or checker",
        rows,
    )
    message = f"{result['rows']:,} rows labelled, {ran}"
    if result["rows"]:
        reached = announce(store, result["verdicts"])
        message += f"; thresholds reached: {', '.join(reached)}" if reached else ""
    if result["verdicts"].get("judge_error"):
        message += f"; {report_judge_errors(store, started)}"
    return done(result, message, cached=not result["rows"])


def sum_parts(parts: list[dict]) -> dict:
    """The results of all parts combined. Every part counts the unjudgeable rows of the whole store."""
    verdicts = sum((Counter(part["verdicts"]) for part in parts), Counter())
    summed = {name: sum(part[name] for part in parts) for name in ("rows", "programs", "tests", "cpu_s")}
    largest = {name: max(part[name] for part in parts) for name in ("seconds", "unjudgeable")}
    return {**summed, **largest, "verdicts": dict(verdicts)}


def report_judge_errors(store: str, since: datetime) -> str:
    """Create an artifact with the first judge errors of this labelling run. Returns a line that names one."""
    rows = query_rows(
        store,
        "select trajectory_id, problem_id, attempt, coalesce(tests[1].detail, '') as reason from verdicts"
        " where verdict = 'judge_error' and judged_at >= $since order by trajectory_id limit $shown",
        {"since": since, "shown": SHOWN_ROWS},
    )
    table_artifact("judge-errors", rows, f"The first {len(rows)} judge errors; they are not rewards")
    first = rows[0]
    return f"judge errors, e.g. {first['trajectory_id']} of {first['problem_id']}: {first['reason']}"


def judge_programs(
    part: int,
    parts: int,
    store: str,
    workers: int | None,
    time_factor: float = 1.0,
    all_tests: bool = False,
) -> dict:
    with progress("label", "rows") as update:
        predicate = part_predicate("t.problem_id", part, parts)
        result = label(
            Store(store),
            workers=workers,
            time_factor=time_factor,
            where=predicate,
            all_tests=all_tests,
            on_progress=update,
        )
    return {**asdict(result), "verdicts": dict(result.verdicts)}
