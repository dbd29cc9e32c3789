"""The bounded sample: which rows of a source are read when only `limit` problems are wanted.

Deterministic, and the same wherever and whenever it is drawn, because it hangs on hashes of ids alone:
* problems are taken source by source in turn, within a source in the order of the hash of their id, up to
  `limit`;
* trajectories are taken where their problem was, at most `PER_PROBLEM_AND_POLICY` for each policy and
  `PER_PROBLEM` in all, in the order of the hash of their key. A row that was not chosen is not read, hence
  neither accepted nor refused. Lines that cannot be parsed are always read, and refused.
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
from pipeline.adapters.source_policy import is_about_this_machine
from pipeline.store import content_id, digest

PER_PROBLEM_AND_POLICY = 5
PER_PROBLEM = 20


@dataclass(slots=True, frozen=True)
class Place:
    """Where a row is, and what decides whether it is taken. `policy` None: the row is a problem of `source`."""

    line: int
    problem_id: str
    source: str = ""
    policy: str | None = None
    key: str = ""


PlaceOf = Callable[[JsonRow], Place | None]
RowsOf = Callable[[SourceFile], Iterator[JsonRow | Refused]]


def bounded(
    files: list[SourceFile], limit: int, place_of: PlaceOf, rows: RowsOf = json_rows
) -> list[SourceFile]:
    """The same files, each with the draw of its lines from one sample over all of them; `place_of` None:
    read it anyway.
    """
    drawn = cache(lambda: draw(files, limit, place_of, rows))
    # The sample hangs on all files of the source, so all of them name it.
    options = {"limit": limit, "among": content_id([file.sha256 for file in files])}
    return [
        replace(file, options=options, draw=partial(_lines_of, drawn, number))
        for number, file in enumerate(files)
    ]


def _lines_of(drawn: Callable[[], list[frozenset[int]]], number: int) -> frozenset[int]:
    return drawn()[number]


def draw(
    files: list[SourceFile], limit: int, place_of: PlaceOf, rows: RowsOf = json_rows
) -> list[frozenset[int]]:
    """The lines to read of each file."""
    found: list[list[Place]] = []
    lines: list[set[int]] = []
    for file in files:
        placed = _placed(file, place_of, rows)
        found.append([place for _, place in placed if place is not None])
        lines.append({line for line, place in placed if place is None})
    everything = [place for places in found for place in places]
    problems = [place for place in everything if place.policy is None] or everything
    taken = take_problems(((place.source, place.problem_id) for place in problems), limit)
    for places, chosen in zip(found, lines, strict=True):
        chosen.update(place.line for place in places if place.policy is None and place.problem_id in taken)
        chosen.update(take_trajectories((place for place in places if place.policy is not None), taken))
    return [frozenset(chosen) for chosen in lines]


def _placed(file: SourceFile, place_of: PlaceOf, rows: RowsOf) -> list[tuple[int, Place | None]]:
    """The lines of a file and their places. Where an adapter fails at a file, what was read of it counts:
    reading it says why.
    """
    placed: list[tuple[int, Place | None]] = []
    try:
        for row in rows(file):
            placed.append((row.line, None if isinstance(row, Refused) else place_of(row)))
    except Exception as error:
        if is_about_this_machine(error):
            raise
    return placed


def take_problems(problems: Iterable[tuple[str, str]], limit: int) -> set[str]:
    """At most `limit` ids out of (source, problem_id), spread evenly over the sources."""
    by_source: dict[str, set[str]] = defaultdict(set)
    for source, problem_id in problems:
        by_source[source].add(problem_id)
    ordered = [nsmallest(limit, ids, key=digest) for _, ids in sorted(by_source.items())]
    in_turn = (problem_id for turn in zip_longest(*ordered) for problem_id in turn if problem_id is not None)
    return set(islice(in_turn, limit))


def take_trajectories(places: Iterable[Place], taken: set[str]) -> set[int]:
    """Lines of the trajectories to read: of problems that were taken, capped for each policy and each
    problem.
    """
    candidates: dict[str, list[tuple[bytes, Place]]] = defaultdict(list)
    for place in places:
        if place.problem_id in taken:
            candidates[place.problem_id].append((digest(place.policy, place.key), place))
    lines: set[int] = set()
    for found in candidates.values():
        lines.update(_capped(found))
    return lines


def _capped(found: list[tuple[bytes, Place]]) -> list[int]:
    found.sort(key=lambda pair: (pair[0], pair[1].line))
    rank: Counter[str | None] = Counter()
    ranked = []
    for order, place in found:
        rank[place.policy] += 1
        if rank[place.policy] <= PER_PROBLEM_AND_POLICY:
            ranked.append((rank[place.policy], order, place.line))
    # Every policy's first sample goes before any policy's second, so that a cap drops no policy before it
    # must.
    return [line for _, _, line in sorted(ranked)[:PER_PROBLEM]]
