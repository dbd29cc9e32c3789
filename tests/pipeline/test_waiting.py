"""Counts of rollouts without a verdict, followed from what was added."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from pipeline.ingest.ingestion import ingest
from pipeline.labelling import WaitingRows, label
from pipeline.store import Store
from sandbox import Pool

STARTER = Path(__file__).parents[2] / "data" / "starter"


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "store")
    ingest(store, "plain", str(STARTER), limit=3)
    return store


def rollouts(store, suffix, run="mine", policy="mine/1"):
    rows = store.read("trajectories").filter(pl.col("origin") == "human").head(5)
    rows = rows.with_columns(
        trajectory_id=pl.col("trajectory_id") + suffix,
        source_key=pl.lit(suffix),
        origin=pl.lit("online"),
        run_id=pl.lit(run),
        policy_id=pl.lit(policy),
    )
    store.append("trajectories", rows, producer=suffix, sequence=0)


def counts(rows):
    rows.update()
    return rows.waiting, dict(rows.samples)


def test_counts_follow_the_store_and_are_those_of_a_first_look(store):
    rows = WaitingRows(store, "mine")
    assert counts(rows) == (0, {})
    rollouts(store, "a")
    rollouts(store, "b", policy="mine/2")
    rollouts(store, "c", run="another")
    assert counts(rows) == counts(WaitingRows(store, "mine")) == (10, {"mine/1": 5, "mine/2": 5})
    with Pool(2) as pool:
        label(store, pool, where="t.policy_id = 'mine/1'")
    assert counts(rows) == counts(WaitingRows(store, "mine")) == (5, {"mine/1": 5, "mine/2": 5})
    store.maintain("trajectories", retention_hours=0)
    store.maintain("verdicts", retention_hours=0)
    rollouts(store, "d")
    assert counts(rows) == counts(WaitingRows(store, "mine")) == (10, {"mine/1": 10, "mine/2": 5})


def test_a_later_look_reads_only_what_was_added(store, monkeypatch):
    rows = WaitingRows(store, "mine")
    rows.update()
    rollouts(store, "a")
    monkeypatch.setattr(WaitingRows, "_start", lambda *_: pytest.fail("reads everything"))
    assert counts(rows) == (5, {"mine/1": 5})


def test_deleted_files_of_that_time_make_it_look_at_everything(store):
    rows = WaitingRows(store, "mine")
    rows.update()
    rollouts(store, "a")
    store.maintain("trajectories", retention_hours=0)
    assert counts(rows) == (5, {"mine/1": 5})
