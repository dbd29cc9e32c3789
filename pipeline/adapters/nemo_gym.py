"""NeMo-Gym: rollouts that it collects (`nemo_gym/rollout_collection.py`, commit 07d6b0d), JSON lines.

A row has `responses_create_params` (the request of OpenAI's Responses API, with the prompt in `input`),
`response` (its output: messages, reasoning, calls), `reward`, and what the resources server added:
`extracted_model_code` (the program that was verified), `metadata`, task ids. Token ids and log-probabilities
are in the output's messages if the policy server gave them. Rows of `*_failures.jsonl`
(`_ng_failure_class`) are failures of the machinery and refused with that. Files that
`spo corpus export --format nemo_gym` wrote have all columns of the store in `spo`, and are read without a
loss.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pipeline.adapters import ReadItem, ReadTrajectory, Refused, SourceFile, register
from pipeline.adapters.lines import SUFFIXES, JsonRow
from pipeline.adapters.openai_batch import response_message
from pipeline.adapters.own_part import own_columns
from pipeline.adapters.rollouts import (
    finish_reason,
    path_name,
    problem_id_of,
    prompt_sample_key,
    sample,
    score_claim,
)
from pipeline.adapters.rows import RowAdapter
from pipeline.adapters.sample import SampleKey

FAILURE = "_ng_failure_class"


class NemoGym(RowAdapter):
    name = "nemo_gym"
    suffixes = SUFFIXES

    def sample_key(self, row: JsonRow) -> SampleKey:
        return prompt_sample_key(row, row.value["responses_create_params"]["input"], "nemo_gym")

    def items(self, row: JsonRow, file: SourceFile) -> Iterator[ReadItem]:
        value = row.value
        if value.get(FAILURE):
            reason = f"the rollout failed: {value[FAILURE]!s:.200}"
            yield Refused(row.line, row.raw, reason, FAILURE, row.size, is_own=True)
            return
        asked, response = value["responses_create_params"], value["response"]
        prompt, output = asked["input"], response["output"]
        if "spo" in value:
            yield own_row(row, prompt, output)
            return
        code, temperature = value.get("extracted_model_code"), asked.get("temperature")
        why = (
            (response.get("incomplete_details") or {}).get("reason") or response.get("status") or "completed"
        )
        yield sample(
            row,
            prompt if isinstance(prompt, str) else [message_of(item) for item in prompt],
            response_message(output),
            problem_id=problem_id_of(value) or problem_id_of(asked.get("metadata") or {}),
            origin="other_policy",
            policy_id=str(response.get("model") or path_name(file)),
            source_key=str(response.get("id") or f"{file.name}#{row.line}"),
            sample_index=value.get("_ng_rollout_index"),
            temperature=temperature,
            top_p=asked.get("top_p"),
            finish_reason=finish_reason(why),
            **({"program": code} if isinstance(code, str) and code.strip() else {}),
            **tokens(output, temperature),
            **score_claim(value.get("reward"), "reward", "NeMo-Gym"),
        )


register(NemoGym())


def message_of(item: dict[str, Any]) -> dict[str, Any]:
    """An item of a request's input as a chat message."""
    return {"role": item.get("role", "user"), "content": item.get("content") or item.get("output") or ""}


def own_row(row: JsonRow, prompt: Any, output: list[dict[str, Any]]) -> ReadTrajectory:
    own = own_columns(row.value["spo"], prompt[0]["content"], output[0]["content"][0]["text"])
    return ReadTrajectory(row.line, row.raw, own, row.size)


def tokens(output: list[dict[str, Any]], temperature: float | None) -> dict[str, Any]:
    """Sampled tokens of the last message that has them; their log-probabilities at temperature 1."""
    held = next((item for item in reversed(output) if item.get("generation_token_ids")), None)
    if held is None:
        return {}
    ids, logprobs = list(held["generation_token_ids"]), held.get("generation_log_probs") or []
    known = temperature == 1 and len(logprobs) == len(ids)
    return {
        "token_ids": ids,
        "behaviour_logprob": float(sum(logprobs)) if known else None,
        "token_logprobs": list(logprobs) if known else None,
    }
