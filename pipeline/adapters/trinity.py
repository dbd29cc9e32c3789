"""Trinity-RFT: experiences that its explorer writes to a file (schema of Trinity-RFT 0.6.0,
`Experience.to_dict`).

JSON lines of a buffer with `storage_type: file`: `eid` {batch, task, run, step, suffix}, `type` (single_turn,
multi_turn, dpo), `prompt_text` and `response_text` or `messages`, `reward`, `info` (`model_version`: the
explorer's step), `truncate_status`. Of several turns the last answer is used, and the messages before it are
its prompt. Preference pairs (dpo) are not samples and are refused. Buffers in a database have serialised
tensors: write them to a file first.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pipeline.adapters import ReadItem, Refused, SourceFile, register
from pipeline.adapters.lines import SUFFIXES, JsonRow
from pipeline.adapters.rollouts import prompt_sample_key, run_columns, sample, score_claim
from pipeline.adapters.rows import RowAdapter
from pipeline.adapters.sample import SampleKey


class Trinity(RowAdapter):
    name = "trinity"
    suffixes = (*SUFFIXES, ".json")

    def sample_key(self, row: JsonRow) -> SampleKey:
        prompt, _ = turns(row.value)
        return prompt_sample_key(row, prompt, str(row.value.get("info", {}).get("model_version")))

    def items(self, row: JsonRow, file: SourceFile) -> Iterator[ReadItem]:
        value = row.value
        if value["type"] == "dpo":
            yield Refused(row.line, row.raw, "a preference pair, not a sample", "type", row.size)
            return
        eid = value["eid"]
        prompt, answer = turns(value)
        yield sample(
            row,
            prompt,
            answer,
            source_key="/".join(str(eid[part]) for part in ("batch", "task", "run", "step", "suffix")),
            sample_index=eid["run"],
            finish_reason="length" if value.get("truncate_status") else None,
            **run_columns(file, value.get("info", {}).get("model_version")),
            **score_claim(value.get("reward"), "reward", "Trinity-RFT workflow"),
        )


register(Trinity())


def turns(value: dict[str, Any]) -> tuple[Any, Any]:
    """(prompt, completion) of an experience: its texts, or its messages before the last and the last one."""
    if value.get("response_text") is not None:
        return value.get("prompt_text"), value["response_text"]
    messages = value["messages"]
    return messages[:-1], messages[-1:]
