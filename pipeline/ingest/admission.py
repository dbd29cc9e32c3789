"""Admission: decides for each item read whether it is accepted, already present, or quarantined.

Each item has exactly one of these outcomes, so read = accepted + present + quarantined. The state of a batch
is the rows that the store has from it. A killed batch is read again from its beginning and makes the same
decisions:
* a row that this batch has quarantined stays in quarantine, a row that it has accepted stays accepted;
* all other rows are compared with the rows of other batches, which are never deleted.

The tests of a problem are committed before the problem, with the same batch_id. Read tests by (problem_id,
batch_id): then the leftovers of a killed batch are never seen.
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
from pipeline.ingest.statement_index import StatementIndex
from pipeline.ingest.stored_ids import stored_ids
from pipeline.ingest.validation import COLUMNS, ITEM, Fault, validate
from pipeline.store import ID_TYPE, TABLES, IdSet, Store, content_id, digest, test_set_hash, trajectory_id
from pipeline.text import extract_program

UNKNOWN_PROBLEM = "the problem is neither in the store nor earlier in this source"
UNKNOWN_STATEMENT = "the row names no problem of the store, and its prompt contains no statement of the store"
NO_STATEMENT = "these are tests of a problem that is not in the store: ingest that first"
PROBLEM_REFUSED = "the problem that it solves was refused"
OTHER_CONTENT = "another problem with different content has this id"
LINEAGE = ("batch_id", "source_file", "source_line")
# Columns that tests without a problem take from the stored one.
JOINED = [name for name in COLUMNS["problems"] if name not in ("problem_id", "source", "tests_quality")]
# Facts about a problem that do not make it another one: a later version of a source may add them.
ADDED_FACTS = ("contest_date",)
PROBLEM_CONTENT = [
    name for name in TABLES["problems"].schema.column_names() if name not in (*LINEAGE, *ADDED_FACTS)
]


@dataclass
class Counts:
    """Outcomes of the rows read so far; `rows` counts the accepted rows per table."""

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
    """Rows to append for one chunk of a file, in the order of the commits. Rows that the store has are left
    out.
    """

    quarantine: pl.DataFrame
    tests: pl.DataFrame
    problems: pl.DataFrame
    trajectories: pl.DataFrame
    # Reasons of all refused items, by item number in the chunk; item numbers of the rows of `quarantine`,
    # which has only new entries.
    faults: dict[int, Fault]
    newly_refused: list[int]

    def tables(self) -> Iterator[tuple[str, pl.DataFrame]]:
        for name in ("quarantine", "tests", "problems", "trajectories"):
            yield name, getattr(self, name)


class Admission:
    """Decides the items of one batch, chunk by chunk, in file order."""

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
        self._own_tested = set(self._own_rows(store, "tests", ["problem_id"])["problem_id"])
        # Problems that trajectories may refer to, and content digests of the problems of this file.
        self._known_problems = self._own_problems | self._other_problems
        self._problems_of_file: dict[str, bytes] = {}
        own_ids = self._own_rows(store, "trajectories", ["trajectory_id"])
        self._own_ids = IdSet(own_ids["trajectory_id"])
        self._stored_ids = stored_ids(store)
        self._ids_of_file = IdSet()
        refused = self._own_rows(store, "quarantine", ["quarantine_id", "field", "reason"])
        self._own_refused: dict[str, Fault] = {
            name: (column, reason) for name, column, reason in refused.iter_rows()
        }
        self._line, self._item_index = -1, 0
        # Lines of this file whose problem was refused: a problem in the store with the same id is a different
        # one.
        self._refused_lines = set(refused_lines)

    def _own_rows(self, store: Store, table: str, columns: list[str]) -> pl.DataFrame:
        """Rows of this batch that a killed run has left. A batch that has committed nothing is not looked
        for.
        """
        producers = (producer(self.batch_id), late_producer(self.batch_id))
        if all(store.last_sequence(table, name) < 0 for name in producers):
            return TABLES[table].empty.select(columns)
        own = pl.col("batch_id") == self.batch_id
        return store.snapshot(table).scan().filter(own).select(columns).collect()

    def decide(self, items: list[ReadItem]) -> Chunk:
        """Decide the next items of the file, and count them."""
        self._name_problems(items)
        self._join_statements([item for item in items if isinstance(item, ReadProblem) and item.statement_of])
        faults, frames = validate(items)
        rows = {number: item.row for number, item in enumerate(items) if not isinstance(item, Refused)}
        stored = self._stored_content(frames["problems"]["problem_id"])
        refused: dict[int, Fault] = {}
        accepted: dict[int, dict[str, Any]] = {}
        quarantine: dict[int, dict[str, Any]] = {}
        candidates: list[int] = []
        for number, item in enumerate(items):
            self._item_index = self._item_index + 1 if item.line == self._line else 0
            self._line = item.line
            fault = faults.get(number)
            if self._own_refused and (earlier_fault := self._own_refused.get(self._quarantine_id())):
                self._count_refused(earlier_fault)
                refused[number] = earlier_fault
                self._refused_lines.add(item.line)
                continue
            if isinstance(item, ReadProblem) and item.statement_of and "statement" not in item.row:
                fault = ("problem_id", f"{NO_STATEMENT}, found {' or '.join(item.statement_of)}")
            if fault is None and isinstance(item, ReadProblem):
                fault = self._decide_problem(number, item, stored, accepted)
            elif fault is None and isinstance(item, ReadTrajectory):
                if item.problem_line in self._refused_lines:
                    fault = (None, PROBLEM_REFUSED)
                elif item.row["problem_id"] in self._known_problems:
                    candidates.append(number)
                else:
                    fault = (
                        "problem_id",
                        UNKNOWN_STATEMENT if item.prompt_text is not None else UNKNOWN_PROBLEM,
                    )
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
        """Set the problem of rows that name none in the store: by their other ids, then by the statement in
        their prompt. Joins continuations to the starter code of their problem.
        """
        trajectories = [item for item in items if isinstance(item, ReadTrajectory)]
        for item in trajectories:
            if item.other_ids:
                names = (item.row.get("problem_id"), *item.other_ids)
                known = next((name for name in names if name in self._known_problems), None)
                item.row["problem_id"] = known or item.row.get("problem_id") or item.other_ids[0]
            if item.prompt_text is not None and item.row.get("problem_id") not in self._known_problems:
                problem_id = self._statements.find(item.prompt_text)
                item.row["problem_id"] = problem_id or item.row.get("problem_id") or "unknown"

        continued = [item for item in trajectories if item.continues]
        stubs = self._starter_codes({str(item.row["problem_id"]) for item in continued}) if continued else {}
        for item in continued:
            stub, text = stubs.get(item.row["problem_id"]), item.row["completion"] or ""
            if stub is not None and text.strip():
                extraction = extract_program(text, item.row["language"], stub)
                item.row["program"], item.row["extraction"] = extraction[:2]

    def _join_statements(self, items: list[ReadProblem]) -> None:
        """Give problems that are tests only the other columns of their stored problem."""
        names = {name for item in items for name in item.statement_of} & self._known_problems
        if not names:
            return
        rows = self._stored_problems.scan().filter(pl.col("problem_id").is_in(list(names))).collect()
        stored = {row["problem_id"]: row for row in rows.iter_rows(named=True)}
        for item in items:
            held = next((stored[name] for name in item.statement_of if name in stored), None)
            if held is not None:
                item.row = {name: held[name] for name in JOINED if name in held} | item.row

    def _starter_codes(self, problem_ids: set[str]) -> dict[str, str]:
        """What a program of each problem begins with: its starter code, else its statement."""
        wanted = pl.col("problem_id").is_in(list(problem_ids))
        columns = ("problem_id", pl.coalesce("starter_code", "statement"))
        return dict(self._stored_problems.scan().filter(wanted).select(columns).collect().iter_rows())

    @cached_property
    def _statements(self) -> StatementIndex:
        return StatementIndex(self._stored_problems.read(["problem_id", "statement"]).iter_rows())

    def _decide_problem(
        self, number: int, item: ReadProblem, stored: dict[str, bytes], accepted: dict[int, Any]
    ) -> Fault | None:
        """Accept a problem or find it present; a fault if its id belongs to different content."""
        problem_id = item.row["problem_id"]
        added = {"test_set_hash": test_set_hash(item.row, item.tests), "test_count": len(item.tests)}
        content = content_digest({**item.row, **added})
        before = self._problems_of_file.get(problem_id)
        is_new = before is None and (
            problem_id in self._own_problems or problem_id not in self._other_problems
        )
        if is_new:
            self._problems_of_file[problem_id] = content
            self._known_problems.add(problem_id)
            accepted[number] = added
            self.counts.accepted += 1
            self.counts.rows["problems"] += 1
            self.counts.rows["tests"] += len(item.tests)
            return None
        if (before or stored[problem_id]) != content:
            return "problem_id", OTHER_CONTENT
        self._problems_of_file[problem_id] = content
        self.counts.present += 1
        return None

    def _decide_trajectories(self, candidates: dict[int, str]) -> dict[int, str]:
        """The candidates to append, as {item number: trajectory_id}; counts all candidates."""
        ids = np.frombuffer(bytes.fromhex("".join(candidates.values())), dtype=ID_TYPE)
        repeated = self._ids_of_file.contains(ids)
        own = self._own_ids.contains(ids)
        present = repeated | (self._stored_ids.contains(ids) & ~own)
        accepted_ids: set[str] = set()
        append: dict[int, str] = {}
        for (number, name), is_present, is_own in zip(
            candidates.items(), present.tolist(), own.tolist(), strict=True
        ):
            if is_present or name in accepted_ids:
                self.counts.present += 1
                continue
            accepted_ids.add(name)
            self.counts.accepted += 1
            self.counts.rows["trajectories"] += 1
            if not is_own:
                append[number] = name
        self._ids_of_file.add(np.frombuffer(bytes.fromhex("".join(accepted_ids)), dtype=ID_TYPE))
        return append

    def _stored_content(self, problem_ids: pl.Series) -> dict[str, bytes]:
        """Content digests of those problems that other batches have stored."""
        wanted = [problem_id for problem_id in problem_ids if problem_id in self._other_problems]
        if not wanted:
            return {}
        theirs = (pl.col("batch_id") != self.batch_id) & pl.col("problem_id").is_in(wanted)
        rows = self._stored_problems.scan().filter(theirs).collect()
        return {row["problem_id"]: content_digest(row) for row in rows.iter_rows(named=True)}

    def _quarantine_id(self) -> str:
        """Hash of batch, line and position in the line: one line may give several items."""
        return content_id(self.batch_id, self._line, self._item_index)

    def _count_refused(self, fault: Fault) -> None:
        self.counts.quarantined += 1
        self.counts.reasons[fault_kind(fault)] += 1

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
        lines = [items[number].line for number in rows[ITEM].to_list()]
        return rows.with_columns(
            pl.lit(self.batch_id).alias("batch_id"),
            pl.lit(self.file.name).alias("source_file"),
            pl.Series("source_line", lines, dtype=pl.Int64),
        ).drop(ITEM)

    def _quarantine_frame(self, refused: list[dict[str, Any]]) -> pl.DataFrame:
        columns = ("quarantine_id", "source_line", "field", "reason", "raw")
        types = TABLES["quarantine"].empty.schema
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
        rows = rows.filter(pl.col(ITEM).is_in(list(ids)))
        rows = rows.with_columns(
            pl.Series("trajectory_id", [ids[number] for number in rows[ITEM].to_list()], dtype=pl.String),
            pl.lit(datetime.now(UTC)).alias("created_at"),
        )
        return self._lineage(rows, items)


def producer(batch_id: str) -> str:
    """Under which the chunks of a batch are committed."""
    return f"ingest/{batch_id}"


def late_producer(batch_id: str) -> str:
    """Under which rows are committed that an earlier run of the batch decided differently about."""
    return f"{producer(batch_id)}/late"


def content_digest(row: dict[str, Any]) -> bytes:
    """Digest of the columns of a problem, without its lineage."""
    return digest(*[row.get(column) for column in PROBLEM_CONTENT])


def fault_kind(fault: Fault) -> str:
    """A fault without its value and position, so that similar faults are counted together."""
    column, reason = fault
    kind = reason.partition(", found ")[0].partition(": ")[0]
    return f"{re.sub(r'[0-9]+', '', column)}: {kind}" if column else kind
