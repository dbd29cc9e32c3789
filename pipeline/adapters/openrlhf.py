"""OpenRLHF: outputs of its batch inference (`openrlhf/cli/batch_inference.py`, JSON lines).

`generate` and `generate_vllm` write `input` (the prompt, its template applied) and `output`; `rm` adds
`reward`. A reward model's reward says nothing about a verdict, so it is named as the basis of no claim. The
trainers of OpenRLHF write no samples.
"""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.adapters import ReadItem, SourceFile, register
from pipeline.adapters.lines import SUFFIXES, JsonRow
from pipeline.adapters.rollouts import place_by_prompt, run_columns, sample
from pipeline.adapters.rows import RowAdapter
from pipeline.adapters.sample import Place
from pipeline.store import content_id


class OpenRlhf(RowAdapter):
    name = "openrlhf"
    suffixes = SUFFIXES

    def place(self, row: JsonRow) -> Place:
        return place_by_prompt(row, row.value["input"], "openrlhf")

    def items(self, row: JsonRow, file: SourceFile) -> Iterator[ReadItem]:
        value = row.value
        key = f"{content_id(value['input'])[:12]}#{row.line}"
        basis = (
            {"claimed_basis": f"OpenRLHF reward model: {value['reward']}"}
            if value.get("reward") is not None
            else {}
        )
        yield sample(row, value["input"], value["output"], source_key=key, **run_columns(file.name), **basis)


register(OpenRlhf())
