"""Decontamination: mark training data that would reveal an evaluation set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

from flows.work.artifacts import report_table
from pipeline.dedup import decontaminate
from pipeline.store import Store

# Enough of an n-gram to recognise its topic.
SHOWN_CHARACTERS = 48


def decontaminate_store(
    store: str, evaluation: str, *, compare: Callable[[str, str], dict] | None = None
) -> dict:
    """Mark problems and trajectories that would reveal an evaluation set, and show the clearest cases.

    `compare`: what replaces `compare_rows`, a task in a Prefect run.
    """
    result = (compare or compare_rows)(store, evaluation)
    counts = {
        "evaluation problems": result["evaluation_problems"],
        **{f"problems, {evidence}": count for evidence, count in result["problems"].items()},
        "trajectories, ngrams": result["trajectories_marked"],
        "contaminated": f"{result['trajectories_contaminated']:,} of {result['trajectories']:,} trajectories",
    }
    report_table("decontaminate", f"Decontaminated against {evaluation}", [counts])
    if result["examples"]:
        report_table(
            "contaminated",
            "The clearest cases; list all with: spo sql @leaks",
            [example_row(row) for row in result["examples"]],
        )
    return result


def example_row(row: dict) -> dict:
    """A mark as a row of a table, with the first 12 characters of a trajectory's id."""
    words = row["example"] or "-"
    return {
        "marked": row["subject_id"][:12] if row["kind"] == "trajectory" else row["subject_id"],
        "reveals": row["evaluation_problem_id"],
        "evidence": row["evidence"],
        "overlap": f"{row['overlap']:.2f}",
        "first shared words": words
        if len(words) <= SHOWN_CHARACTERS
        else f"{words[: SHOWN_CHARACTERS - 3]}...",
    }


def compare_rows(store: str, evaluation: str) -> dict:
    return asdict(decontaminate(Store(store), evaluation))
