"""Labelling on a real store with the real sandbox."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from pipeline.ingest.ingestion import ingest
from pipeline.labelling.labeller import JUDGE_ATTEMPTS, label
from pipeline.store.sql import connect, query
from pipeline.store.store import Store
from sandbox import Pool, judge_version

STARTER = Path(__file__).parents[2] / "data" / "starter"


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "store")
    ingest(store, "plain", str(STARTER), limit=6)
    return store


@pytest.fixture(scope="module")
def pool():
    with Pool() as pool:
        yield pool


def again_as(store, source_key, **changes):
    """Append a copy of some trajectories under other ids."""
    rows = store.read("trajectories").with_columns(
        trajectory_id=pl.col("trajectory_id") + source_key,
        source_key=pl.col("source_key") + source_key,
        **changes,
    )
    store.append("trajectories", rows, producer=f"copy{source_key}", sequence=0)
    return rows.height


def test_every_program_gets_the_verdict_its_author_claims(store, pool):
    seen = []
    summary = label(store, pool, on_progress=lambda done, total: seen.append((done, total)))
    rows = store.read("trajectories").height
    assert summary.rows == summary.programs == rows == store.read("verdicts").height
    assert seen[-1] == (rows, rows)
    with connect(store) as connection:
        wrong = query(
            connection,
            "select trajectory_id, claimed_verdict, verdict from judged where claimed_verdict <> verdict",
        )
        kinds = query(connection, "select distinct verdict from judged")["verdict"].to_list()
    assert wrong.is_empty(), wrong
    assert {"accepted", "wrong_answer"} <= set(kinds)


def test_a_second_pass_does_nothing(store, pool):
    label(store, pool)
    versions = store.pins()
    summary = label(store, pool)
    assert (summary.rows, summary.programs) == (0, 0) and store.pins() == versions


def test_equal_programs_run_once_and_share_the_verdict(store, pool):
    label(store, pool)
    copies = again_as(store, "-copy")
    summary = label(store, pool)
    assert (summary.rows, summary.programs) == (copies, 0)
    verdicts = store.read("verdicts", ["trajectory_id", "verdict", "passed"])
    originals = verdicts.filter(~pl.col("trajectory_id").str.ends_with("-copy")).sort("trajectory_id")
    copied = verdicts.filter(pl.col("trajectory_id").str.ends_with("-copy")).sort("trajectory_id")
    assert originals["verdict"].to_list() == copied["verdict"].to_list()
    assert originals["passed"].to_list() == copied["passed"].to_list()


def test_other_programs_are_not_taken_for_known_ones(store, pool):
    label(store, pool)
    again_as(store, "-broken", program=pl.lit("raise SystemExit(3)"), language=pl.lit("python3"))
    label(store, pool)
    actual = store.read("verdicts").filter(pl.col("trajectory_id").str.ends_with("-broken"))
    assert set(actual["verdict"]) == {"runtime_error"}


def test_samples_without_a_program_count_as_failures(store, pool):
    """Whatever their language; they are in pass@k and in the trials of Q0, with the lowest reward."""
    again_as(store, "-empty", program=pl.lit(" \n"), language=pl.lit("unknown"), policy_id=pl.lit("silent"),
             temperature=pl.lit(1.0), top_p=pl.lit(1.0))  # fmt: skip
    label(store, pool)
    with connect(store) as connection:
        rows = query(
            connection, "select verdict, passed, reward_binary from judged where policy_id = 'silent'"
        )
        trials = query(
            connection, "select trials, successes from reference_counts where policy_id = 'silent'"
        )
        passed = query(connection, "select pass_at_k from pass_at_k_of_samples where policy_id = 'silent'")
    assert rows.height and set(rows.rows()) == {("no_program", 0, -1.0)}
    assert sum(trials["trials"]) == rows.height and sum(trials["successes"]) == 0
    assert set(passed["pass_at_k"]) == {0.0}


def test_empty_programs_of_an_older_judge_are_judged_again(store, pool):
    again_as(store, "-empty", program=pl.lit(""), language=pl.lit("unknown"))
    label(store, pool)
    old = Store(store.location + "-old-empty")
    for table in ("problems", "tests", "trajectories"):
        old.append(table, store.read(table), producer="copy", sequence=0)
    is_empty = pl.col("verdict") == "no_program"
    unavailable = pl.when(is_empty).then(pl.lit("language_unavailable")).otherwise(pl.col("verdict"))
    old.append(
        "verdicts", store.read("verdicts").with_columns(verdict=unavailable), producer="old", sequence=0
    )
    expected = store.read("verdicts").filter(is_empty).height
    assert expected and label(old, pool).verdicts == {"no_program": expected}
    assert label(old, pool).rows == 0


def test_a_judge_error_is_tried_again_and_then_left(store, pool):
    """Verdict rows as a failing judge leaves them; they must be judged again, and given up after the last
    attempt.
    """
    label(store, pool)
    settled = store.read("verdicts")
    fresh = Store(store.location + "-again")
    for table in ("problems", "tests", "trajectories"):
        fresh.append(table, store.read(table), producer="copy", sequence=0)
    failed = settled.with_columns(verdict=pl.lit("judge_error"))
    fresh.append("verdicts", failed, producer="failed", sequence=0)
    assert label(fresh, pool).rows == failed.height
    rows = fresh.read("verdicts").filter(pl.col("attempt") == 2)
    assert rows.height == failed.height and "judge_error" not in set(rows["verdict"])

    given_up = Store(store.location + "-given-up")
    for table in ("problems", "tests", "trajectories"):
        given_up.append(table, store.read(table), producer="copy", sequence=0)
    for attempt in range(1, JUDGE_ATTEMPTS + 1):
        rows = failed.with_columns(attempt=pl.lit(attempt, dtype=pl.Int32))
        given_up.append("verdicts", rows, producer="failed", sequence=attempt)
    assert label(given_up, pool).rows == 0
    with connect(given_up) as connection:
        assert query(connection, "select * from judged").is_empty()  # a judge error is never a reward


def test_a_changed_judge_judges_anew(store, pool):
    label(store, pool)
    old = Store(store.location + "-old")
    for table in ("problems", "tests", "trajectories"):
        old.append(table, store.read(table), producer="copy", sequence=0)
    old.append(
        "verdicts",
        store.read("verdicts").with_columns(judge_version=pl.lit("0-test")),
        producer="old",
        sequence=0,
    )
    summary = label(old, pool)
    assert summary.rows == summary.programs == store.read("trajectories").height
    assert set(old.read("verdicts")["judge_version"]) == {"0-test", judge_version()}


def test_a_factor_of_time_is_applied_and_stamped(store, pool, tmp_path):
    """A program that needs 0.3 s, on a limit of 0.1 s: too slow, and with ten times the time right."""
    program = "import time\nwhile time.process_time() < 0.3: pass\nprint(input())"
    problem = (
        store.read("problems")
        .head(1)
        .with_columns(
            time_limit_s=pl.lit(0.1),
            input_mode=pl.lit("stdin"),
            checker=pl.lit("tokens"),
            test_count=pl.lit(1, dtype=pl.Int32),
        )
    )
    only = pl.col("problem_id") == problem["problem_id"][0]
    test = (
        store.read("tests")
        .filter(only)
        .head(1)
        .with_columns(input=pl.lit("1\n"), expected_output=pl.lit("1\n"), mode=pl.lit("stdin"))
    )
    slow = (
        store.read("trajectories")
        .filter(only)
        .head(1)
        .with_columns(program=pl.lit(program), language=pl.lit("python3"))
    )
    place = Store(tmp_path / "slow")
    for table, rows in (("problems", problem), ("tests", test), ("trajectories", slow)):
        place.append(table, rows, producer="copy", sequence=0)
    assert label(place, pool).verdicts == {"time_limit_exceeded": 1}
    with Pool(1, time_factor=10) as wider:
        assert label(place, wider).verdicts == {"accepted": 1}
        assert label(place, wider).rows == 0
    assert (
        set(place.read("verdicts")["judge_version"])
        == {judge_version(), judge_version(10)}
        != {judge_version()}
    )
    with connect(place) as connection:  # what was judged last holds
        assert query(connection, "select verdict from judged")["verdict"].to_list() == ["accepted"]
    with pytest.raises(ValueError, match="positive"):
        judge_version(0)


def test_problems_without_a_judge_are_counted_not_guessed(store, pool):
    problems = store.read("problems").with_columns(checker=pl.lit("custom"))
    custom = Store(store.location + "-custom")
    custom.append("problems", problems, producer="copy", sequence=0)
    custom.append("trajectories", store.read("trajectories"), producer="copy", sequence=0)
    summary = label(custom, pool)
    assert (summary.rows, summary.unjudgeable) == (0, store.read("trajectories").height)
