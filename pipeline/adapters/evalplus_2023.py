"""Results of EvalPlus 0.1 (2023), which have statuses without programs: {"eval": {task_id: {"nfiles", "base":
[[status, details], ...], "plus": [...]}}}.

The programs are in the samples, `X.jsonl` beside `X_eval_results.json`, in the order of the statuses; or in
the folder of `eval_results.json`, as `HumanEval_0/0.py`. The order of a folder's statuses is that of the
evaluating machine's directory, so a program has a claim only if all statuses of its task are equal.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline.adapters import Refused, SourceFile, local_file
from pipeline.adapters.documents import whole_document
from pipeline.adapters.lines import BROKEN_STREAM, JsonRow, json_rows, open_stored
from pipeline.adapters.source_policy import SourceRefused, open_regular
from pipeline.adapters.source_tree import list_tree
from pipeline.adapters.tables import json_bytes
from pipeline.adapters.trees import MAX_PROGRAM_BYTES
from pipeline.store import content_id

RESULTS = "eval_results.json"
HEAD_BYTES = 4096
# The first task's results are an object; those of later versions are a list.
FORM = re.compile(rb'"eval"\s*:\s*\{\s*"[^"]+"\s*:\s*\{')
STATUS = {"success": "pass", "failed": "fail", "timed out": "timeout"}
PROGRAM = re.compile(r"(?P<set>HumanEval|Mbpp)_(?P<task>\d+)/(?P<number>\d+)\.py")
UNORDERED = "statuses of a folder of EvalPlus 2023 whose order is unknown, so without a claim"


def with_programs(retained: list[SourceFile], files: list[SourceFile]) -> list[SourceFile]:
    """The files, where results of 2023 are replaced by the files that have their programs."""
    by_name = {file.name: file for file in files}
    return [joined(file, by_name) if is_form_of_2023(file) else file for file in retained]


def is_form_of_2023(file: SourceFile) -> bool:
    if not file.path.endswith(RESULTS):
        return False
    try:
        with open_stored(file) as stored:
            return FORM.search(stored.read(HEAD_BYTES)) is not None
    except (*BROKEN_STREAM, SourceRefused):
        return False


def joined(results: SourceFile, by_name: dict[str, SourceFile]) -> SourceFile:
    """The samples of some results, with the results as companion; or the results, with programs as such."""
    samples = by_name.get(results.name.removesuffix(f"_{RESULTS}") + ".jsonl")
    if samples is not None:
        options = samples.options | {"results": results.sha256}
        return replace(samples, options=options, companions=(results.path,), skipped=results.skipped)
    programs = programs_below(results)
    options = results.options | {"programs": content_id([[name, sha] for name, _, sha in programs])}
    paths = tuple(path for _, path, _ in programs)
    return replace(results, options=options, companions=paths) if programs else results


def programs_below(results: SourceFile) -> list[tuple[str, str, str]]:
    """(name, path, hash) of the programs in the folder of some results, by task and number."""
    if not results.roots or PurePosixPath(results.path).name != RESULTS:
        return []
    folder = Path(results.path).parent
    tasks = []
    for entry in list_tree(folder, results.roots).files:
        match = PROGRAM.fullmatch(entry.name)
        if match and not entry.fault:
            order = match["set"], int(match["task"]), int(match["number"])
            tasks.append((order, entry.name, entry.path, local_file(Path(entry.path), folder).sha256))
    return [(name, path, sha) for _, name, path, sha in sorted(tasks)]


def rows_with_statuses(file: SourceFile) -> Iterator[JsonRow | Refused]:
    """Rows {"items": [sample], "first": its number}, as in later results, of samples and their statuses."""
    if file.path.endswith(RESULTS):
        yield from _rows_of_folder(file)
        return
    statuses = _statuses(SourceFile(file.companions[0], RESULTS, "", 0, roots=file.roots))
    wanted = file.select_lines() if file.select_lines else None
    numbers: Counter[str] = Counter()
    for row in json_rows(replace(file, select_lines=None)):
        file.rows_in_file += 1
        if isinstance(row, Refused):
            yield row
            continue
        task = str(row.value.get("task_id"))
        number = numbers[task]
        numbers[task] += 1
        if wanted is None or row.line in wanted:
            held = statuses.get(task, [])
            known = held[number] if number < len(held) else {}
            yield _row(row.line, row.value | known, number)


def _rows_of_folder(file: SourceFile) -> Iterator[JsonRow | Refused]:
    statuses = _statuses(replace(file, companions=()))
    for line, path in enumerate(file.companions, start=1):
        name = "/".join(PurePosixPath(path).parts[-2:])
        match = PROGRAM.fullmatch(name)
        assert match is not None
        task = f"{match['set']}/{match['task']}"
        file.rows_in_file += 1
        try:
            with open_regular(path, file.roots, name) as stored:
                text = stored.read(MAX_PROGRAM_BYTES).decode()
        except (SourceRefused, UnicodeDecodeError) as error:
            yield Refused(line, name.encode(), f"{name}: {error}")
            continue
        held = statuses.get(task, [])
        is_known = bool(held) and all(one == held[0] for one in held)
        if held and not is_known:
            file.notes[UNORDERED] += 1
        value = {"task_id": task, "solution": text} | (held[0] if is_known else {})
        yield _row(line, value, int(match["number"]))


def _row(line: int, value: dict[str, Any], number: int) -> JsonRow:
    held = {"items": [value], "first": number}
    return JsonRow(line, json_bytes(held), held, len(str(value.get("solution"))))


def _statuses(results: SourceFile) -> dict[str, list[dict[str, Any]]]:
    """base_status and plus_status of each sample, by task. Raises ValueError for other forms."""
    row = next(whole_document(results))
    if isinstance(row, Refused):
        raise ValueError(f"{results.name}: {row.reason}")
    statuses: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for task, held in row.value["eval"].items():
        plus = held.get("plus") or [None] * len(held["base"])
        for base, extended in zip(held["base"], plus, strict=True):
            statuses[task].append({"base_status": word(base), "plus_status": word(extended)})
    return statuses


def word(status: Any) -> str | None:
    """The status in the words of later versions; raises ValueError for an unknown one."""
    name = status[0] if isinstance(status, list) and status else status
    if name is not None and name not in STATUS:
        raise ValueError(f"status {name!r:.40}")
    return None if name is None else STATUS[name]
