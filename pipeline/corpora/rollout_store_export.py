"""A corpus as a RolloutStore of lance-context (0.6.7): a Lance data set, written by that package.

A record is a turn: the user's with the prompt, the assistant's with the answer, tokens and reward. The part
`spo` is JSON in the `user_metadata` of the latter. Needs `pip install lance-context`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

FOLDER = "rollouts.lance"
AT_ONCE = 500


def write(rows: Iterable[dict[str, Any]], folder: Path) -> None:
    """Write `folder/rollouts.lance`. Raises ImportError without the package."""
    try:
        from lance_context import RolloutStore
    except ImportError as error:
        raise ImportError("the format needs lance-context: pip install lance-context==0.6.7") from error
    target = RolloutStore.open(str(folder / FOLDER))
    left = iter(rows)
    while part := list(islice(left, AT_ONCE)):
        target.add([record for row in part for record in records(row)])
    target.flush()


def records(row: dict[str, Any]) -> list[dict[str, Any]]:
    """The turns of a row of `interchange.rows_of`."""
    name = row["trajectory_id"]
    both = {
        "rollout_id": name,
        "problem_id": row["problem_id"],
        "created_at": row["created_at"].isoformat(),
        "policy_version": row["policy_id"] + ("" if row["policy_step"] is None else f"@{row['policy_step']}"),
        "content_type": "text/plain",
    }
    asked = row["prompt"] if row["prompt"] is not None else row["statement"]
    answer = row["completion"] if row["completion"] is not None else row["program"]
    spo = {k: v for k, v in row["spo"].items() if k not in ("token_ids",)}
    last = both | {
        "id": f"{name}-1", "sequence_order": 1, "role": "assistant", "content": answer,
        "model_output_string": answer, "user_metadata": json.dumps({"spo": spo}, ensure_ascii=False),
    }  # fmt: skip
    if row["token_ids"] is not None:
        last |= {"output_tokens": list(row["token_ids"]), "num_output_tokens": len(row["token_ids"])}
    if row["token_logprobs"] is not None:
        last["output_logprobs"] = list(row["token_logprobs"])
    if row["reward"] is not None:
        last["reward"] = row["reward"]
    first = both | {"id": f"{name}-0", "sequence_order": 0, "role": "user", "content": asked or ""}
    return [first, last]
