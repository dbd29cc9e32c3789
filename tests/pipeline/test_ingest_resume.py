"""A batch that is killed at any moment goes on where it was: nothing lost, nothing doubled, and the counts
come out the same.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from pipeline.ingest import ingestion as ingestion
from pipeline.ingest.ingestion import ingest
from pipeline.store.store import Store

ROOT = Path(__file__).parents[2]
CHUNK_ROWS = 40
KEYS = {
    "problems": ["problem_id"],
    "trajectories": ["trajectory_id"],
    "quarantine": ["quarantine_id"],
    "tests": ["problem_id", "test_id"],
}


def problem(number, **keys):
    tests = [{"input": f"{number}", "expected_output": f"{place}"} for place in range(3)]
    return {"problem_id": f"mine/{number}", "statement": "Do.", "tests": tests} | keys


def program(number, text):
    who = {"origin": "human", "policy_id": "human", "language": "python3", "source_key": text}
    return {"problem_id": f"mine/{number}", "program": text} | who


def rows(count=30):
    """Problems, their programs, repeated rows and broken ones, mixed, so that every chunk touches every
    table.
    """
    made = []
    for number in range(count):
        made += [problem(number), problem(number)]
        made += [program(number, f"print({n})") for n in (1, 2, 3, 1)]
        made += [{"nothing": number}, program("unknown", f"print({number})")]
    return made


def write(path, objects):
    path.write_text("".join(json.dumps(row) + "\n" for row in objects))
    return path


class Killed(BaseException):
    """Like a kill: nothing catches it."""


class DyingStore(Store):
    """A real store that ends the run right after a given number of commits."""

    def __init__(self, location, commits):
        super().__init__(location)
        self.left = commits

    def append(self, *arguments, **options):
        done = super().append(*arguments, **options)
        self.left -= 1
        if not self.left:
            raise Killed
        return done


def contents(store):
    """What the store holds, without the times, and every key once; tests as they are to be read: of their
    problem's batch.
    """
    held = {name: store.read(name) for name in KEYS}
    held["tests"] = held["tests"].join(held["problems"], on=["problem_id", "batch_id"], how="semi")
    for name, key in KEYS.items():
        assert held[name].select(key).is_duplicated().sum() == 0, name
    untimed = {name: frame.drop("created_at", "refused_at", strict=False) for name, frame in held.items()}
    return {name: frame.sort(KEYS[name]).to_dicts() for name, frame in untimed.items()}


def counts(batch):
    return [
        getattr(batch, name)
        for name in ("batch_id", "read", "accepted", "present", "quarantined", "rows", "reasons")
    ]


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(ingestion, "CHUNK_ROWS", CHUNK_ROWS)


@pytest.fixture
def source(tmp_path):
    return write(tmp_path / "rows.jsonl", rows())


@pytest.fixture
def expected(tmp_path, source, small_chunks):
    store = Store(tmp_path / "expected")
    (batch,) = ingest(store, "plain", str(source))
    assert (batch.read, batch.accepted, batch.present, batch.quarantined) == (240, 120, 60, 60)
    return contents(store), counts(batch)


@pytest.mark.parametrize("commits", [2, 11, 24])
def test_killed_after_any_commit(tmp_path, source, expected, commits):
    with pytest.raises(Killed):
        ingest(DyingStore(tmp_path / "store", commits), "plain", str(source))
    store = Store(tmp_path / "store")
    (batch,) = ingest(store, "plain", str(source))
    assert (contents(store), counts(batch)) == expected


def test_killed_at_every_commit_in_turn(tmp_path, source, expected):
    """Each run makes one new commit and dies."""
    for _ in range(40):
        try:
            (batch,) = ingest(DyingStore(tmp_path / "store", 1), "plain", str(source))
            break
        except Killed:
            continue
    assert (contents(Store(tmp_path / "store")), counts(batch)) == expected


@pytest.mark.parametrize("commits", [1, 2, 3, 6])
def test_killed_and_then_overtaken_by_another_batch(tmp_path, source, small_chunks, commits):
    """Between the kill and the resumption another file brings the same problems, one of them with other
    content.
    """
    store = Store(tmp_path / "store")
    with pytest.raises(Killed):
        ingest(DyingStore(tmp_path / "store", commits), "plain", str(source))
    other = [problem(n) if n % 7 else problem(n, statement="Do otherwise.") for n in range(30)] + [
        problem("unknown")
    ]
    ingest(store, "plain", str(write(tmp_path / "other.jsonl", other)))
    (batch,) = ingest(store, "plain", str(source))
    held = contents(store)
    assert batch.read == batch.accepted + batch.present + batch.quarantined == 240
    own = [
        sum(row["batch_id"] == batch.batch_id for row in held[name])
        for name in ("problems", "trajectories", "quarantine")
    ]
    assert own[0] + own[1] == batch.accepted and own[2] == batch.quarantined
    assert {row["problem_id"] for row in held["problems"]} == {f"mine/{n}" for n in (*range(30), "unknown")}
    assert all(sum(t["problem_id"] == p["problem_id"] for t in held["tests"]) == 3 for p in held["problems"])


def test_killed_and_resumed_under_other_chunk_borders(tmp_path, source, expected, monkeypatch):
    with pytest.raises(Killed):
        ingest(DyingStore(tmp_path / "store", 7), "plain", str(source))
    monkeypatch.setattr(ingestion, "CHUNK_ROWS", 25)
    store = Store(tmp_path / "store")
    (batch,) = ingest(store, "plain", str(source))
    assert (contents(store), counts(batch)) == expected


PROCESS = f"""
import sys
from pipeline.ingest import ingestion as ingestion
from pipeline.store.store import Store
ingestion.CHUNK_ROWS = {CHUNK_ROWS}
print("ready", flush=True)
ingestion.ingest(Store(sys.argv[1]), "plain", sys.argv[2])
"""


def test_kill_9_of_a_real_process(tmp_path, source, expected):
    store = Store(tmp_path / "store")
    killed = 0
    for delay in (0.1, 0.3):
        process = subprocess.Popen(
            [sys.executable, "-c", PROCESS, store.location, str(source)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        with process:
            assert process.stdout.readline() == b"ready\n"
            time.sleep(delay)
            process.send_signal(signal.SIGKILL)
        killed += process.returncode == -signal.SIGKILL
    assert killed
    (batch,) = ingest(store, "plain", str(source))
    assert (contents(store), counts(batch)) == expected
    assert store.read("batches").select(pl.len()).item() == 1
