"""TRL: completions that its GRPO trainer logs with `log_completions=True` (schema of TRL 1.16,
`trl/trainer/grpo_trainer.py`).

Files `OUTPUT_DIR/completions/completions_<step>.parquet` with the columns `step`, `prompt` and `completion`
(strings or messages), one column per reward function, other values that reward functions logged, and
`advantage`. Columns that are named like a reward (`REWARD_NAMES`) are rewards; if no column is, a column of
numbers is one if it is the only one. If one reward decides about correctness (`CORRECTNESS`, or it is the
only one), the claim is based on it; else the basis lists all. Ingest OUTPUT_DIR: its name is the run id.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from pipeline.adapters import ReadItem, SourceFile, register
from pipeline.adapters.lines import JsonRow
from pipeline.adapters.rollouts import prompt_sample_key, run_columns, sample, score_claim
from pipeline.adapters.rows import RowAdapter
from pipeline.adapters.sample import SampleKey

NOT_REWARDS = ("step", "prompt", "completion", "advantage")
# Values that trainers log beside rewards.
LOGGED = re.compile(r"entropy|kl|length|logp|loss|ratio|temperature|index|tokens|time", re.IGNORECASE)
REWARD_NAMES = re.compile(r"reward|accura|correct|pass|solve|verif|\bacc\b|score", re.IGNORECASE)
CORRECTNESS = re.compile(r"accura|correct|pass|solve|verif|\bacc\b|\bcode|test", re.IGNORECASE)
BASIS = "TRL reward function"


class Trl(RowAdapter):
    name = "trl"
    suffixes = (".parquet",)

    def sample_key(self, row: JsonRow) -> SampleKey:
        return prompt_sample_key(row, row.value["prompt"], f"step {row.value['step']}")

    def items(self, row: JsonRow, file: SourceFile) -> Iterator[ReadItem]:
        value = row.value
        run = run_columns(file, value["step"])
        key = f"{run['policy_step']}#{row.line}"
        yield sample(
            row, value["prompt"], value["completion"], source_key=key, **run, **claims_of(value, file)
        )


register(Trl())


def claims_of(value: dict[str, Any], file: SourceFile) -> dict[str, Any]:
    """The claim of a row, and a note about every number that could be a reward and is not used."""
    # Null can be a reward.
    could_be = [
        key for key in value if key not in NOT_REWARDS and type(value[key]) in (int, float, type(None))
    ]
    named = [key for key in could_be if REWARD_NAMES.search(key) and not LOGGED.search(key)]
    others = [key for key in could_be if key not in named and not LOGGED.search(key)]
    rewards = named or (others if len(others) == 1 else [])
    deciding = rewards if len(rewards) == 1 else [key for key in rewards if CORRECTNESS.search(key)]
    for key in could_be:
        if key not in deciding:
            file.notes[f"column {key!r}: a number that no claim is based on"] += 1
    if len(deciding) == 1:
        return score_claim(value[deciding[0]], deciding[0], BASIS)
    listed = ", ".join(f"{key} = {value[key]}" for key in rewards)
    return {"claimed_basis": f"{BASIS}s: {listed}"} if listed else {}
