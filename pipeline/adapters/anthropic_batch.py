"""Anthropic Message Batches: result files, with the request files they answer.

A result line is {"custom_id", "result": {"type": "succeeded", "message": {model, content, stop_reason}}},
or a
result of the type errored, canceled or expired, which is refused; a request line is {"custom_id", "params"}
(API reference, Message Batches). Requests are found as in `openai_batch.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from pipeline.adapters import ReadItem, Refused, SourceFile, register
from pipeline.adapters.lines import JsonRow
from pipeline.adapters.openai_batch import OpenAiBatch
from pipeline.adapters.rollouts import finish_reason, problem_id_of, sample


class AnthropicBatch(OpenAiBatch):
    name = "anthropic_batch"

    def items(self, row: JsonRow, file: SourceFile) -> Iterator[ReadItem]:
        value = row.value
        result, request = value["result"], value.get("request") or {}
        if result["type"] != "succeeded":
            error = json.dumps(result.get("error") or {})[:300]
            yield Refused(row.line, row.raw, f"the request {result['type']}: {error}", "result", row.size)
            return
        message = result["message"]
        yield sample(
            row,
            request.get("messages"),
            [message],
            problem_id=problem_id_of(request) or problem_id_of({"custom_id": value["custom_id"]}),
            origin="other_policy",
            policy_id=message["model"],
            source_key=f"{value['custom_id']}#0",
            temperature=request.get("temperature"),
            top_p=request.get("top_p"),
            finish_reason=finish_reason(message.get("stop_reason")),
        )


register(AnthropicBatch())
