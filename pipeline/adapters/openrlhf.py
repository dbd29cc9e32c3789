"""OpenRLHF: outputs of its batch inference (JSON lines; `openrlhf/cli/batch_inference.py`, in releases up to
0.9).

`generate` and `generate_vllm` write `input` (the prompt with its template) and `output`; `rm` adds `reward`.
The reward of a reward model is not a verdict, so it is stored in `claimed_basis` without a claimed verdict.
The trainers of OpenRLHF write no samples.
"""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.adapters import ReadItem, Refused, SourceFile, register
from pipeline.adapters.lines import SUFFIXES, JsonRow
from pipeline.adapters.rollouts import prompt_sample_key, run_columns, sample
from pipeline.adapters.rows import RowAdapter
from pipeline.adapters.sample import SampleKey
from pipeline.store import content_id

KEYS = {"input", "output", "reward"}


class OpenRlhf(RowAdapter):
    name = "openrlhf"
    suffixes = SUFFIXES

    def sample_key(self, row: JsonRow) -> SampleKey:
        return prompt_sample_key(row, row.value["input"], "openrlhf")

    def items(self, row: JsonRow, file: SourceFile) -> Iterator[ReadItem]:
        value = row.value
        if others := sorted(value.keys() - KEYS):
            reason = "a key that OpenRLHF does not write: another program's row; use the adapter samples"
            yield Refused(row.line, row.raw, reason, others[0], row.size)
            return
        key = f"{content_id(value['input'])[:12]}#{row.line}"
        basis = (
            {"claimed_basis": f"OpenRLHF reward model: {value['reward']}"}
            if value.get("reward") is not None
            else {}
        )
        yield sample(row, value["input"], value["output"], source_key=key, **run_columns(file), **basis)


register(OpenRlhf())
