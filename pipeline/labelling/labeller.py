"""Labelling: run the programs of trajectories that have no verdict yet, and append what the judge found.

A label is a fact about a program and a set of tests. Programs that are equal to the byte, on the same problem
and in the same language, are judged once and share the result; every trajectory still gets a row of its own.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime

import polars as pl

from pipeline.labelling.checkers import CheckerMissing, checker_of
from pipeline.store import Store, Verdicts, connect, predicate, query
from sandbox import LARGEST, Judgement, Limits, Pool, Submission, Test, judge_version

# A verdict row is durable once its chunk is committed; a kill loses at most this many judgements.
CHUNK_PROGRAMS = 500
CHUNK_SECONDS = 20.0
JUDGE_ATTEMPTS = 3
DEFAULT_TIME_LIMIT_S = 10.0
DEFAULT_MEMORY_MB = 1024.0

# Programs still to be judged: no verdict on the problem's present tests under this judge, or only judge
# errors so far. `twin`: a trajectory with the same bytes that has its verdict on the same tests under the
# same judge.
PENDING = """
with judged as (
    select trajectory_id, test_set_hash, max(attempt) as attempts, bool_or(verdict <> 'judge_error') as settled
    from verdicts where judge_version = $judge_version group by all
),
twins as (
    select t.problem_id, t.language, md5(t.program) as program_hash, j.test_set_hash, min(t.trajectory_id) as twin
    from judged j join trajectories t using (trajectory_id) where j.settled group by all
)
select t.trajectory_id, t.problem_id, t.program, t.language, p.test_set_hash, w.twin,
       (coalesce(j.attempts, 0) + 1)::integer as attempt
from trajectories t
join problems p using (problem_id)
left join judged j on j.trajectory_id = t.trajectory_id and j.test_set_hash = p.test_set_hash
left join twins w on w.problem_id = t.problem_id and w.language = t.language and w.program_hash = md5(t.program)
    and w.test_set_hash = p.test_set_hash
where (p.checker <> 'custom' or p.problem_id in (select unnest($with_program))) and p.test_count > 0
  and not coalesce(j.settled, false) and coalesce(j.attempts, 0) < $attempts
  and {where}
