"""EvalPlus results and samples, and results of OpenAI's human-eval (schema of EvalPlus 0.3.1,
`evalplus/evaluate.py`).

* `*_eval_results.json`: {"date", "hash", "eval": {task_id: [{task_id, solution, base_status, plus_status,
  ...}]}}, statuses pass, fail, timeout;
* `*.jsonl` of samples: {task_id, solution}; of human-eval: {task_id, completion, result, passed}.

The problems are those of `humaneval` and `mbpp` read from EvalPlus' data, or of plain HumanEval and MBPP
where only the base tests ran. Model and temperature are told by EvalPlus' file names
(`<model>_<backend>_temp_<t>`). A completion without its prompt is no program: it is refused, for
`evalplus.sanitize` makes whole solutions of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import PurePosixPath
from typing import Any

from pipeline.adapters import ReadItem, ReadTrajectory, Refused, SourceFile, register
from pipeline.adapters.lines import SUFFIXES, JsonRow
from pipeline.adapters.rows import DOCUMENTS, RowAdapter, at_most
from pipeline.adapters.sample import Place
from pipeline.adapters.tables import written
from pipeline.store import content_id

BACKENDS = "vllm|hf|openai|anthropic|google|bedrock|gptqmodel|ollama"
NAME = re.compile(rf"(?P<model>.+?)(?:_(?:{BACKENDS}))?_temp_(?P<temperature>\d+(?:\.\d+)?)")
STATUS = {"pass": "accepted", "fail": "rejected", "timeout": "time_limit_exceeded"}
SETS = {"HumanEval": "humaneval", "Mbpp": "mbpp"}


class EvalPlus(RowAdapter):
    name = "evalplus"
    suffixes = (*SUFFIXES, *DOCUMENTS)
    document_depth = 2

    def place(self, row: JsonRow) -> Place:
        first = row.value["items"][0] if "items" in row.value else row.value
        return Place(row.line, str(first["task_id"]), "evalplus")

    def items(self, row: JsonRow, file: SourceFile) -> Iterator[ReadItem]:
        if "items" not in row.value:
            yield one_sample(row, row.value, file, None)
            return
        for index, value in islice(
            enumerate(row.value["items"], start=row.value.get("first", 0)), at_most(file)
        ):
            part = JsonRow(
                row.line, partial(written, {"items": [value], "first": index}), value, len(value["solution"])
            )
            yield one_sample(part, value, file, index)


register(EvalPlus())


def one_sample(row: JsonRow, value: dict[str, Any], file: SourceFile, index: int | None) -> ReadItem:
    if "solution" not in value and "completion" in value:
        reason = "a completion without its prompt is no program; `evalplus.sanitize` makes solutions of completions"
        return Refused(row.line, row.raw, reason, "completion", row.size)
    found = NAME.match(PurePosixPath(file.name).name) or NAME.match(PurePosixPath(file.name).parent.name)
    name = PurePosixPath(file.name).name.partition(".")[0].removesuffix("_eval_results")
    model = found["model"].replace("--", "/") if found else name
    trajectory = {
        "problem_id": problem_id_of(value),
        "origin": "other_policy",
        "policy_id": model,
        "source_key": f"{value['task_id']}#{content_id(value['solution'])[:12] if index is None else index}",
        "sample_index": index,
        "temperature": float(found["temperature"]) if found else None,
        "program": value["solution"],
        "extraction": "given",
        "language": "python3",
        **claim(value),
    }
    return ReadTrajectory(row.line, row.raw, trajectory, row.size)


def problem_id_of(value: dict[str, Any]) -> str:
    """humaneval/0, or humanevalplus/0 where the extended tests ran or nothing says which did."""
    name, _, number = value["task_id"].partition("/")
    if name not in SETS or not number.isdigit():
        raise ValueError(f"task_id is {value['task_id']!r}")
    only_base = "passed" in value or ("base_status" in value and value.get("plus_status") is None)
    return f"{SETS[name]}{'' if only_base else 'plus'}/{number}"


def claim(value: dict[str, Any]) -> dict[str, Any]:
    """Accepted where all statuses are `pass`, else the first that is not."""
    if "base_status" not in value:
        return {}
    statuses = [value[key] for key in ("base_status", "plus_status") if value.get(key) is not None]
    worst = next((status for status in statuses if status != "pass"), "pass")
    return {"claimed_verdict": STATUS[worst], "claimed_basis": f"EvalPlus {', '.join(statuses)}"}
