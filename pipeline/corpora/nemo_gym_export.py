"""A row of a corpus as a rollout of NeMo-Gym (`nemo_gym/rollout_collection.py`, commit 07d6b0d): the request
and the response of OpenAI's Responses API, and the reward.
"""

from __future__ import annotations

from typing import Any


def document(row: dict[str, Any]) -> dict[str, Any]:
    """A row of `interchange.rows_of` as a rollout. `reward` is that of the corpus, null without a verdict."""
    asked = row["prompt"] if row["prompt"] is not None else row["statement"]
    answer = row["completion"] if row["completion"] is not None else row["program"]
    message: dict[str, Any] = {
        "id": f"msg_{row['trajectory_id']}",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "output_text", "text": answer, "annotations": []}],
    }
    if row["token_ids"] is not None and row["token_logprobs"] is not None:
        # The fields of `NeMoGymResponseOutputMessageForTraining`.
        message |= {
            "prompt_token_ids": [],
            "generation_token_ids": list(row["token_ids"]),
            "generation_log_probs": list(row["token_logprobs"]),
        }
    return {
        "responses_create_params": {
            "input": [{"role": "user", "content": asked or "", "type": "message"}],
            "temperature": row["temperature"],
            "top_p": row["top_p"],
        },
        "response": {
            "id": f"resp_{row['trajectory_id']}",
            "object": "response",
            "created_at": row["created_at"].timestamp(),
            "model": row["policy_id"],
            "output": [message],
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
        },
        "reward": row["reward"],
        "extracted_model_code": row["program"],
        "problem_id": row["problem_id"],
        "spo": row["spo"],
    }