order by t.problem_id, t.language, t.program, t.trajectory_id
"""

WITHOUT_JUDGE = """
select count(*) as rows from trajectories t join problems p using (problem_id)
where p.checker = 'custom' and p.problem_id not in (select unnest($with_program)) or p.test_count = 0
"""


@dataclass
class LabelSummary:
    """What one labelling pass did. `rows` counts verdict rows, `programs` those that had to run: equal
    ones run once.
    """

    rows: int = 0
    programs: int = 0
    tests: int = 0
    cpu_s: float = 0.0
    seconds: float = 0.0
    unjudgeable: int = 0  # trajectories of problems without tests or with a checker that is not at hand
    verdicts: Counter[str] = field(default_factory=Counter)


def label(
    store: Store,
    pool: Pool | None = None,
    *,
    workers: int | None = None,
    time_factor: float = 1.0,
    where: str = "true",
    on_progress: Callable[[int, int], None] | None = None,
) -> LabelSummary:
    """Judge every trajectory that lacks a verdict; resumable at any moment, since what is missing decides
    what is run.

    Without a pool, one of `workers` and `time_factor` is opened if a program has to run. `where` (SQL over t:
    trajectories, p: problems) chooses a part; parts that share no problem may be labelled side by side, and
    give what one pass gives. Two passes over the same rows would both judge them: take `alone(store,
    "label")` of `pipeline/store/locks.py` around it. Raises sandbox.SandboxUnavailable on a machine that
    cannot isolate. Judge errors are stored as such, tried again on the next pass up to JUDGE_ATTEMPTS times,
    and never become a reward.
    """
    started = time.monotonic()
    version = pool.judge_version if pool else judge_version(time_factor)
    producer = f"label/{uuid.uuid4().hex}"
    with connect(store) as connection:
        with_program = problems_with_program(store)
        known = {"judge_version": version, "attempts": JUDGE_ATTEMPTS, "with_program": with_program}
        pending = query(connection, PENDING.format(where=predicate(where)), known)
        summary = LabelSummary(
            unjudgeable=query(connection, WITHOUT_JUDGE, {"with_program": with_program})["rows"][0]
        )
    shared = copy_from_twins(store, pending.filter(pl.col("twin").is_not_null()), version)
    append(store, shared, producer)
    summary.rows += shared.height
    summary.verdicts.update(shared["verdict"])
    fresh = pending.filter(pl.col("twin").is_null())
    groups = fresh.group_by("problem_id", "language", "program", maintain_order=True).agg(
        "trajectory_id", "attempt", pl.first("test_set_hash")
    )
    chunk: list[dict] = []
    done, flushed = shared.height, time.monotonic()
    with nullcontext(pool) if pool or groups.is_empty() else Pool(workers, time_factor=time_factor) as opened:
        for group, judgement in judge_groups(store, opened, groups):
            chunk += verdict_rows(group, judgement)
            done += len(group["trajectory_id"])
            count(summary, group, judgement)
            if len(chunk) >= CHUNK_PROGRAMS or time.monotonic() - flushed > CHUNK_SECONDS:
                append(store, framed(chunk), producer)
                chunk, flushed = [], time.monotonic()
            if on_progress:
                on_progress(done, pending.height)
    append(store, framed(chunk), producer)
    summary.seconds = time.monotonic() - started
    return summary


def problems_with_program(store: Store) -> list[str]:
    """Ids of the `custom` problems whose checker is a program that can be run here."""
    wanted = (pl.col("checker") == "custom") & pl.col("programs").is_not_null()
    rows = (
        store.snapshot("problems")
        .scan()
        .filter(wanted)
        .select("problem_id", "checker", "input_mode", "programs")
        .collect()
    )
    found = []
    for row in rows.iter_rows(named=True):
        with contextlib.suppress(CheckerMissing):
            checker_of(row)
            found.append(row["problem_id"])
    return found


def judge_groups(store: Store, pool: Pool | None, groups: pl.DataFrame) -> Iterator[tuple[dict, Judgement]]:
    """Stream (group, judgement); a group is one distinct program and the trajectories that share it."""
    if pool is None or groups.is_empty():
        return
    problems = Judgeables(store, groups["problem_id"].unique().to_list())
    rows = groups.to_dicts()
    submissions = (problems.submission(row, key=str(i)) for i, row in enumerate(rows))
    for judgement in pool.stream(submissions):
        yield rows[int(judgement.key)], judgement


class Judgeables:
    """Problems and tests as the judge wants them, for the problems that are about to be judged."""

    def __init__(self, store: Store, problem_ids: list[str]):
        wanted = pl.col("problem_id").is_in(problem_ids)
        problems = store.snapshot("problems").scan().filter(wanted).drop("statement").collect()
        self._problems = {row["problem_id"]: row for row in problems.to_dicts()}
        # The tests of a problem are those of its own batch: a killed batch of another file may have left
        # others.
        own = pl.LazyFrame(
            [{"problem_id": r["problem_id"], "batch_id": r["batch_id"]} for r in self._problems.values()]
        )
        scan = (
            store.snapshot("tests").scan().filter(wanted).join(own, on=["problem_id", "batch_id"], how="semi")
        )
        tests = scan.sort("problem_id", "position").collect()
        self._tests = {key[0]: frame for key, frame in tests.partition_by("problem_id", as_dict=True).items()}

    def public_tests(self, problem_id: str) -> set[str]:
        """test_ids of the tests that a contestant may see."""
        tests = self._tests[problem_id]
        return set(tests.filter(pl.col("kind") == "public")["test_id"])

    def submission(self, row: dict, key: str) -> Submission:
        problem = self._problems[row["problem_id"]]
        tests = tuple(
            Test(t["test_id"], t["mode"], t["input"], t["expected_output"])
            for t in self._tests[row["problem_id"]]
            .select("test_id", "mode", "input", "expected_output")
            .to_dicts()
        )
        return Submission(
            program=row["program"],
            language=row["language"],
            tests=tests,
            limits=Limits(
                time_s=min(problem["time_limit_s"] or DEFAULT_TIME_LIMIT_S, LARGEST["time_s"][1]),
                memory_mb=int(
                    max(1.0, min(problem["memory_limit_mb"] or DEFAULT_MEMORY_MB, LARGEST["memory_mb"][1]))
                ),
            ),
            checker=checker_of(problem),
            preamble=problem["preamble"] or "",
            entry_point=problem["entry_point"] or "",
            key=key,
        )


def verdict_rows(group: dict, judgement: Judgement) -> list[dict]:
    shared = {
        "test_set_hash": group["test_set_hash"],
        "judge_version": judgement.judge_version,
        "problem_id": group["problem_id"],
        "verdict": judgement.verdict,
        "passed": judgement.passed,
        "total": judgement.total,
        "first_failure": judgement.first_failure,
        "tests": [asdict(result) for result in judgement.tests],
        "cpu_s": judgement.cpu_s,
        "memory_mb": judgement.memory_mb,
        "tier": judgement.tier,
        "toolchain": judgement.toolchain,
        "judged_at": datetime.now(UTC),
        "isolated_check": judgement.isolated_check,
    }
    return [
        {"trajectory_id": trajectory, "attempt": attempt, **shared}
        for trajectory, attempt in zip(group["trajectory_id"], group["attempt"], strict=True)
    ]


def count(summary: LabelSummary, group: dict, judgement: Judgement) -> None:
    summary.rows += len(group["trajectory_id"])
    summary.programs += 1
    summary.tests += len(judgement.tests)
    summary.cpu_s += judgement.cpu_s
    summary.verdicts[judgement.verdict] += len(group["trajectory_id"])


def copy_from_twins(store: Store, pending: pl.DataFrame, judge_version: str) -> pl.DataFrame:
    """Verdict rows for trajectories whose program was judged before, taken from their twins."""
    wanted = pending.select("trajectory_id", "attempt", "test_set_hash", "twin")
    verdicts = (
        store.snapshot("verdicts")
        .scan()
        .filter(pl.col("trajectory_id").is_in(wanted["twin"].unique().to_list()))
    )
    settled = verdicts.filter(
        (pl.col("verdict") != "judge_error") & (pl.col("judge_version") == judge_version)
    ).collect()
    twins = (
        settled.unique(["trajectory_id", "test_set_hash"], keep="any")
        .rename({"trajectory_id": "twin"})
        .drop("attempt")
    )
    rows = wanted.join(twins, on=["twin", "test_set_hash"]).with_columns(judged_at=pl.lit(datetime.now(UTC)))
    return rows.select(Verdicts.column_names())


def framed(rows: list[dict]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=Verdicts.create_empty().schema)


def append(store: Store, rows: pl.DataFrame, producer: str) -> None:
    store.append_next("verdicts", rows, producer=producer)
