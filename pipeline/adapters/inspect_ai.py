"""inspect_ai: logs of evaluations in JSON (`inspect log convert --to json`; schema version 2 of inspect_ai
0.3).

One document {version, eval: {model, ...}, samples: [{id, epoch, input, output: {choices}, scores}]}; every
sample is a trajectory. `scores` of a scorer is C (correct), I (incorrect), P (partial), N (no answer) or a
number; the claim is based on the first scorer. Archives (`.eval`) have to be converted.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from pipeline.adapters import ReadItem, Refused, SourceFile, register
from pipeline.adapters.documents import whole_document
from pipeline.adapters.lines import JsonRow
from pipeline.adapters.rollouts import finish_reason, path_name, problem_id_of, sample, score_claim
from pipeline.adapters.rows import DOCUMENTS, RowAdapter
from pipeline.adapters.sample import SampleKey
from pipeline.adapters.tables import json_bytes

LETTERS = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0}


class InspectAi(RowAdapter):
    name = "inspect_ai"
    suffixes = DOCUMENTS

    def _rows(self, file: SourceFile) -> Iterator[JsonRow | Refused]:
        return whole_document(file)

    def sample_key(self, row: JsonRow) -> SampleKey:
        return SampleKey(row.line, str(row.value["eval"].get("task")), "", "inspect", str(row.line))

    def items(self, row: JsonRow, file: SourceFile) -> Iterator[ReadItem]:
        settings = row.value["eval"]
        run = settings.get("task_id") or settings.get("run_id") or path_name(file)
        for one in row.value["samples"]:
            # The part of the log that a retry of a refused sample needs.
            raw = partial(json_bytes, {"eval": settings, "samples": [one]})
            part = JsonRow(row.line, raw, one, row.size // max(1, len(row.value["samples"])))
            output = one.get("output") or {}
            choice = (output.get("choices") or [{}])[0]
            yield sample(
                part,
                one["input"],
                [choice["message"]] if choice.get("message") else None,
                problem_id=problem_id_of(one),
                origin="other_policy",
                policy_id=settings.get("model") or path_name(file),
                source_key=f"{run}#{one['id']}#{one.get('epoch', 1)}",
                sample_index=one.get("epoch", 1) - 1,
                temperature=(settings.get("model_generate_config") or {}).get("temperature"),
                finish_reason=finish_reason(choice.get("stop_reason")),
                **claims_of(one.get("scores") or {}),
            )


register(InspectAi())


def claims_of(scores: dict[str, Any]) -> dict[str, Any]:
    for scorer, score in scores.items():
        value = score.get("value")
        return score_claim(
            LETTERS.get(value, value) if isinstance(value, str) else value, scorer, "inspect_ai"
        )
    return {}
