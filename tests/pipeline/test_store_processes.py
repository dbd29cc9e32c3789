"""Several processes on one store: writers, twins, a compactor, a reader, and kill -9 at any moment."""

import importlib.util
from collections import Counter
from pathlib import Path

import pytest

from pipeline.store.store import Store


def neighbour(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


kills = neighbour("store_kills")


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def added_by(writer):
    return [int(sequence) for sequence, new in map(str.split, kills.finish(writer)) if new == "1"]


def ids_in(store):
    return sorted(store.read("trajectories", ["trajectory_id"])["trajectory_id"])


def expected(producers, commits):
    return sorted(f"{name}/{s}/{i}" for name in producers for s in range(commits) for i in range(kills.ROWS))


def test_writers_in_several_processes_beside_a_compactor(store):
    writers = [kills.start("write", store.location, f"writer-{i}", 8, kills.ROWS) for i in range(2)]
    while any(writer.poll() is None for writer in writers):
        store.maintain("trajectories")
    assert [added_by(writer) for writer in writers] == [list(range(8))] * 2
    assert ids_in(store) == expected(["writer-0", "writer-1"], 8)


def test_twins_with_the_same_keys_add_each_commit_once(store):
    twins = [kills.start("write", store.location, "twin", 20, kills.ROWS) for _ in range(2)]
    added = Counter(sequence for twin in twins for sequence in added_by(twin))
    assert added == Counter(range(20))
    assert ids_in(store) == expected(["twin"], 20)


def check(store, count, seed):
    outcome = kills.run(store, count, seed=seed)
    assert outcome.kills >= count and outcome.commits > 0
    assert (outcome.lost, outcome.doubled, outcome.half, outcome.tail_differs) == (0, 0, 0, 0)


def test_kill_9_loses_doubles_and_shows_nothing_half(store, tmp_path):
    check(store, 3, seed=1)
    # What killed writers left on the disk goes with the first maintenance that may touch files so young.
    store.maintain("trajectories", retention_hours=0)
    on_disk = {
        str(path)
        for path in (tmp_path / "store/trajectories").rglob("*.parquet")
        if "_delta_log" not in path.parts
    }
    assert on_disk == set(store.snapshot("trajectories").files)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_many_kills(store):
    check(store, 300, seed=2)
