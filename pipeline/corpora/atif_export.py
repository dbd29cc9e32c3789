"""A row of a corpus as a document of ATIF v1.8, the Agent Trajectory Interchange Format."""

from __future__ import annotations

from typing import Any

# These are in the metrics of the answer's step.
IN_METRICS = ("token_ids", "token_logprobs")


def document(row: dict[str, Any]) -> dict[str, Any]:
    """A row of `interchange.rows_of` as an ATIF document."""
    asked = row["prompt"] if row["prompt"] is not None else row["statement"]
    answer: dict[str, Any] = {"step_id": 2, "source": "agent"}
    answer["message"] = row["completion"] if row["completion"] is not None else row["program"]
    if row["token_ids"] is not None:
        answer["metrics"] = {
            "completion_tokens": len(row["token_ids"]),
            "completion_token_ids": list(row["token_ids"]),
        }
        if row["token_logprobs"] is not None:
            answer["metrics"]["logprobs"] = list(row["token_logprobs"])
    return {
        "schema_version": "ATIF-v1.8",
        "trajectory_id": row["trajectory_id"],
        "agent": {"name": row["policy_id"], "version": str(row["policy_step"] or "unknown")},
        "steps": [{"step_id": 1, "source": "user", "message": asked or ""}, answer],
        "extra": {
            "task_id": row["problem_id"],
            "spo": {name: value for name, value in row["spo"].items() if name not in IN_METRICS},
        },
    }
