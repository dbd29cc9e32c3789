"""Locks of one machine, between real processes."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from pipeline.store.locks import alone, lock_path, one_of

HOLD = """
import sys
from pipeline.store.locks import alone, one_of
with {lock}:
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def hold():
    """Start a process that takes a lock and keeps it until it is killed."""
    started = []

    def start(lock: str) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD.format(lock=lock)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_one_process_at_a_time_and_a_killed_one_lets_go(tmp_path, hold):
    lock = f"alone({str(tmp_path)!r}, 'label')"
    holder = hold(lock)
    assert holder.stdout.readline() == "held\n"
    waiter = hold(lock)
    assert f"label: waits for process {holder.pid}" in waiter.stderr.readline()
    with alone(str(tmp_path), "deduplicate"):
        pass  # another work on the same store does not wait
    holder.send_signal(signal.SIGKILL)
    assert waiter.stdout.readline() == "held\n"


def test_of_two_places_the_third_waits_until_either_is_free(tmp_path, hold, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    lock = "one_of(2, 'processors')"
    first, second = hold(lock), hold(lock)
    assert first.stdout.readline() == second.stdout.readline() == "held\n"
    third = hold(lock)
    said = third.stderr.readline()
    assert "processors: waits for" in said and str(first.pid) in said and str(second.pid) in said
    second.send_signal(signal.SIGKILL)
    assert third.stdout.readline() == "held\n"


def test_a_place_is_free_again_when_its_work_ends(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for _ in range(2):
        with one_of(1, "processors"):
            pass
    with one_of(2, "processors"), one_of(2, "processors"):
        pass


def test_locks_of_a_store_on_object_storage_lie_outside_it():
    one, two = lock_path("s3://bucket/a", "label"), lock_path("s3://bucket/b", "label")
    assert one != two and one == lock_path("s3://bucket/a/", "label") and "://" not in str(one)
