"""Writers, maintenance and pins that meet at the worst moment, in processes of their own; and replies
that are lost. `append` is true exactly if the rows are in by its doing.
"""

import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from deltalake import DeltaTable

from pipeline.store import Store, StoreError, checkpoints, maintenance, pins, places
from pipeline.store.places import Disk, hold

HERE = Path(__file__).parent
sys.path.append(str(HERE))

from store_worker import batch  # noqa: E402

A_YEAR_S = 365 * 24 * 3600


@pytest.fixture
def store(tmp_path):
    """Three commits of four rows."""
    return filled(Store(tmp_path / "store"))


def filled(store):
    for sequence in range(3):
        assert store.append("trajectories", batch("p", sequence, 4), producer="p", sequence=sequence)
    return store


def ids(store):
    return sorted(Store(store.location, store.storage_options).read("trajectories")["trajectory_id"])


def rows_of(producer, sequences, rows):
    return sorted(f"{producer}/{sequence}/{row}" for sequence in sequences for row in range(rows))


def start(script, *arguments):
    command = [sys.executable, str(HERE / script), *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def start_held(work, point, store):
    options = [json.dumps(store.storage_options)] if store.storage_options else []
    process = start("held_process.py", work, point, store.location, *options)
    assert process.stdout.readline() == "held\n"
    return process


def released(process):
    out, _ = process.communicate("\n", timeout=120)
    assert process.returncode == 0
    return out.strip()


def parquet_files(store):
    return {path for path in Path(store.location, "trajectories").rglob("part-*") if path.is_file()}


@pytest.mark.parametrize("point", ["commit", "flush", "link"])
def test_a_writer_whose_files_maintenance_deletes_writes_them_again(store, point):
    before = parquet_files(store)
    writer = start_held("append", point, store)
    (written,) = parquet_files(store) - before
    store.maintain("trajectories", retention_hours=0)
    assert not written.exists(), "else nothing is tested here"
    assert released(writer) == "True"
    assert ids(store) == sorted(rows_of("p", range(3), 4) + rows_of("held", [0], 20))


def test_a_clock_that_jumps_takes_no_row_either(store):
    """By its clock maintenance takes the writer's file for a year old, whatever its retention."""
    before = parquet_files(store)
    writer = start_held("append", "link", store)
    (written,) = parquet_files(store) - before
    long_ago = time.time() - A_YEAR_S
    os.utime(written, (long_ago, long_ago))
    store.maintain("trajectories")
    assert not written.exists(), "else nothing is tested here"
    assert released(writer) == "True"
    assert ids(store) == sorted(rows_of("p", range(3), 4) + rows_of("held", [0], 20))


def test_compaction_beside_another_maintenance_loses_nothing(store):
    compactor = start_held("compact", "link", store)
    store.append("trajectories", batch("p", 3, 4), producer="p", sequence=3)
    store.maintain("trajectories", retention_hours=0)
    released(compactor)
    store.maintain("trajectories", retention_hours=0)
    assert ids(store) == rows_of("p", range(4), 4)
    assert parquet_files(store) == {Path(file) for file in store.snapshot("trajectories").files}


def test_maintenance_beside_a_writer_on_object_storage(object_storage):
    store = filled(Store("s3://bucket/races", object_storage))
    writer = start_held("append", "commit", store)
    deleted = store.maintain("trajectories", retention_hours=0).deleted
    assert deleted == 3, "two that were compacted, and the writer's"
    assert released(writer) == "True"
    assert ids(store) == sorted(rows_of("p", range(3), 4) + rows_of("held", [0], 20))


def test_a_pin_that_comes_in_while_maintenance_looks_for_files_holds(store, monkeypatch):
    other, look, looks = Store(store.location), maintenance.without_use, []

    def looked(handle, *arguments):
        actual = look(handle, *arguments)
        if not looks:
            other.pin("paper", {"trajectories": 3})
        looks.append(set(actual))
        return actual

    monkeypatch.setattr(maintenance, "without_use", looked)
    assert store.maintain("trajectories", retention_hours=0).deleted == 0
    assert len(looks) == 2 and len(looks[0]) == 2
    assert store.snapshot("trajectories", 3).read().height == 12


def test_a_pin_of_the_present_that_maintenance_overtakes_is_made_again(store, monkeypatch):
    other, write = Store(store.location), pins.write_pin

    def overtaken(writer, label, versions, *, held):
        if not looks:
            looks.append(versions["trajectories"])
            other.maintain("trajectories", retention_hours=0)
        write(writer, label, versions, held=held)

    looks: list[int] = []
    monkeypatch.setattr(pins, "write_pin", overtaken)
    version = store.pin("paper")["trajectories"]
    assert looks == [3] and version > 3
    assert store.pinned()["paper"]["trajectories"] == version
    assert store.snapshot("trajectories", version).read().height == 12


def test_a_version_whose_files_are_deleted_cannot_be_pinned(store):
    store.maintain("trajectories", retention_hours=0)
    with pytest.raises(StoreError, match=r"cannot pin paper: .*part-.* is gone"):
        store.pin("paper", {"trajectories": 3})
    assert store.pinned() == {}


@pytest.mark.parametrize("error", [FileExistsError(errno.EEXIST, "exists"), OSError(errno.EIO, "lost")])
def test_a_commit_whose_reply_is_lost_is_acknowledged_once(store, monkeypatch, error):
    link = os.link

    def lossy(source, target, **named):
        link(source, target, **named)
        raise error

    monkeypatch.setattr(os, "link", lossy)
    assert store.append("trajectories", batch("p", 3, 4), producer="p", sequence=3) is True
    assert store.append("trajectories", batch("p", 3, 4), producer="p", sequence=3) is False
    assert ids(store) == rows_of("p", range(4), 4)


def test_a_commit_that_fails_is_not_acknowledged(store, monkeypatch):
    def failing(source, target, **named):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", failing)
        with pytest.raises(StoreError, match="Input/output error"):
            store.append("trajectories", batch("p", 3, 4), producer="p", sequence=3)
    assert ids(store) == rows_of("p", range(3), 4)
    assert store.append("trajectories", batch("p", 3, 4), producer="p", sequence=3) is True
    assert ids(store) == rows_of("p", range(4), 4)


@pytest.mark.parametrize("winner", ["this one", "a twin"])
def test_a_reply_that_is_lost_on_object_storage(object_storage, monkeypatch, winner):
    store = filled(Store(f"s3://bucket/{winner.replace(' ', '-')}", object_storage))
    twin = Store(store.location, object_storage)
    commit = DeltaTable.create_write_transaction

    def lossy(*arguments, **named):
        monkeypatch.setattr(DeltaTable, "create_write_transaction", commit)
        if winner == "this one":
            commit(*arguments, **named)
        else:
            assert twin.append("trajectories", batch("p", 3, 4), producer="p", sequence=3)
        # What came in afterwards hides nothing.
        twin.append("trajectories", batch("q", 0, 4), producer="q", sequence=0)
        raise OSError("connection reset")

    monkeypatch.setattr(DeltaTable, "create_write_transaction", lossy)
    added = store.append("trajectories", batch("p", 3, 4), producer="p", sequence=3)
    assert added is (winner == "this one")
    assert ids(store) == sorted(rows_of("p", range(4), 4) + rows_of("q", [0], 4))


def test_two_processes_under_one_producer_lose_nothing(store):
    writers = [start("store_worker.py", "next", store.location, "same", who, "12", "4") for who in "ab"]
    said = [line.split() for writer in writers for line in writer.communicate(timeout=280)[0].splitlines()]
    assert all(writer.returncode == 0 for writer in writers)
    committed = [
        f"{who}/{number}/{row}" for who, number, result in said if result == "added" for row in range(4)
    ]
    assert len(said) == 24 and len(committed) >= 48
    assert {result for _, _, result in said} <= {"added", "refused"}
    assert ids(store) == sorted(committed + rows_of("p", range(3), 4))


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_sweep_between_a_partial_file_and_its_lock_takes_nothing_from_the_writer(
    tmp_path, monkeypatch, kind
):
    """The sweep meets a file that its writer has made and not locked yet; the writer makes another."""
    disk, swept = Disk(tmp_path), []

    def sweep_first(descriptor, path):
        if len(swept) < 2:
            swept.append(disk.sweep(0))
        return hold(descriptor, path)

    monkeypatch.setattr(places, "hold", sweep_first)
    monkeypatch.setattr(checkpoints, "hold", sweep_first)
    if kind == "file":
        name, _, _ = disk.put("", lambda sink: sink.write(b"rows"))
        assert (tmp_path / name).read_bytes() == b"rows"
    else:
        disk.own.mkdir()
        with checkpoints.working_folder(disk.own) as folder:
            assert disk.sweep(0) == 0 and folder.is_dir()
    assert swept == [1, 1] and not list(disk.own.iterdir())
