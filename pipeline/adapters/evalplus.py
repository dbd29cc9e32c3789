"""EvalPlus results and samples, and results of OpenAI's human-eval (schema of EvalPlus 0.3.1,
`evalplus/evaluate.py`).

* `*_eval_results.json`: {"date", "hash", "eval": {task_id: [{task_id, solution, base_status, plus_status,
  ...}]}}, statuses pass, fail, timeout;
* results of EvalPlus 0.1 (2023), joined to their samples: `pipeline/adapters/evalplus_2023.py`;
* `*.jsonl` of samples: {task_id, solution}; `*.raw.jsonl`: answers from which `solution` is to be extracted;
* human-eval: {task_id, completion}, and `*_results.jsonl` with `result` and `passed`. The completion
continues the
  prompt, so admission joins it to the starter code of its problem.

A folder often has the same samples in several of these files. Only the one that says most is read: results
before samples before raw answers. The problems are those of `humaneval` and `mbpp` from EvalPlus' data, or of
plain HumanEval and MBPP if only the base tests ran. Model and temperature come from EvalPlus' file names
(`<model>_<backend>_temp_<t>`) or from the nearest telling folder.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import PurePosixPath
from typing import Any

from pipeline.adapters import ReadItem, ReadTrajectory, Refused, SourceFile, register
from pipeline.adapters.evalplus_2023 import rows_with_statuses, with_programs
from pipeline.adapters.lines import SUFFIXES, JsonRow
from pipeline.adapters.path_names import is_telling
from pipeline.adapters.rollouts import path_name
from pipeline.adapters.rows import DOCUMENTS, RowAdapter, solution_limit
from pipeline.adapters.sample import SampleKey
from pipeline.adapters.tables import json_bytes
from pipeline.store import content_id
from pipeline.text import extract_program

BACKENDS = "vllm|hf|openai|anthropic|google|bedrock|gptqmodel|ollama"
NAME = re.compile(rf"(?P<model>.+?)(?:_(?:{BACKENDS}))?_temp_(?P<temperature>\d+(?:\.\d+)?)")
STATUS = {"pass": "accepted", "fail": "rejected", "timeout": "time_limit_exceeded"}
SETS = {"HumanEval": "humaneval", "Mbpp": "mbpp"}


class EvalPlus(RowAdapter):
    name = "evalplus"
    suffixes = (*SUFFIXES, *DOCUMENTS)
    document_depth = 2

    def files(self, source: str, limit: int | None) -> list[SourceFile]:
        files = super().files(source, limit)
        return with_programs(richest_files(files), files)

    def _rows(self, file: SourceFile) -> Iterator[JsonRow | Refused]:
        return rows_with_statuses(file) if file.companions else super()._rows(file)

    def sample_key(self, row: JsonRow) -> SampleKey:
        first = row.value["items"][0] if "items" in row.value else row.value
        return SampleKey(row.line, str(first["task_id"]), "evalplus")

    def items(self, row: JsonRow, file: SourceFile) -> Iterator[ReadItem]:
        if "base" in row.value and "solution" not in row.value:
            raise ValueError(
                "results of EvalPlus 2023 have no programs; ingest the folder with their samples"
            )
        if "items" not in row.value:
            yield one_sample(row, row.value, file, None)
            return
        for index, value in islice(
            enumerate(row.value["items"], start=row.value.get("first", 0)), solution_limit(file)
        ):
            part = JsonRow(
                row.line,
                partial(json_bytes, {"items": [value], "first": index}),
                value,
                len(value["solution"]),
            )
            yield one_sample(part, value, file, index)


register(EvalPlus())


# Endings of files with the same samples, the one that says most first.
ENDINGS = ("_eval_results.json", ".jsonl_results.jsonl", "_results.jsonl", ".jsonl", ".raw.jsonl")


def richest_files(files: list[SourceFile]) -> list[SourceFile]:
    """The files without those whose samples another file of the same name has with results."""
    stems: dict[str, list[tuple[int, SourceFile]]] = {}
    for file in files:
        match = next(
            (
                (rank, file.name.removesuffix(ending))
                for rank, ending in sorted(enumerate(ENDINGS), key=lambda one: -len(one[1]))
                if file.name.endswith(ending)
            ),
            (0, file.name),
        )
        stems.setdefault(match[1], []).append((match[0], file))
    retained = [min(group, key=lambda one: one[0])[1] for group in stems.values()]
    if retained and len(retained) < len(files):
        retained[0].skipped = files[0].skipped
        retained[0].skipped["files with samples that another file has with results"] += len(files) - len(
            retained
        )
    return retained


def one_sample(row: JsonRow, value: dict[str, Any], file: SourceFile, index: int | None) -> ReadItem:
    match = NAME.match(PurePosixPath(file.name).name) or NAME.match(PurePosixPath(file.name).parent.name)
    continues = "solution" not in value and "completion" in value
    text = value["completion"] if continues else value["solution"]
    key = f"{value['task_id']}#{content_id(text)[:12] if index is None else index}"
    if continues:
        key = f"{value['task_id']}#{value.get('completion_id', row.line)}"
    program, rule, completion = text, "given", text if continues else None
    if file.name.endswith(".raw.jsonl"):
        program, rule, _ = extract_program(text, "python3")
        completion = text
    trajectory = {
        "problem_id": problem_id_of(value),
        "origin": "other_policy",
        "policy_id": match["model"].replace("--", "/") if match else file_or_folder(file),
        "source_key": key,
        "sample_index": index,
        "temperature": float(match["temperature"]) if match else None,
        "completion": completion,
        "program": program,
        "extraction": "continuation" if continues else rule,
        "language": "python3",
        **claim(value),
    }
    return ReadTrajectory(row.line, row.raw, trajectory, row.size, continues=continues)


def file_or_folder(file: SourceFile) -> str:
    """The model in the name of a file, or the folder's where the file's says only what is in it."""
    stem = PurePosixPath(file.name).name.partition(".")[0]
    for ending in ("_eval_results", "_results", "-sanitized"):
        stem = stem.removesuffix(ending)
    return stem if is_telling(stem) else path_name(file)


def problem_id_of(value: dict[str, Any]) -> str:
    """humaneval/0, or humanevalplus/0 if the extended tests ran or it is not known which tests ran."""
    name, _, number = value["task_id"].partition("/")
    if name not in SETS or not number.isdigit():
        raise ValueError(f"task_id is {value['task_id']!r}")
    only_base = (
        "passed" in value
        or "completion" in value
        or ("base_status" in value and value.get("plus_status") is None)
    )
    return f"{SETS[name]}{'' if only_base else 'plus'}/{number}"


def claim(value: dict[str, Any]) -> dict[str, Any]:
    """Accepted if all statuses are `pass`, else the verdict of the first that is not."""
    if "passed" in value and "base_status" not in value:
        timed_out = "timed out" in str(value.get("result"))
        verdict = "accepted" if value["passed"] else "time_limit_exceeded" if timed_out else "rejected"
        return {"claimed_verdict": verdict, "claimed_basis": f"human-eval {value.get('result')}"[:200]}
    if "base_status" not in value:
        return {}
    statuses = [value[key] for key in ("base_status", "plus_status") if value.get(key) is not None]
    worst = next((status for status in statuses if status != "pass"), "pass")
    return {"claimed_verdict": STATUS[worst], "claimed_basis": f"EvalPlus {', '.join(statuses)}"}
