"""Flows that compare data sets with one another: decontamination."""

from __future__ import annotations

from dataclasses import asdict

from prefect import flow, task

from flows.rules import PATIENT
from flows.stages import report_table
from pipeline.decontaminate import decontaminate
from pipeline.store import Store


@flow(name="decontaminate", flow_run_name="{store}")
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
        examples = [{**row, "overlap": round(row["overlap"], 2), "example": row["example"] or "-"} for row in found["examples"]]
        report_table("contaminated", "The clearest", examples)
    return found


@task(name="compare with the evaluation set", **PATIENT)
def decontaminate_task(store: str, evaluation: str) -> dict:
    return asdict(decontaminate(Store(store), evaluation))
