"""verl: samples dumped by its trainers (schema of verl 0.9.1, `_write_generations` in `verl/trainer/ppo`).

`trainer.rollout_data_dir` and `validation_data_dir` hold `<step>.jsonl` with `input` and `output` (decoded,
without special tokens), `gts`, `score`, `step`, and other values that the reward function returned, by name
(often `acc`; `uid`, `request_id`). Older versions write every value as text; a score may be a list of one, or
an object with the key `score`. The claim is based on `acc` if there is one, because scores are often shaped,
else on `score`. A row without a step has that of the file's name. A reward function may return the problem
id: `problem_id`, or another key of `rollouts.ID_KEYS`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from pipeline.adapters import ReadItem, SourceFile, register
from pipeline.adapters.lines import SUFFIXES, JsonRow
from pipeline.adapters.rollouts import number_of, prompt_sample_key, run_columns, sample, score_claim
from pipeline.adapters.rows import RowAdapter
from pipeline.adapters.sample import SampleKey

KNOWN = ("input", "output", "gts", "score", "acc", "step")


class Verl(RowAdapter):
    name = "verl"
    suffixes = SUFFIXES

    def sample_key(self, row: JsonRow) -> SampleKey:
        return prompt_sample_key(row, row.value["input"], f"step {row.value.get('step')}")

    def items(self, row: JsonRow, file: SourceFile) -> Iterator[ReadItem]:
        value = row.value
        if not {"score", "acc", "step"} & value.keys():
            raise KeyError("score")
        for name in value:
            if name not in KNOWN and ("reward" in name or "score" in name):
                file.notes[f"column {name!r} is not used; the claim is based on acc or score"] += 1
        if value.get("score") is not None and not (is_number(value["score"]) or is_number(value.get("acc"))):
            file.notes["a score that is not a number: the sample has no claim"] += 1
        step = value.get("step")
        if step is None and PurePosixPath(file.name).stem.isdigit():
            step = PurePosixPath(file.name).stem
        run = run_columns(file, step)
        yield sample(
            row,
            value["input"],
            value["output"],
            source_key=f"{run['policy_step']}#{row.line}",
            **run,
            **claims_of(value),
        )


register(Verl())


def is_number(score: Any) -> bool:
    try:
        return number_of(score) is not None
    except TypeError:
        return False


def claims_of(value: dict[str, Any]) -> dict[str, Any]:
    """The claim of a row; the basis names the score, too, if `acc` decides."""
    basis = "verl reward function"
    if not is_number(value.get("acc")):
        return score_claim(value.get("score"), "score", basis)
    claims = score_claim(value["acc"], "acc", basis)
    return claims | {"claimed_basis": f"{claims['claimed_basis']}, score = {value.get('score')}"}
