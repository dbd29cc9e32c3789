"""Which trajectories have no verdict yet: found from what was added since the last look, not from all rows.

In `_index/label/` of a local store is, for each judge version, up to which versions of the tables it has
looked; the rows that were still without a verdict then, whole, with their verdicts of this judge so far
(judge errors, or up to the first failure where all tests are asked for); and the judged programs
(`judged_programs.py`). A later look reads these and what was added. A row that has its verdict never loses
it: the tests of a problem do not change under one problem_id. Where that, or anything else, does not fit, all
is read and the folder is built again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from pipeline.labelling.judged_programs import JudgedPrograms
from pipeline.labelling.time_limits import SETS_LIMIT
from pipeline.store import TABLES, PrivateFolderError, Store, StoreError, connect_for, query

# More rows without a verdict than this are found by a query over all rows, and the folder is left alone.
MOST_OPEN = 50_000
# More new rows than this are not followed.
MOST_ADDED = 200_000
FOLLOWED = ("verdicts", "trajectories")

# Rows without a verdict on the present tests of their problem, or with judge errors only. Empty programs that
# an older version judged like others are judged again. With $all_tests a verdict counts only if every test
# has a result, or none is needed.
COUNTS = """
(
    verdict <> 'judge_error' and (
        not $all_tests or len(tests) >= total
        or verdict in ('accepted', 'compile_error', 'no_program', 'language_unavailable')
    )
)
"""
JUDGED = f"""
judged as (
    select
        trajectory_id, test_set_hash, max(attempt) as attempts,
        bool_or(verdict <> 'judge_error') as judged_before,
        bool_or({COUNTS}) as has_verdict,
        bool_or(verdict = 'no_program') as has_no_program
    from {{verdicts}} where judge_version = $judge_version group by all
)
"""
UNSETTLED_IF = """
(
    not coalesce(j.has_verdict, false)
    and coalesce(j.attempts, 0) < $attempts * if(coalesce(j.judged_before, false), 2, 1)
    or not coalesce(j.has_no_program, false) and {empty}
)
"""
EMPTY = "not regexp_matches(t.program, '\\S')"
UNSETTLED = UNSETTLED_IF.format(empty=EMPTY)
USABLE = """
(
    ((p.checker not in ('custom', 'default_validator') and p.checker_arguments is null)
     or p.problem_id in (select unnest($with_checker)))
    and p.test_count > 0
)
"""
# Almost all rows have their verdict. They are found by 16 bytes each, and only verdicts of the others are put
# together; programs are not carried through a join.
OPEN_IDS = f"""
with settled as (
    select md5_number(trajectory_id || '/' || test_set_hash) as verdict_of from verdicts
    where judge_version = $judge_version and {COUNTS}
),
slim as (
    select t.trajectory_id, p.test_set_hash, {EMPTY} as is_empty,
        md5_number(t.trajectory_id || '/' || p.test_set_hash) as verdict_of
    from trajectories t left join problems p using (problem_id)
),
maybe as materialized (
    select trajectory_id, test_set_hash, is_empty from slim where is_empty
    union
    select trajectory_id, test_set_hash, is_empty from slim anti join settled using (verdict_of)
),
their_verdicts as (select * from verdicts where trajectory_id in (select trajectory_id from maybe)),
{JUDGED.format(verdicts="their_verdicts")}
select t.trajectory_id from maybe t
left join judged j on j.trajectory_id = t.trajectory_id and j.test_set_hash = t.test_set_hash
where {UNSETTLED_IF.format(empty="t.is_empty")} limit {MOST_OPEN + 1}
"""
STILL_OPEN = f"""
with {JUDGED.format(verdicts="_open_verdicts")}
select t.*, p.test_set_hash as _test_set_hash, (coalesce(j.attempts, 0) + 1)::integer as _attempt,
    coalesce({SETS_LIMIT}, false) as _sets_limit, coalesce({USABLE}, false) as _usable,
    p.problem_id is not null as _has_problem, coalesce({{where}}, false) as _chosen
