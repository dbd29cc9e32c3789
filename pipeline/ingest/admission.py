"""Admission: which of the rows read are accepted, which are in the store already, and which go to the
quarantine.

Every item is exactly one of the three, so read = accepted + present + quarantined. The state of a batch is
what the store holds of it; a batch that was killed is read again from its beginning and comes to the same
decisions:
* a row this batch has put into the quarantine stays there, a row it has accepted stays accepted;
* everything else is decided against the rows of other batches, which are never deleted.

A problem's tests are committed before the problem. They are those of its own batch: read tests by
(problem_id, batch_id), and what a killed batch left behind is never seen.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from pipeline.adapters import ReadItem, ReadProblem, ReadTrajectory, Refused, SourceFile
from pipeline.ingest.conformity import ITEM, Fault, conform
from pipeline.ingest.idset import ID_TYPE, IdSet
from pipeline.ingest.statements import Statements
from pipeline.store import TABLES, Store, content_id, digest, test_set_hash, trajectory_id

UNKNOWN_PROBLEM = "the problem is neither in the store nor earlier in this source"
UNKNOWN_STATEMENT = (
    "the row names no problem of the store, and no statement of the store stands in its prompt"
)
PROBLEM_REFUSED = "the problem that it was written for was refused"
OTHER_CONTENT = "this id is taken by a problem with other content"
LINEAGE = ("batch_id", "source_file", "source_line")
PROBLEM_CONTENT = [name for name in TABLES["problems"].schema.column_names() if name not in LINEAGE]


@dataclass
class Counts:
    """What became of the rows read so far; `rows` counts what was accepted by table."""

    accepted: int = 0
    present: int = 0
    quarantined: int = 0
    rows: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)

    @property
    def read(self) -> int:
        return self.accepted + self.present + self.quarantined


@dataclass(frozen=True)
class Chunk:
    """What the store must hold because of one chunk of a file, in the order of commitment; without what it
    holds already.
    """

    quarantine: pl.DataFrame
    tests: pl.DataFrame
    problems: pl.DataFrame
    trajectories: pl.DataFrame
    # Why items were refused, by their number in the chunk; those of `quarantine`, which leaves out what lies
    # there already.
    faults: dict[int, Fault]
    newly_refused: list[int]

    def tables(self) -> Iterator[tuple[str, pl.DataFrame]]:
        for name in ("quarantine", "tests", "problems", "trajectories"):
            yield name, getattr(self, name)


class Admission:
    """Decides over the items of one batch, chunk by chunk, in the order of the file."""

    def __init__(
        self,
        store: Store,
        batch_id: str,
        adapter: str,
        file: SourceFile,
        refused_lines: Iterable[int] = (),
    ):
        """`refused_lines`: lines of the file that an earlier batch refused."""
        self.batch_id, self.adapter, self.file = batch_id, adapter, file
        self.counts = Counts()
        own = pl.col("batch_id") == batch_id
        self._stored_problems = store.snapshot("problems")
        keys = self._stored_problems.read(["problem_id", "batch_id"])
        self._own_problems = set(keys.filter(own)["problem_id"])
        self._other_problems = set(keys.filter(~own)["problem_id"])
        tested = store.snapshot("tests").scan().filter(own).select(pl.col("problem_id").unique())
        self._own_tested = set(tested.collect()["problem_id"])
        # What trajectories may refer to, and the content of the problems of this file.
        self._known = self._own_problems | self._other_problems
        self._seen_problems: dict[str, bytes] = {}
        ids = store.snapshot("trajectories").scan()
        self._own_ids = IdSet(ids.filter(own).select("trajectory_id").collect()["trajectory_id"])
        self._other_ids = IdSet(ids.filter(~own).select("trajectory_id").collect()["trajectory_id"])
        self._seen_ids = IdSet()
        refused = (
            store.snapshot("quarantine")
            .scan()
            .filter(own)
            .select("quarantine_id", "field", "reason")
            .collect()
        )
        self._own_refused: dict[str, Fault] = {
            name: (column, reason) for name, column, reason in refused.iter_rows()
        }
        self._line, self._place = -1, 0
        # Lines of this file whose problem did not get in: a problem of that name in the store is another one.
        self._refused_lines = set(refused_lines)

    def decide(self, items: list[ReadItem]) -> Chunk:
        """Decide over the next items of the file, and count them."""
        self._name_problems(items)
        faults, frames = conform(items)
        rows = {number: item.row for number, item in enumerate(items) if not isinstance(item, Refused)}
        stored = self._stored_content(frames["problems"]["problem_id"])
        refused: dict[int, Fault] = {}
        accepted: dict[int, dict[str, Any]] = {}
        quarantine: dict[int, dict[str, Any]] = {}
        candidates: list[int] = []
        for number, item in enumerate(items):
            self._place = self._place + 1 if item.line == self._line else 0
            self._line = item.line
            fault = faults.get(number)
            if self._own_refused and (held := self._own_refused.get(self._quarantine_id())):
                self._count_refused(held)
                refused[number] = held
                self._refused_lines.add(item.line)
                continue
            if fault is None and isinstance(item, ReadProblem):
                fault = self._decide_problem(number, item, stored, accepted)
            elif fault is None and isinstance(item, ReadTrajectory):
                if item.problem_line in self._refused_lines:
                    fault = (None, PROBLEM_REFUSED)
                elif item.row["problem_id"] in self._known:
                    candidates.append(number)
                else:
                    fault = ("problem_id", UNKNOWN_STATEMENT if item.asked is not None else UNKNOWN_PROBLEM)
            if fault is not None:
                refused[number] = fault
                self._refused_lines.add(item.line)
                quarantine[number] = self._refusal(item, fault)
        ids = self._decide_trajectories({n: trajectory_id(rows[n]) for n in candidates})
        return Chunk(
            self._quarantine_frame(list(quarantine.values())),
            self._tests_frame(frames["tests"], {number: rows[number]["problem_id"] for number in accepted}),
            self._problems_frame(frames["problems"], items, accepted),
            self._trajectories_frame(frames["trajectories"], items, ids),
            refused,
            list(quarantine),
        )

    def _name_problems(self, items: list[ReadItem]) -> None:
        """Give rows that name no problem of the store the one whose statement stands in their prompt."""
        for item in items:
            if (
                isinstance(item, ReadTrajectory)
                and item.asked is not None
                and item.row.get("problem_id") not in self._known
            ):
                found = self._statements.find(item.asked)
                item.row["problem_id"] = found or item.row.get("problem_id") or "unknown"

    @cached_property
    def _statements(self) -> Statements:
        return Statements(self._stored_problems.read(["problem_id", "statement"]).iter_rows())

    def _decide_problem(
        self, number: int, item: ReadProblem, stored: dict[str, bytes], accepted: dict[int, Any]
    ) -> Fault | None:
        """Accept a problem or find it present; a fault where its id belongs to another content."""
        problem_id = item.row["problem_id"]
        added = {"test_set_hash": test_set_hash(item.row, item.tests), "test_count": len(item.tests)}
        content = problem_content({**item.row, **added})
        before = self._seen_problems.get(problem_id)
        is_new = before is None and (
            problem_id in self._own_problems or problem_id not in self._other_problems
        )
        if is_new:
            self._seen_problems[problem_id] = content
            self._known.add(problem_id)
            accepted[number] = added
            self.counts.accepted += 1
            self.counts.rows["problems"] += 1
            self.counts.rows["tests"] += len(item.tests)
            return None
        if (before or stored[problem_id]) != content:
            return "problem_id", OTHER_CONTENT
        self._seen_problems[problem_id] = content
        self.counts.present += 1
        return None

    def _decide_trajectories(self, candidates: dict[int, str]) -> dict[int, str]:
        """Those to append, of {item number: trajectory_id}; counts all of them."""
        ids = np.frombuffer(bytes.fromhex("".join(candidates.values())), dtype=ID_TYPE)
        repeated = self._seen_ids.contains(ids)
        own = self._own_ids.contains(ids)
        present = repeated | (self._other_ids.contains(ids) & ~own)
        here: set[str] = set()
        append: dict[int, str] = {}
        for (number, name), is_present, is_own in zip(
            candidates.items(), present.tolist(), own.tolist(), strict=True
        ):
            if is_present or name in here:
                self.counts.present += 1
                continue
            here.add(name)
            self.counts.accepted += 1
            self.counts.rows["trajectories"] += 1
            if not is_own:
                append[number] = name
        self._seen_ids.add(np.frombuffer(bytes.fromhex("".join(here)), dtype=ID_TYPE))
        return append

    def _stored_content(self, problem_ids: pl.Series) -> dict[str, bytes]:
        """Content of the problems of other batches among these."""
        wanted = [problem_id for problem_id in problem_ids if problem_id in self._other_problems]
        if not wanted:
            return {}
        theirs = (pl.col("batch_id") != self.batch_id) & pl.col("problem_id").is_in(wanted)
        rows = self._stored_problems.scan().filter(theirs).collect()
        return {row["problem_id"]: problem_content(row) for row in rows.iter_rows(named=True)}

    def _quarantine_id(self) -> str:
        """Hash of the batch, the line, and the place in the line: several items may come from one line."""
        return content_id(self.batch_id, self._line, self._place)

    def _count_refused(self, fault: Fault) -> None:
        self.counts.quarantined += 1
        self.counts.reasons[kind_of(fault)] += 1

    def _refusal(self, item: ReadItem, fault: Fault) -> dict[str, Any]:
        column, reason = fault
        self._count_refused(fault)
        return {
            "quarantine_id": self._quarantine_id(),
            "source_line": item.line,
            "field": column,
            "reason": reason,
            "raw": item.raw if isinstance(item.raw, bytes) else item.raw(),
        }

    def _lineage(self, rows: pl.DataFrame, items: list[ReadItem]) -> pl.DataFrame:
        lines = [items[number].line for number in rows[ITEM]]
        return rows.with_columns(
            pl.lit(self.batch_id).alias("batch_id"),
            pl.lit(self.file.name).alias("source_file"),
            pl.Series("source_line", lines, dtype=pl.Int64),
        ).drop(ITEM)

    def _quarantine_frame(self, refused: list[dict[str, Any]]) -> pl.DataFrame:
        columns = ("quarantine_id", "source_line", "field", "reason", "raw")
        types = TABLES["quarantine"].schema.create_empty().schema
        rows = pl.DataFrame(
            {name: pl.Series(name, [row[name] for row in refused], dtype=types[name]) for name in columns}
        )
        return rows.with_columns(
            pl.lit(self.batch_id).alias("batch_id"),
            pl.lit(self.adapter).alias("adapter"),
            pl.lit(self.file.name).alias("source_file"),
            pl.lit(datetime.now(UTC)).alias("refused_at"),
        )

    def _problems_frame(
        self, rows: pl.DataFrame, items: list[ReadItem], accepted: dict[int, Any]
    ) -> pl.DataFrame:
        rows = rows.filter(
            pl.col(ITEM).is_in(list(accepted)) & ~pl.col("problem_id").is_in(list(self._own_problems))
        )
        added = [accepted[number] for number in rows[ITEM]]
        rows = rows.with_columns(
            pl.Series("test_set_hash", [one["test_set_hash"] for one in added], dtype=pl.String),
            pl.Series("test_count", [one["test_count"] for one in added], dtype=pl.Int32),
        )
        return self._lineage(rows, items)

    def _tests_frame(self, rows: pl.DataFrame, problem_ids: dict[int, str]) -> pl.DataFrame:
        names = {number: name for number, name in problem_ids.items() if name not in self._own_tested}
        return (
            rows.filter(pl.col(ITEM).is_in(list(names)))
            .with_columns(
                pl.col(ITEM).replace_strict(names, return_dtype=pl.String).alias("problem_id"),
                pl.int_range(pl.len(), dtype=pl.Int32).over(ITEM).alias("position"),
                pl.lit(self.batch_id).alias("batch_id"),
            )
            .drop(ITEM)
        )

    def _trajectories_frame(
        self, rows: pl.DataFrame, items: list[ReadItem], ids: dict[int, str]
    ) -> pl.DataFrame:
        rows = rows.filter(pl.col(ITEM).is_in(list(ids))).with_columns(
            pl.col(ITEM).replace_strict(ids, return_dtype=pl.String).alias("trajectory_id"),
            pl.lit(datetime.now(UTC)).alias("created_at"),
        )
        return self._lineage(rows, items)


def problem_content(row: dict[str, Any]) -> bytes:
    """Digest of what a problem says, without where it was found."""
    return digest(*[row.get(column) for column in PROBLEM_CONTENT])


def kind_of(fault: Fault) -> str:
    """A fault without the value and the position it names, so that like faults can be counted together."""
    column, reason = fault
    kind = reason.partition(", found ")[0].partition(": ")[0]
    return f"{re.sub(r'[0-9]+', '', column)}: {kind}" if column else kind
