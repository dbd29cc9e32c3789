"""Looks for what has no verdict yet: from what was added, with the same result as from all rows."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

import pipeline.labelling.open_rows as looks
from pipeline.ingest.ingestion import ingest
from pipeline.labelling.labeller import label, pending_rows, verdict_frame
from pipeline.store import Store, snapshot
from sandbox import Pool, judge_version

STARTER = Path(__file__).parents[2] / "data" / "starter"
VERSION = judge_version()


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "store")
    ingest(store, "plain", str(STARTER), limit=6)
    return store


@pytest.fixture(scope="module")
def pool():
    with Pool() as pool:
        yield pool


def more(store, suffix, count=None, **changes):
    """Append copies of the first trajectories under other ids."""
    rows = store.read("trajectories").filter(pl.col("source_key").str.contains("@").not_())
    rows = rows.sort("trajectory_id").head(count or rows.height)
    rows = rows.with_columns(
        trajectory_id=pl.col("trajectory_id") + suffix,
        source_key=pl.col("source_key") + f"@{suffix}",
        **changes,
    )
    store.append("trajectories", rows, producer=f"copy{suffix}", sequence=0)
    return rows


def judge_errors(store, rows, attempts):
    """Verdicts of a judge that failed."""
    hashes = store.read("problems", ["problem_id", "test_set_hash"])
    verdicts = rows.join(hashes, on="problem_id").select(
        "trajectory_id", "problem_id", "test_set_hash", judge_version=pl.lit(VERSION),
        verdict=pl.lit("judge_error"), passed=pl.lit(0), total=pl.lit(9), first_failure=pl.lit(None),
        tests=pl.lit([]), cpu_s=pl.lit(0.0), memory_mb=pl.lit(0.0), tier=pl.lit("none"), toolchain=pl.lit(""),
        judged_at=pl.col("created_at"), isolated_check=pl.lit(None), score=pl.lit(None),
    )  # fmt: skip
    for attempt in range(1, attempts + 1):
        schema = verdict_frame([]).schema
        frame = verdicts.with_columns(attempt=pl.lit(attempt)).select(schema.names()).cast(schema)
        store.append_next("verdicts", frame, producer="failing judge")


def looked(store, where="true", all_tests=False):
    """What a look finds: rows to run, and copied verdicts without their time."""
    rows, copied, unjudgeable = pending_rows(store, VERSION, where, None, all_tests)
    columns = ["trajectory_id", "attempt", "test_set_hash", "sets_limit", "program"]
    copied = copied.drop("judged_at").sort("trajectory_id", "attempt")
    return rows.select(columns).sort("trajectory_id").rows(), copied.to_dicts(), unjudgeable


def looked_at_all(store, monkeypatch, **kwargs):
    with monkeypatch.context() as patch:
        patch.setattr(Store, "index_folder", None)
        return looked(Store(store.location), **kwargs)


def changes(store):
    """One change of the store after the other, each of which opens rows."""
    yield more(store, "aa", 4)
    yield more(store, "bb", program=pl.lit("print(1)"))
    rows = more(store, "cc", 3, program=pl.lit("print(2)"))
    yield judge_errors(store, rows, 1)
    yield judge_errors(store, more(store, "dd", 3, program=pl.lit("print(3)")), 3)
    yield more(store, "ee", 2, program=pl.lit("  \n"), language=pl.lit("unknown"))
    yield ingest(store, "plain", str(STARTER), limit=8)
    yield store.maintain("trajectories", retention_hours=0)
    yield more(store, "ff", 2, problem_id=pl.lit("of/no-problem"))


@pytest.mark.parametrize("where", ["true", "t.language = 'python3'", "p.difficulty = '3'"])
@pytest.mark.parametrize("all_tests", [False, True])
def test_a_look_at_what_was_added_finds_what_a_look_at_all_finds(store, pool, monkeypatch, where, all_tests):
    label(store, pool, where="t.trajectory_id < '8'")
    looked(store, where, all_tests)
    for _ in changes(store):
        assert looked(store, where, all_tests) == looked_at_all(
            store, monkeypatch, where=where, all_tests=all_tests
        )


def test_a_look_after_a_pass_finds_nothing_and_reads_no_old_file(store, pool, monkeypatch):
    label(store, pool)
    looked(store)
    before = {file for name in ("trajectories", "verdicts") for file in store.snapshot(name).files}
    more(store, "aa", 4)
    compared = []
    monkeypatch.setattr(snapshot, "compare", lambda files: compared.extend(files))
    rows, copied, _ = looked(store)
    assert (len(rows), len(copied)) == (0, 4) and not before & set(compared)


def test_a_pass_judges_only_new_programs_and_copies_the_other_verdicts(store, pool):
    label(store, pool)
    label(store, pool)
    copies, new = more(store, "aa", 4), more(store, "bb", 5, program=pl.lit("print(17)"))
    summary = label(store, pool)
    distinct = new.n_unique(["problem_id", "language"])
    assert (summary.rows, summary.programs) == (copies.height + new.height, distinct)
    assert label(store, pool).rows == 0
    more(store, "cc", 5, program=pl.lit("print(17)"))
    assert (label(store, pool).programs, store.read("verdicts").height) == (
        0,
        store.read("trajectories").height,
    )


@pytest.mark.parametrize("pattern", ["*.blocks", "*.run", "runs.json", "rows-*.parquet"])
@pytest.mark.parametrize("damage", ["changed", "gone"])
def test_a_damaged_index_changes_no_verdict(store, pool, tmp_path, monkeypatch, pattern, damage):
    label(store, pool)
    looked(store)
    expected = more(store, "aa", 4)
    for path in (tmp_path / "store" / "_index" / "label").rglob(pattern):
        if damage == "gone":
            path.unlink()
        else:
            content = bytearray(path.read_bytes())
            content[len(content) // 2] ^= 0xFF
            path.write_bytes(content)
    monkeypatch.setattr("pipeline.store.key_runs._compared", set())  # as in a new process
    label(store, pool)
    verdicts = store.read("verdicts", ["trajectory_id", "verdict"])
    of = dict(verdicts.iter_rows())
    assert verdicts.height == store.read("trajectories").height
    assert all(of[name] == of[name.removesuffix("aa")] for name in expected["trajectory_id"])


def test_a_problem_given_twice_opens_its_rows_again(store, pool, monkeypatch):
    label(store, pool)
    looked(store)
    problems = store.read("problems").head(1).with_columns(test_set_hash=pl.lit("other tests"))
    store.append("problems", problems, producer="twice", sequence=0)
    assert looked(store) == looked_at_all(store, monkeypatch)


def test_too_many_open_rows_are_found_without_an_index(store, monkeypatch, tmp_path):
    monkeypatch.setattr(looks, "MOST_OPEN", 3)
    monkeypatch.setattr(looks, "OPEN_IDS", looks.OPEN_IDS.replace("50001", "4"))
    assert looked(store)[0] and not list((tmp_path / "store" / "_index").rglob("*.parquet"))
