"""Labelling: judges the programs of trajectories that have no verdict yet, and appends the verdicts.

A verdict is a fact about a program and a set of tests. Byte-identical programs in the same language for the
same problem are judged once and share the result; each trajectory has its own row.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import polars as pl

from pipeline.labelling.checkers import CheckerUnavailable, problem_checker
from pipeline.labelling.open_rows import JUDGED, UNSETTLED, USABLE, Question, open_rows
from pipeline.labelling.submissions import SubmissionBuilder
from pipeline.labelling.time_limits import SETS_LIMIT
from pipeline.store import TEST_RESULT, Store, Verdicts, connect, predicate, query
from sandbox import Judgement, Pool, judge_version

# Verdicts are durable once their chunk is committed. A kill loses at most one chunk.
CHUNK_PROGRAMS = 500
CHUNK_SECONDS = 20.0
JUDGE_ATTEMPTS = 3
RESULT_FIELDS = TEST_RESULT.keys()

# Programs to judge, where they are sought among all rows. `judged_id`: a trajectory with the same program
# that has a verdict on the same tests by the same judge version.
PENDING = f"""
with {JUDGED.format(verdicts="verdicts")},
judged_programs as (
    select
        t.problem_id, t.language, md5(t.program || coalesce(t.files, '')) as program_hash, j.test_set_hash,
        min(t.trajectory_id) as judged_id
    from judged j join trajectories t using (trajectory_id)
    where j.has_verdict and (j.has_no_program or regexp_matches(t.program, '\\S')) group by all
)
select
    t.trajectory_id, t.problem_id, t.program, t.files, t.language, p.test_set_hash, e.judged_id,
    (coalesce(j.attempts, 0) + 1)::integer as attempt, {SETS_LIMIT} as sets_limit
from trajectories t
join problems p using (problem_id)
left join judged j on j.trajectory_id = t.trajectory_id and j.test_set_hash = p.test_set_hash
left join judged_programs e
    on e.problem_id = t.problem_id and e.language = t.language
    and e.program_hash = md5(t.program || coalesce(t.files, '')) and e.test_set_hash = p.test_set_hash
