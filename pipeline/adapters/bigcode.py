"""bigcode-evaluation-harness: `generations_<task>.json` (`Evaluator.save_json_files`, commit 8fc5bae).

A list with one item per problem of the task, in the order of its data set, from `--limit_start` on; an item
is the list of the problem's programs. `evaluation_results.json` in the same folder has the settings in
`config` (model, temperature, top_p, limit_start, tasks). The file has no ids, so only tasks are read whose
order gives them: `humaneval` and its variants on the same problems (HumanEval/0 to 163), and `mbpp` (its test
split, from MBPP/11 on). Results are only totals, so samples have no claim.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import PurePosixPath
from typing import Any

from pipeline.adapters import ReadItem, ReadTrajectory, Refused, SourceError, SourceFile, register
from pipeline.adapters.documents import whole_document
from pipeline.adapters.lines import JsonRow
from pipeline.adapters.rollouts import number_of, path_name
from pipeline.adapters.rows import RowAdapter, solution_limit
from pipeline.adapters.sample import SampleKey
from pipeline.adapters.tables import json_bytes

NAME = re.compile(r"generations(?:_(?P<task>.+?))?(?:_intermediate)?\.json")
SETTINGS = "evaluation_results.json"
# Source and number of the first problem of each task.
TASKS = {
    "humaneval": ("humaneval", 0),
    "humanevalplus": ("humanevalplus", 0),
    "instruct-humaneval": ("humaneval", 0),
    "mbpp": ("mbpp", 11),
}


NO_TASK = (
    "its file has no ids of problems, and its name or settings no task whose order is known"
    f" ({', '.join(TASKS)}): --map task=NAME, or --map problems=ID,ID,... in the order of the data set"
)


class BigCode(RowAdapter):
    """`mapping`: `task` of files whose name does not say it, or `problems`, their ids in order."""

    name = "bigcode"
    suffixes = (".json",)

    def __init__(self, mapping: Mapping[str, str] | None = None) -> None:
        self.mapping = dict(mapping or {})

    def mapped(self, mapping: Mapping[str, str]) -> BigCode:
        if unknown := set(mapping) - {"task", "problems"}:
            raise SourceError(f"--map {min(unknown)}: bigcode takes task=NAME or problems=ID,ID,...")
        return BigCode(mapping)

    def files(self, source: str, limit: int | None) -> list[SourceFile]:
        files = super().files(source, limit)
        generations = [file for file in files if NAME.fullmatch(base_name(file))]
        if not generations:
            raise SourceError(f"no generations_TASK.json in {source}")
        settings = {PurePosixPath(file.name).parent: file for file in files if base_name(file) == SETTINGS}
        generations[0].skipped = files[0].skipped
        results = [with_settings(file, settings.get(PurePosixPath(file.name).parent)) for file in generations]
        given = {"map": self.mapping} if self.mapping else {}
        return [replace(file, options=file.options | given) for file in results]

    def _rows(self, file: SourceFile) -> Iterator[JsonRow | Refused]:
        config = settings_of(file)
        for row in super()._rows(file):
            if isinstance(row, Refused):
                yield row
            else:
                value = row.value | {"config": config}
                yield JsonRow(row.line, partial(json_bytes, value), value, row.size)

    def sample_key(self, row: JsonRow) -> SampleKey:
        return SampleKey(row.line, str(row.line), "bigcode")

    def items(self, row: JsonRow, file: SourceFile) -> Iterator[ReadItem]:
        config = row.value.get("config") or {}
        position = int(config.get("limit_start") or 0) + row.line - 1
        problem = problem_of(file, config | self.mapping, position)
        if problem is None:
            yield Refused(row.line, row.raw, NO_TASK, None, row.size, is_own=True)
            return
        programs, begin = row.value["items"], row.value.get("first", 0)
        count = row.value.get("count", len(programs))
        for index, program in islice(enumerate(programs, start=begin), solution_limit(file)):
            part = {"items": [program], "first": index, "count": count, "config": config}
            columns = {
                "problem_id": problem,
                "origin": "other_policy",
                "policy_id": str(config.get("model") or path_name(file)),
                "source_key": f"{base_name(file)}#{row.line}#{index}",
                "sample_index": index if count > 1 else None,
                "temperature": number_of(config.get("temperature")),
                "top_p": number_of(config.get("top_p")),
                # A generation that was not made is null in files of an interrupted run.
                "program": program or "",
                "completion": program or "",
                "extraction": "given",
                "language": "python3",
            }
            yield ReadTrajectory(row.line, partial(json_bytes, part), columns, len(program or ""))


register(BigCode())


def base_name(file: SourceFile) -> str:
    return PurePosixPath(file.name).name


def with_settings(file: SourceFile, settings: SourceFile | None) -> SourceFile:
    if settings is None:
        return file
    options = file.options | {"settings": settings.sha256}
    return replace(file, options=options, companions=(settings.path,))


def settings_of(file: SourceFile) -> dict[str, Any]:
    """`config` of the settings beside a file, the parts that are used; {} without settings."""
    if not file.companions:
        return {}
    row = next(whole_document(SourceFile(file.companions[0], SETTINGS, "", 0, roots=file.roots)))
    if isinstance(row, Refused):
        raise ValueError(f"{SETTINGS}: {row.reason}")
    config = row.value.get("config") or {}
    used = ("model", "temperature", "top_p", "limit_start", "tasks")
    return {name: config[name] for name in used if config.get(name) is not None}


def problem_of(file: SourceFile, config: dict[str, Any], position: int) -> str | None:
    """The id of the problem at a position of the data set; None if nothing says which it is."""
    if "problems" in config:
        names = [name.strip() for name in config["problems"].split(",")]
        return names[position] if position < len(names) else None
    match = NAME.fullmatch(base_name(file))
    task = config.get("task") or (match["task"] if match else None) or config.get("tasks")
    if task not in TASKS:
        return None
    source, first = TASKS[task]
    return f"{source}/{first + position}"
