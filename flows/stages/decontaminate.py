"""Flows that compare data sets with one another: decontamination."""

from __future__ import annotations

from dataclasses import asdict

from prefect import flow, task

from flows.runtime.rules import IN_MEMORY, PATIENT
from flows.stages.artifacts import report_table
from pipeline.dedup import decontaminate
from pipeline.store import Store

# Enough of an n-gram to know what it is about.
SHOWN_CHARACTERS = 48


@flow(name="decontaminate", flow_run_name="{store}", **IN_MEMORY)
def decontaminate_flow(store: str, evaluation: str) -> dict:
    """Mark what would give an evaluation set away; nothing is deleted."""
    found = decontaminate_task(store, evaluation)
    counts = {
        "evaluation problems": found["evaluation_problems"],
        **{f"problems, {evidence}": count for evidence, count in found["problems"].items()},
        "trajectories, ngrams": found["trajectories_marked"],
        "contaminated": f"{found['trajectories_contaminated']:,} of {found['trajectories']:,} trajectories",
    }
    report_table("decontaminate", f"Kept apart from {evaluation}", [counts])
    if found["examples"]:
        report_table(
            "contaminated",
            "The clearest; all of them: spo sql @leaks",
            [example_row(row) for row in found["examples"]],
        )
    return found


def example_row(row: dict) -> dict:
    """A mark in few words: ids of trajectories by their beginning, which is enough to find them."""
    words = row["example"] or "-"
    return {
        "marked": row["subject_id"][:12] if row["kind"] == "trajectory" else row["subject_id"],
        "gives away": row["evaluation_problem_id"],
        "by": row["evidence"],
        "overlap": f"{row['overlap']:.2f}",
        "first words they share": words
        if len(words) <= SHOWN_CHARACTERS
        else f"{words[: SHOWN_CHARACTERS - 3]}...",
    }


@task(name="compare with the evaluation set", **PATIENT)
def decontaminate_task(store: str, evaluation: str) -> dict:
    return asdict(decontaminate(Store(store), evaluation))