where {USABLE} and {UNSETTLED} and {{where}}
order by t.problem_id, t.language, t.program, t.files, t.trajectory_id
"""

UNJUDGEABLE = f"""
with {JUDGED.format(verdicts="verdicts")}
select count(*) as rows from trajectories t join problems p using (problem_id)
left join judged j on j.trajectory_id = t.trajectory_id and j.test_set_hash = p.test_set_hash
where not coalesce({USABLE}, false) and {UNSETTLED}
"""


@dataclass
class LabelSummary:
    """Counts of one labelling pass: `rows` of verdicts, and `programs` that were run (identical ones
    once).
    """

    rows: int = 0
    programs: int = 0
    tests: int = 0
    cpu_s: float = 0.0
    seconds: float = 0.0
    unjudgeable: int = 0  # unjudged trajectories of problems without tests or without a usable checker
    verdicts: Counter[str] = field(default_factory=Counter)


def label(
    store: Store,
    pool: Pool | None = None,
    *,
    workers: int | None = None,
    time_factor: float = 1.0,
    where: str = "true",
    parameters: Mapping[str, Any] | None = None,
    all_tests: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> LabelSummary:
    """Judge every trajectory that has no verdict yet. It can be stopped at any time; the next call resumes.

    Without `pool`, a pool with `workers` and `time_factor` is opened if a program has to run. `where` (SQL
    over t: trajectories, p: problems) selects a part; `parameters` has a value for each `$name` in it. With
    `all_tests` every test of a program is run, which rewards that count tests need; programs that were judged
    up to their first failure are judged again. Parts without common problems may be labelled in
    parallel, with the same result as one pass. Two passes over the same rows would both judge them, so hold
    the lock `exclusive(store, "label")` of `pipeline/store/locks.py`. Judge errors are stored, retried by
    later passes up to JUDGE_ATTEMPTS times, and never become a reward. Raises sandbox.SandboxUnavailable on
    a machine without isolation.
    """
    started = time.monotonic()
    version = pool.judge_version if pool else judge_version(time_factor)
    producer = f"label/{uuid.uuid4().hex}"
    unjudged, copied, unjudgeable = pending_rows(store, version, where, parameters, all_tests)
    summary, total = LabelSummary(unjudgeable=unjudgeable), unjudged.height + copied.height
    append(store, copied, producer)
    summary.rows += copied.height
    summary.verdicts.update(copied["verdict"])
    programs = unjudged.group_by("problem_id", "language", "program", "files", maintain_order=True).agg(
        "trajectory_id", "attempt", pl.first("test_set_hash"), pl.max("sets_limit")
    )
    # Accepted submissions that set the limit of their problem come first.
    parts = [programs.filter("sets_limit"), programs.filter(~pl.col("sets_limit"))]
    writer, done = ChunkWriter(store, producer), copied.height
    no_pool_needed = pool is not None or programs.is_empty()
    with nullcontext(pool) if no_pool_needed else Pool(workers, time_factor=time_factor) as judge_pool:
        for part in parts:
            for group, judgement in judge_groups(store, judge_pool, part, all_tests=all_tests):
                writer.add(verdict_rows(group, judgement))
                done += len(group["trajectory_id"])
                add_counts(summary, group, judgement)
                if on_progress:
                    on_progress(done, total)
            writer.flush()
    summary.seconds = time.monotonic() - started
    return summary


def pending_rows(
    store: Store, version: str, where: str, parameters: Mapping[str, Any] | None, all_tests: bool
) -> tuple[pl.DataFrame, pl.DataFrame, int]:
    """(rows, copied, unjudgeable): trajectories that this version of the judge has to run, verdicts of those
    whose program has run before, and the number of those that nobody can judge.
    """
    with_checker = problems_with_checker(store)
    values = {"judge_version": version, "attempts": JUDGE_ATTEMPTS}
    values |= {"with_checker": with_checker, "all_tests": all_tests}
    chosen = predicate(where, parameters, reserved=tuple(values))
    followed = open_rows(store, Question(values, chosen, parameters or {}))
    if followed is not None:
        copied = with_judged_at(followed.copied)
        rows = followed.pending.join(copied, on="trajectory_id", how="anti", maintain_order="left")
        return rows, copied, followed.unjudgeable
    with connect(store) as connection:
        pending = query(connection, PENDING.format(where=chosen), {**(parameters or {}), **values})
        unjudgeable = query(connection, UNJUDGEABLE, values)["rows"][0]
    copied = copy_verdicts(store, pending.filter(pl.col("judged_id").is_not_null()), version)
    return pending.filter(pl.col("judged_id").is_null()), copied, unjudgeable


def with_judged_at(rows: pl.DataFrame) -> pl.DataFrame:
    """Copied verdicts, as of now."""
    return rows.with_columns(judged_at=pl.lit(datetime.now(UTC)))


class ChunkWriter:
    """Appends verdicts in chunks, so that a kill loses little."""

    def __init__(self, store: Store, producer: str):
        self.store, self.producer = store, producer
        self.rows: list[dict] = []
        self.flushed = time.monotonic()

    def add(self, rows: list[dict]) -> None:
        self.rows += rows
        if len(self.rows) >= CHUNK_PROGRAMS or time.monotonic() - self.flushed > CHUNK_SECONDS:
            self.flush()

    def flush(self) -> None:
        append(self.store, verdict_frame(self.rows), self.producer)
        self.rows, self.flushed = [], time.monotonic()


def problems_with_checker(store: Store) -> list[str]:
    """Ids of the problems whose checker has arguments or a program, and can run here with those of every
    test.
    """
    with_arguments = (
        pl.col("checker").is_in(["custom", "default_validator"]) | pl.col("checker_arguments").is_not_null()
    )
    columns = (
        "problem_id", "checker", "input_mode", "programs", "checker_arguments",
        "validation_passes", "scoring", "case_sensitive", "float_tol",
    )  # fmt: skip
    rows = store.snapshot("problems").scan().filter(with_arguments).select(columns).collect()
    of_tests = dict(
        store.snapshot("tests")
        .scan()
        .filter(pl.col("checker_arguments").is_not_null())
        .group_by("problem_id")
        .agg(pl.col("checker_arguments").unique())
        .collect()
        .iter_rows()
    )
    problems = []
    for row in rows.iter_rows(named=True):
        with contextlib.suppress(CheckerUnavailable, ValueError):
            checker = problem_checker(row)
            for arguments in of_tests.get(row["problem_id"], ()):
                replace(checker, arguments=tuple(arguments))
            problems.append(row["problem_id"])
    return problems


def judge_groups(
    store: Store, pool: Pool | None, programs: pl.DataFrame, *, all_tests: bool = False
) -> Iterator[tuple[dict, Judgement]]:
    """Yield (group, judgement); a group is one distinct program and the trajectories that have it."""
    if pool is None or programs.is_empty():
        return
    problems = SubmissionBuilder(store, programs["problem_id"].unique().to_list())
    rows = programs.to_dicts()
    submissions = (
        replace(
            problems.submission(row, key=str(i)),
            stop_at_first_failure=not (all_tests or row["sets_limit"]),  # the limit follows from all tests
        )
        for i, row in enumerate(rows)
    )
    for judgement in pool.stream(submissions):
        yield rows[int(judgement.key)], judgement


def verdict_rows(group: dict, judgement: Judgement) -> list[dict]:
    shared = {
        "test_set_hash": group["test_set_hash"],
        "judge_version": judgement.judge_version,
        "problem_id": group["problem_id"],
        "verdict": judgement.verdict,
        "passed": judgement.passed,
        "total": judgement.total,
        "first_failure": judgement.first_failure,
        "tests": [
            {name: value for name, value in asdict(result).items() if name in RESULT_FIELDS}
            for result in judgement.tests
        ],
        "cpu_s": judgement.cpu_s,
        "memory_mb": judgement.memory_mb,
        "tier": judgement.tier,
        "toolchain": judgement.toolchain,
        "judged_at": datetime.now(UTC),
        "isolated_check": judgement.isolated_check,
        "score": judgement.score,
    }
    return [
        {"trajectory_id": trajectory, "attempt": attempt, **shared}
        for trajectory, attempt in zip(group["trajectory_id"], group["attempt"], strict=True)
    ]


def add_counts(summary: LabelSummary, group: dict, judgement: Judgement) -> None:
    summary.rows += len(group["trajectory_id"])
    summary.programs += 1
    summary.tests += len(judgement.tests)
    summary.cpu_s += judgement.cpu_s
    summary.verdicts[judgement.verdict] += len(group["trajectory_id"])


def copy_verdicts(store: Store, pending: pl.DataFrame, judge_version: str) -> pl.DataFrame:
    """Verdict rows of trajectories whose program has been judged before, copied from that verdict."""
    wanted = pending.select("trajectory_id", "attempt", "test_set_hash", "judged_id")
    verdicts = (
        store.snapshot("verdicts")
        .scan()
        .filter(pl.col("trajectory_id").is_in(wanted["judged_id"].unique().to_list()))
    )
    settled = verdicts.filter(
        (pl.col("verdict") != "judge_error") & (pl.col("judge_version") == judge_version)
    ).collect()
    judged = (
        settled.sort("attempt", descending=True)  # a later attempt may have run more tests
        .unique(["trajectory_id", "test_set_hash"], keep="first", maintain_order=True)
        .rename({"trajectory_id": "judged_id"})
        .drop("attempt")
    )
    rows = wanted.join(judged, on=["judged_id", "test_set_hash"])
    return with_judged_at(rows.select(Verdicts.column_names()))


def verdict_frame(rows: list[dict]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=Verdicts.create_empty().schema)


def append(store: Store, rows: pl.DataFrame, producer: str) -> None:
    store.append_next("verdicts", rows, producer=producer)