from _open_rows t left join problems p using (problem_id)
left join judged j on j.trajectory_id = t.trajectory_id and j.test_set_hash = p.test_set_hash
where {UNSETTLED}
order by t.problem_id, t.language, t.program, t.files, t.trajectory_id
"""


@dataclass(frozen=True)
class OpenRows:
    """What is to be judged: columns of `labeller.PENDING` without `judged_id`; the verdict rows of those
    whose program has one; and how many rows nobody can judge.
    """

    pending: pl.DataFrame
    copied: pl.DataFrame
    unjudgeable: int


@dataclass(frozen=True)
class Question:
    """Values of a look: those of the queries, and which rows are asked for."""

    values: Mapping[str, Any]  # judge_version, attempts, with_checker, all_tests
    where: str
    parameters: Mapping[str, Any]

    @property
    def state_values(self) -> dict[str, Any]:
        return {name: self.values[name] for name in ("judge_version", "attempts", "all_tests")}

    @property
    def folder_name(self) -> str:
        key = f"{self.values['judge_version']}/{self.values['all_tests']}/{self.values['attempts']}"
        return hashlib.blake2b(key.encode(), digest_size=8).hexdigest()


def open_rows(store: Store, question: Question) -> OpenRows | None:
    """The rows to judge. None where too many have no verdict, or the store has no place for an index."""
    if store.index_folder is None:
        return None
    judged = JudgedPrograms(store.index_folder / "label" / question.folder_name, question.values)
    try:
        with judged.runs.locked():
            return Look(store, question, judged).take()
    except (OSError, PrivateFolderError):  # another user's store, or a full disk
        return None


class Look:
    """One look at a store; holds the lock of its folder."""

    def __init__(self, store: Store, question: Question, judged: JudgedPrograms):
        self.store, self.question, self.judged = store, question, judged
        self.folder: Path = judged.runs.folder
        # A verdict comes after its trajectory. So a trajectory that is added after this version of the
        # trajectories has no verdict in this version of the verdicts.
        self.now = {name: store.statistics(name) for name in (*FOLLOWED, "problems")}
        self.rows = self.verdicts = pl.DataFrame()

    @property
    def versions(self) -> dict[str, int]:
        return {name: at.version for name, at in self.now.items()}

    def take(self) -> OpenRows | None:
        if not self._follow() and not self._start():
            return None
        sql = STILL_OPEN.format(where=self.question.where)
        with connect_for(self.store, sql, pins=self.versions) as connection:
            connection.register("_open_rows", self.rows.to_arrow())
            connection.register("_open_verdicts", self.verdicts.to_arrow())
            values = {**self.question.parameters, **self.question.values}
            still = query(connection, sql, values)
        own = [name for name in still.columns if name.startswith("_")]
        self._save(still.drop(own))
        wanted = ("trajectory_id", "problem_id", "program", "files", "language")
        pending = still.filter(pl.col("_usable") & pl.col("_chosen")).select(
            *wanted,
            pl.col("_test_set_hash").alias("test_set_hash"),
            pl.col("_attempt").alias("attempt"),
            pl.col("_sets_limit").alias("sets_limit"),
        )
        unjudgeable = int((still["_has_problem"] & ~still["_usable"]).sum())
        return OpenRows(pending, self.judged.copies(pending), unjudgeable)

    def _follow(self) -> bool:
        """Load what the last look left, and what was added since. False where that does not fit."""
        note = self.judged.runs.note
        try:
            before = {name: tuple(note[name]) for name in (*FOLLOWED, "problems")}
            rows, verdicts = (
                pl.read_parquet(self.folder / f"{note[name]}.parquet") for name in ("rows", "open")
            )
            added = {name: self._added(name, *before[name]) for name in FOLLOWED}
        except (KeyError, TypeError, ValueError, OSError, StoreError, pl.exceptions.PolarsError):
            return False
        new_rows, new_verdicts = added["trajectories"], added["verdicts"]
        if new_rows is None or new_verdicts is None or not self.judged.is_whole:
            return False
        if not self._same_problems(before["problems"]):
            return False
        try:
            self.rows = pl.concat([rows, new_rows])
            of_open = new_verdicts.join(self.rows, on="trajectory_id", how="semi")
            self.verdicts = pl.concat([verdicts, of_open])
        except pl.exceptions.PolarsError:  # written by a version with other columns
            return False
        self.judged.add(self.rows, of_open)
        return True

    def _added(self, name: str, version: int, rows: int) -> pl.DataFrame | None:
        """Rows of a table that were added after a version; None where there are too many, or not all."""
        now = self.now[name]
        if not (version <= now.version and 0 <= now.rows - rows <= MOST_ADDED):
            return None
        if version == now.version:
            return TABLES[name].empty if rows == now.rows else None
        added = self.store.added(name, version, now.version).read()
        return added if added.height == now.rows - rows else None

    def _same_problems(self, before: tuple[int, int]) -> bool:
        """Whether problems were only added, none given twice: then no settled row is open again."""
        now = self.now["problems"]
        if before == (now.version, now.rows):
            return True
        ids = self.store.snapshot("problems", now.version).read(["problem_id"])["problem_id"]
        return now.rows >= before[1] and ids.n_unique() == len(ids)

    def _start(self) -> bool:
        """Find the open rows among all rows. False where they are too many."""
        if not self.now["problems"].rows or not self.now["trajectories"].rows:
            return False
        with connect_for(self.store, OPEN_IDS, pins=self.versions) as connection:
            ids = query(connection, OPEN_IDS, self.question.state_values)
        if ids.height > MOST_OPEN:
            return False
        mine = pl.col("trajectory_id").is_in(ids["trajectory_id"].implode())
        scans = {name: self.store.snapshot(name, self.now[name].version).scan() for name in FOLLOWED}
        self.rows = scans["trajectories"].filter(mine).collect()
        self.verdicts = scans["verdicts"].filter(mine).collect()
        self.judged.build(scans["trajectories"], scans["verdicts"])
        return True

    def _save(self, rows: pl.DataFrame) -> None:
        """Note the rows that are still open, their verdicts, and the versions."""
        verdicts = self.verdicts.join(rows, on="trajectory_id", how="semi")
        version = "-".join(str(self.now[name].version) for name in FOLLOWED)
        names = {"rows": f"rows-{version}", "open": f"verdicts-{version}"}
        for frame, name in ((rows, names["rows"]), (verdicts, names["open"])):
            partial = self.folder / f"{name}.partial"
            frame.write_parquet(partial, compression="zstd")
            partial.replace(self.folder / f"{name}.parquet")
        versions = {name: [at.version, at.rows] for name, at in self.now.items()}
        self.judged.runs.note |= versions | names
        self.judged.save()
        for path in self.folder.glob("*.parquet"):
            if path.stem not in names.values():
                path.unlink(missing_ok=True)
