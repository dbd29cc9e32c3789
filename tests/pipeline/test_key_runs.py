"""Sorted runs of records, and the ids of stored trajectories that are kept in them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import pipeline.store.key_runs as key_runs
from pipeline.ingest.ingestion import ingest
from pipeline.ingest.stored_ids import stored_ids
from pipeline.store import IdSet, KeyRuns, Store, binary_ids

STARTER = Path(__file__).parents[2] / "data" / "starter"
FIELDS = np.dtype([("key", "S16"), ("number", "u4")])


def records(numbers):
    rows = np.empty(len(numbers), dtype=FIELDS)
    rows["key"] = [key(number) for number in numbers]
    rows["number"] = numbers
    return rows


def key(number):
    return f"{number * 2654435761 % 2**32:016x}".encode()


@pytest.fixture
def runs(tmp_path):
    runs = KeyRuns(tmp_path / "runs", FIELDS, "test 1")
    with runs.locked():
        for begin in range(0, 3000, 100):
            runs.add(records(range(begin, begin + 100)))
        runs.note = {"version": 7}
        runs.save()
    return runs


def test_each_key_that_is_there_is_found_with_its_record(runs):
    indices, found = runs.find(np.array([key(n) for n in (5, 2999, 3000, 1234)], dtype="S16"))
    assert sorted(zip(indices.tolist(), found["number"].tolist(), strict=True)) == [
        (0, 5),
        (1, 2999),
        (3, 1234),
    ]


def test_runs_are_few_and_what_they_replace_is_deleted(runs, tmp_path):
    assert len(list((tmp_path / "runs").glob("*.run"))) <= 6 and len(runs) == 3000


def test_another_process_finds_what_was_saved(runs, tmp_path):
    again = KeyRuns(tmp_path / "runs", FIELDS, "test 1")
    with again.locked():
        assert (len(again), again.note) == (3000, {"version": 7})


def test_records_of_another_form_are_dropped(runs, tmp_path):
    again = KeyRuns(tmp_path / "runs", FIELDS, "test 2")
    with again.locked():
        assert (len(again), again.note) == (0, {})


def test_a_run_is_not_merged_beyond_the_largest_size(tmp_path, monkeypatch):
    monkeypatch.setattr(key_runs, "LARGEST_RUN", 150)
    runs = KeyRuns(tmp_path / "runs", FIELDS, "test 1")
    with runs.locked():
        for begin in range(0, 1000, 100):
            runs.add(records(range(begin, begin + 100)))
        assert {len(run) for _, run in runs._runs} == {100}
        assert runs.contains(records(range(1000))["key"]).all()


def test_a_damaged_run_is_not_used(runs, tmp_path, monkeypatch):
    monkeypatch.setattr(key_runs, "_compared", set())  # as in a new process
    run = max((tmp_path / "runs").glob("*.run"), key=lambda path: path.stat().st_size)
    content = bytearray(run.read_bytes())
    content[40] ^= 1
    run.write_bytes(content)
    again = KeyRuns(tmp_path / "runs", FIELDS, "test 1")
    with again.locked():
        assert (len(again), again.note) == (0, {})


@pytest.mark.parametrize("name", ["../../secret", "/etc/passwd", "x.run"])
def test_a_state_cannot_name_a_file_elsewhere(runs, tmp_path, name):
    path = tmp_path / "runs" / "runs.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"runs": [name]}))
    again = KeyRuns(tmp_path / "runs", FIELDS, "test 1")
    with again.locked():
        assert len(again) == 0


def rows_of(store, suffix):
    """Other trajectories of the same programs."""
    rows = store.read("trajectories").filter(~pl.col("trajectory_id").str.starts_with("ff"))
    return rows.with_columns(
        trajectory_id=pl.col("trajectory_id").str.replace("^....", suffix),
        source_key=pl.col("source_key") + suffix,
    )


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "store")
    ingest(store, "plain", str(STARTER), limit=3)
    return store


def in_store(store):
    return set(store.read("trajectories")["trajectory_id"])


def asked(store, ids):
    return stored_ids(store).contains(binary_ids(pl.Series(sorted(ids)))).tolist()


def test_stored_ids_are_those_of_the_table_after_each_append(store):
    for number in range(3):
        rows = rows_of(store, f"ffa{number}")
        new = set(rows["trajectory_id"])
        assert not any(asked(store, new - in_store(store)))
        store.append("trajectories", rows, producer="more", sequence=number)
        assert all(asked(store, in_store(store)))
        assert len(stored_ids(store)) == store.read("trajectories").height


def test_only_the_files_that_were_added_are_read(store, monkeypatch):
    stored_ids(store)
    rows = rows_of(store, "ffaa")
    store.append("trajectories", rows, producer="more", sequence=0)
    monkeypatch.setattr(Store, "snapshot", lambda *_: pytest.fail("reads the whole table"))
    assert all(asked(store, set(rows["trajectory_id"])))


def test_stored_ids_hold_through_compaction_and_deletion_of_old_files(store):
    stored_ids(store)
    store.append("trajectories", rows_of(store, "ffaa"), producer="more", sequence=0)
    store.maintain("trajectories", retention_hours=0)
    assert all(asked(store, in_store(store)))
    assert len(stored_ids(store)) == store.read("trajectories").height


def test_a_folder_that_cannot_be_written_is_no_obstacle(store, tmp_path):
    (tmp_path / "store" / "_index").write_text("no folder")
    assert isinstance(stored_ids(store), IdSet) and all(asked(store, in_store(store)))
