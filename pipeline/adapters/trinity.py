"""Trinity-RFT: experiences that its explorer writes to a file (schema of Trinity-RFT 0.6.0,
`Experience.to_dict`).

JSON lines of a buffer with `storage_type: file`: `eid` {batch, task, run, step, suffix}, `type` (single_turn,
multi_turn, dpo), `prompt_text` and `response_text` or `messages`, `reward`, `info` (`model_version`: the
explorer's step), `truncate_status`. Of several turns the last answer is taken, and what came before it is its
prompt. Pairs of preferences (dpo) are no samples and are refused. Buffers in a database hold tensors in a
form of their own: write them to a file first.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pipeline.adapters import ReadItem, Refused, SourceFile, register
from pipeline.adapters.lines import SUFFIXES, JsonRow
from pipeline.adapters.rollouts import place_by_prompt, run_columns, sample, scored
from pipeline.adapters.rows import RowAdapter
from pipeline.adapters.sample import Place


class Trinity(RowAdapter):
    name = "trinity"
    suffixes = (*SUFFIXES, ".json")

    def place(self, row: JsonRow) -> Place:
        prompt, _ = turns(row.value)
        return place_by_prompt(row, prompt, str(row.value.get("info", {}).get("model_version")))

    def items(self, row: JsonRow, file: SourceFile) -> Iterator[ReadItem]:
        value = row.value
        if value["type"] == "dpo":
            yield Refused(row.line, row.raw, "a pair of preferences, not a sample", "type", row.size)
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
            **run_columns(file.name, value.get("info", {}).get("model_version")),
            **scored(value.get("reward"), "reward", "Trinity-RFT workflow"),
        )


register(Trinity())


def turns(value: dict[str, Any]) -> tuple[Any, Any]:
    """(prompt, completion) of an experience: its texts, or its messages before the last and the last one."""
    if value.get("response_text") is not None:
        return value.get("prompt_text"), value["response_text"]
    messages = value["messages"]
    return messages[:-1], messages[-1:]
