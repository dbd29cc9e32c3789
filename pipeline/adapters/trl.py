"""TRL: completions that its GRPO trainer logs with `log_completions=True` (schema of TRL 1.16,
`trl/trainer/grpo_trainer.py`).

Files `OUTPUT_DIR/completions/completions_<step>.parquet` with the columns `step`, `prompt` and `completion`
(texts or messages), one column for each reward function, what reward functions logged besides, and
`advantage`. A claim rests on the reward where there is one reward column: a number other than step and
advantage. Ingest OUTPUT_DIR: the run goes by its name.
"""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.adapters import ReadItem, SourceFile, register
from pipeline.adapters.lines import JsonRow
from pipeline.adapters.rollouts import place_by_prompt, run_columns, sample, scored
from pipeline.adapters.rows import RowAdapter
from pipeline.adapters.sample import Place

NOT_REWARDS = ("step", "prompt", "completion", "advantage")


class Trl(RowAdapter):
    name = "trl"
    suffixes = (".parquet",)

    def place(self, row: JsonRow) -> Place:
        return place_by_prompt(row, row.value["prompt"], f"step {row.value['step']}")

    def items(self, row: JsonRow, file: SourceFile) -> Iterator[ReadItem]:
        value = row.value
        # A reward of null may stand in any column, so a row with two columns that could be rewards makes no
        # claim.
        could_be = (key for key in value if key not in NOT_REWARDS)
        rewards = [key for key in could_be if value[key] is None or type(value[key]) in (int, float)]
        claims = scored(value[rewards[0]], rewards[0], "TRL reward function") if len(rewards) == 1 else {}
        key = f"{value['step']}#{row.line}"
        run = run_columns(file.name, value["step"])
        yield sample(row, value["prompt"], value["completion"], source_key=key, **run, **claims)


register(Trl())
