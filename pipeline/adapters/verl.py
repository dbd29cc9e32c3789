"""verl: samples that its trainers dump (schema of verl 0.9.1, `_write_generations` in `verl/trainer/ppo`).

`trainer.rollout_data_dir` and `validation_data_dir` hold `<step>.jsonl` with `input` and `output` (decoded,
without special tokens), `gts`, `score`, `step`, and what the reward function returned besides, by name (often
`acc`; `uid`, `request_id`). The claim rests on `score`. Reward functions may name the problem: `problem_id`,
or another key of `rollouts.ID_KEYS`.
"""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.adapters import ReadItem, SourceFile, register
from pipeline.adapters.lines import SUFFIXES, JsonRow
from pipeline.adapters.rollouts import place_by_prompt, run_columns, sample, scored
from pipeline.adapters.rows import RowAdapter
from pipeline.adapters.sample import Place


class Verl(RowAdapter):
    name = "verl"
    suffixes = SUFFIXES

    def place(self, row: JsonRow) -> Place:
        return place_by_prompt(row, row.value["input"], f"step {row.value['step']}")

    def items(self, row: JsonRow, file: SourceFile) -> Iterator[ReadItem]:
        value = row.value
        key = f"{value['step']}#{row.line}"
        run, claims = (
            run_columns(file.name, value["step"]),
            scored(value["score"], "score", "verl reward function"),
        )
        yield sample(row, value["input"], value["output"], source_key=key, **run, **claims)


register(Verl())
