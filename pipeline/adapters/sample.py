"""The bounded sample: selects the rows of a source to read if only `limit` problems are wanted.

The sample depends only on hashes of ids, so it is the same on every machine and at any time:
* problems: up to `limit`, round robin over the sources, within a source in the order of the hash of the id;
* trajectories of selected problems: at most `PER_PROBLEM_AND_POLICY` per policy and `PER_PROBLEM` in total,
  in the order of the hash of the sample id. Other rows are not read, so they are neither accepted nor
  refused. Lines that cannot be parsed are always read, and refused.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache, partial
from heapq import nsmallest
from itertools import islice, zip_longest

from pipeline.adapters import Refused, SourceFile
from pipeline.adapters.lines import JsonRow, json_rows
from pipeline.adapters.source_policy import is_machine_error
from pipeline.store import content_id, digest

PER_PROBLEM_AND_POLICY = 5
PER_PROBLEM = 20


@dataclass(slots=True, frozen=True)
class SampleKey:
    """The line of a row, and the ids that decide its selection. `policy` None: the row is a problem."""

    line: int
    problem_id: str
    source: str = ""
    policy: str | None = None
    sample_id: str = ""


SampleKeyFunction = Callable[[JsonRow], SampleKey | None]
RowReader = Callable[[SourceFile], Iterator[JsonRow | Refused]]


def bounded_sample(
    files: list[SourceFile], limit: int, sample_key: SampleKeyFunction, rows: RowReader = json_rows
) -> list[SourceFile]:
    """The files, each with its lines of one sample over all of them.

    A row whose `sample_key` is None is always read.
    """
    selections = cache(lambda: select_lines(files, limit, sample_key, rows))
    # The sample depends on all files of the source, so the options of each file have a hash of all.
    options = {"limit": limit, "among": content_id([file.sha256 for file in files])}
    return [
        replace(file, options=options, select_lines=partial(_lines_of_file, selections, number))
        for number, file in enumerate(files)
    ]


def _lines_of_file(selections: Callable[[], list[frozenset[int]]], number: int) -> frozenset[int]:
    return selections()[number]


def select_lines(
    files: list[SourceFile], limit: int, sample_key: SampleKeyFunction, rows: RowReader = json_rows
) -> list[frozenset[int]]:
    """The lines to read, per file."""
    keys_by_file: list[list[SampleKey]] = []
    lines: list[set[int]] = []
    for file in files:
        keyed_lines = _read_keys(file, sample_key, rows)
        keys_by_file.append([key for _, key in keyed_lines if key is not None])
        lines.append({line for line, key in keyed_lines if key is None})
    all_keys = [key for keys in keys_by_file for key in keys]
    problems = [key for key in all_keys if key.policy is None] or all_keys
    selected = select_problems(((key.source, key.problem_id) for key in problems), limit)
    for keys, selected_lines in zip(keys_by_file, lines, strict=True):
        selected_lines.update(key.line for key in keys if key.policy is None and key.problem_id in selected)
        selected_lines.update(select_trajectories((key for key in keys if key.policy is not None), selected))
    return [frozenset(selected_lines) for selected_lines in lines]


def _read_keys(
    file: SourceFile, sample_key: SampleKeyFunction, rows: RowReader
) -> list[tuple[int, SampleKey | None]]:
    """(line, sample key) of each row. If the adapter fails in this file, the rows before the failure count;
    reading the file later reports the failure.
    """
    keyed_lines: list[tuple[int, SampleKey | None]] = []
    try:
        for row in rows(file):
            keyed_lines.append((row.line, None if isinstance(row, Refused) else sample_key(row)))
    except Exception as error:
        if is_machine_error(error):
            raise
    return keyed_lines


def select_problems(problems: Iterable[tuple[str, str]], limit: int) -> set[str]:
    """At most `limit` ids of the (source, problem_id) pairs, spread evenly over the sources."""
    by_source: dict[str, set[str]] = defaultdict(set)
    for source, problem_id in problems:
        by_source[source].add(problem_id)
    ordered = [nsmallest(limit, ids, key=digest) for _, ids in sorted(by_source.items())]
    round_robin = (
        problem_id
        for ids_of_turn in zip_longest(*ordered)
        for problem_id in ids_of_turn
        if problem_id is not None
    )
    return set(islice(round_robin, limit))


def select_trajectories(keys: Iterable[SampleKey], selected: set[str]) -> set[int]:
    """Lines of the trajectories of selected problems, capped per policy and per problem."""
    candidates: dict[str, list[tuple[bytes, SampleKey]]] = defaultdict(list)
    for key in keys:
        if key.problem_id in selected:
            candidates[key.problem_id].append((digest(key.policy, key.sample_id), key))
    lines: set[int] = set()
    for keys_by_file in candidates.values():
        lines.update(_capped(keys_by_file))
    return lines


def _capped(keys_by_file: list[tuple[bytes, SampleKey]]) -> list[int]:
    keys_by_file.sort(key=lambda pair: (pair[0], pair[1].line))
    rank: Counter[str | None] = Counter()
    ranked = []
    for order, key in keys_by_file:
        rank[key.policy] += 1
        if rank[key.policy] <= PER_PROBLEM_AND_POLICY:
            ranked.append((rank[key.policy], order, key.line))
    # The first sample of every policy comes before the second of any policy, so that the cap keeps as many
    # policies as possible.
    return [line for _, _, line in sorted(ranked)[:PER_PROBLEM]]
