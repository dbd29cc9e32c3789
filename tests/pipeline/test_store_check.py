"""Checking a store and repairing it: every damage is found and named, what is whole somewhere comes back,
and what does not is listed row by row.
"""

import importlib.util
import os
import random
import shutil
from pathlib import Path

import deltalake
import polars as pl
import pytest

from pipeline.store import TABLES, Store, StoreError, check_store, repair_store

ROWS_IN_ALL = 32


def neighbour(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


bit_flips = neighbour("bit_flips")


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return bit_flips.make_store(tmp_path_factory.mktemp("check") / "store")


@pytest.fixture
def store(original, tmp_path):
    """8 commits of 4 rows in two partitions; compacted after the fourth and the seventh."""
    return Store(shutil.copytree(original.location, tmp_path / "store"))


@pytest.fixture
def log(store):
    return Path(store.location, "trajectories/_delta_log")


def newest_entry(log):
    return max(log.glob("0*.json"))


def faults(store):
    return [(finding.table, finding.kind, finding.where) for finding in check_store(store).findings]


def rows_in(store):
    return Store(store.location).read("trajectories")["trajectory_id"].n_unique()


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 16
    path.write_bytes(content)


def file_with(store, trajectory_id):
    """The live file that has one row."""
    for file in Store(store.location).snapshot("trajectories").files:
        if trajectory_id in pl.read_parquet(file, glob=False)["trajectory_id"]:
            return Path(file)
    raise AssertionError(trajectory_id)


def test_a_whole_store_has_no_fault(store, small_store):
    for one, rows, entries in ((store, 33, 13), (small_store, 80, 20)):
        report = check_store(one)
        assert report.findings == []
        assert (report.rows, report.entries, report.without_hash) == (rows, entries, 0)
        assert report.references_checked


def test_every_changed_bit_is_found():
    outcome = bit_flips.attempt(32, seed=1)
    assert outcome["details"] == []
    assert (outcome["tried"], outcome["undetected"]) == (32, 0)
    assert set(outcome["by_kind"]) == {"entry", "copy", "checkpoint", "data"}


def test_a_check_that_sees_nothing_leaves_every_bit_undetected(monkeypatch):
    whole = check_store

    def blind(store):
        report = whole(store)
        report.findings.clear()
        return report

    monkeypatch.setattr(bit_flips, "check_store", blind)
    assert bit_flips.attempt(3)["undetected"] == 3


def test_a_file_exchanged_for_another_of_the_table_is_found(store):
    first, second = file_with(store, "p/7/0"), file_with(store, "p/7/1")
    shutil.copy(first, second)
    assert faults(store) == [("trajectories", "file", str(second))]


def test_two_files_that_changed_their_names_are_found(store):
    first, second = file_with(store, "p/0/0"), file_with(store, "p/7/0")
    aside = first.with_suffix(".aside")
    os.rename(first, aside)
    os.rename(second, first)
    os.rename(aside, second)
    assert sorted(faults(store)) == sorted(("trajectories", "file", str(path)) for path in (first, second))


def cut(path):
    os.truncate(path, path.stat().st_size // 2)


LOG_DAMAGE = {
    "newest entry empty": lambda log: os.truncate(newest_entry(log), 0),
    "newest entry cut": lambda log: cut(newest_entry(log)),
    "newest entry gone": lambda log: newest_entry(log).unlink(),
    "newest entry changed": lambda log: flip(newest_entry(log)),
    "another entry's content": lambda log: shutil.copy(sorted(log.glob("0*.json"))[-2], newest_entry(log)),
    "first entry gone": lambda log: min(log.glob("0*.json")).unlink(),
    "whole log gone": lambda log: shutil.rmtree(log),
    "checkpoint cut": lambda log: cut(max(log.glob("*.checkpoint.parquet"))),
    "checkpoint changed": lambda log: flip(max(log.glob("*.checkpoint.parquet"))),
    "every checkpoint empty": lambda log: [os.truncate(path, 0) for path in log.glob("*.checkpoint.parquet")],
    "last checkpoint's name unreadable": lambda log: (log / "_last_checkpoint").write_text("{"),
    "last checkpoint of a later version": lambda log: (log / "_last_checkpoint").write_text('{"version":99}'),
}


@pytest.mark.parametrize("damage", LOG_DAMAGE)
def test_a_damaged_log_is_found_and_rebuilt(store, log, damage):
    LOG_DAMAGE[damage](log)
    assert {(table, kind) for table, kind, _ in faults(store)} in (
        {("trajectories", "log")},
        {("trajectories", "checkpoint")},
    )
    steps = repair_store(store)
    assert steps and all(step.done and step.lost_rows == 0 for step in steps)
    assert faults(store) == []
    assert rows_in(store) == ROWS_IN_ALL
    assert bit_flips.append(Store(store.location), 8)
    assert rows_in(store) == ROWS_IN_ALL + 4


def test_an_entry_without_a_copy_is_rebuilt_from_its_files_where_that_is_asked_for(store, log):
    entry = newest_entry(log)
    entry.unlink()
    flip(log.parent / "_spo" / entry.name)
    step, consequence = repair_store(store)
    assert not step.done and step.lost_rows is None and str(entry) in step.what
    assert not consequence.done and "its newest entries are gone" in consequence.what
    with pytest.raises(StoreError, match="its newest entries are gone"):
        Store(store.location).read("trajectories")
    steps = repair_store(store, accept_loss=True)
    assert all(step.done for step in steps)
    assert "append 7 of p: committed again from its 2 files" in [step.what for step in steps]
    assert faults(store) == [] and rows_in(store) == ROWS_IN_ALL
    assert not bit_flips.append(Store(store.location), 7)


def test_an_old_entry_without_a_copy_whose_rows_are_in_a_checkpoint(store, log):
    old = sorted(log.glob("0*.json"))[2]
    for path in (old, log.parent / "_spo" / old.name):
        path.write_text("{")
    damaged = file_with(store, "p/5/0")
    flip(damaged)
    assert ("trajectories", "log", str(old)) in faults(store)
    steps = repair_store(store)
    assert [step.done for step in steps] == [False, True]
    assert "older versions cannot be read any more" in steps[0].what and str(old) in steps[0].what
    assert rows_in(store) == ROWS_IN_ALL


def test_a_compacted_file_is_restored_from_what_it_was_compacted_from(store):
    before = store.read("trajectories").sort("trajectory_id")
    damaged = file_with(store, "p/5/0")
    flip(damaged)
    assert faults(store) == [("trajectories", "file", str(damaged))]
    (step,) = repair_store(store)
    assert step.done and step.lost_rows == 0
    assert faults(store) == []
    assert Store(store.location).read("trajectories").sort("trajectory_id").equals(before)


def test_rows_that_are_lost_are_listed_one_by_one(store):
    damaged, reached = file_with(store, "p/7/1"), store.version("trajectories")
    content = damaged.read_bytes()
    damaged.write_bytes(content[:-1] + b"x")
    (step,) = repair_store(store)
    assert not step.done and step.lost_rows == 2
    damaged.unlink()
    (step,) = repair_store(store)
    assert step.lost_keys == ("row 1", "row 2")
    damaged.write_bytes(content.replace(b"p/7/1", b"p/7/x"))
    (step,) = repair_store(store, accept_loss=True)
    assert step.done and step.lost_rows == 2 and step.lost_keys[1] == "p/7/3"
    assert faults(store) == [] and rows_in(store) == ROWS_IN_ALL - 2
    # Who had followed the table to the lost rows is not sent to the lost file.
    assert bit_flips.append(Store(store.location), 8)
    assert Store(store.location).tail("trajectories", reached)[0].height == 4
    assert list(Path(store.location).rglob(f"set-aside/{damaged.name}.*"))


def test_a_file_that_only_an_older_version_needs_is_found(store):
    newest = set(store.snapshot("trajectories").files)
    old = next(file for file in store.snapshot("trajectories", 2).files if file not in newest)
    flip(Path(old))
    assert faults(store) == [("trajectories", "file", old)]
    assert rows_in(store) == ROWS_IN_ALL
    (step,) = repair_store(store)
    assert not step.done and step.lost_rows == 0


def test_what_a_killed_writer_leaves_is_no_fault(store):
    file = file_with(store, "p/7/0")
    file.with_name(f"part-{'0' * 32}-{'1' * 32}.zstd.parquet").write_bytes(file.read_bytes()[:300])
    report = check_store(store)
    assert report.findings == [] and report.uncommitted == 1


def test_a_pinned_version_whose_file_is_gone_is_found(store):
    newest = set(store.snapshot("trajectories").files)
    store.pin("paper", {"trajectories": 2})
    old = next(file for file in store.snapshot("trajectories", 2).files if file not in newest)
    assert faults(store) == []
    Path(old).unlink()
    assert faults(store) == [("trajectories", "pin", "paper")]


def test_references_keys_and_contracts(tmp_path, fill_store, rows):
    store = fill_store(Store(tmp_path / "store"))
    orphan = rows.trajectory("orphan", "src/nowhere")
    store.append("trajectories", rows.frame("trajectories", [orphan]), producer="p", sequence=0)
    twice = rows.frame("problems", [rows.problem("src/b")])
    store.append("problems", twice, producer="p", sequence=0)
    judged = rows.verdict("not there", "accepted")
    store.append("verdicts", rows.frame("verdicts", [judged]), producer="p", sequence=0)
    assert set(faults(store)) == {
        ("trajectories", "reference", "problem_id src/nowhere"),
        ("", "rows", "doubled: problems"),
        ("", "rows", "lost: trajectories of verdicts"),
    }


def test_rows_of_another_program_that_break_the_contract_are_found(tmp_path, fill_store, rows):
    store = fill_store(Store(tmp_path / "store"))
    place = f"{store.location}/problems"
    bad = pl.DataFrame([rows.problem("src/z", split="everything")])
    bad = pl.concat([TABLES["problems"].empty, bad], how="diagonal_relaxed").to_arrow()
    deltalake.write_deltalake(place, bad.cast(TABLES["problems"].arrow_schema), mode="append")
    (finding,) = check_store(store).findings
    assert (finding.table, finding.kind) == ("problems", "rows")
    assert "split" in finding.what and "src/z" in finding.what


def test_a_store_that_is_nowhere_has_no_fault_and_needs_no_repair(tmp_path):
    store = Store(tmp_path / "none")
    assert check_store(store).findings == [] and repair_store(store) == []


def test_a_check_beside_writers_and_a_compactor_finds_nothing(store):
    """Whatever moment of a commit, a compaction or a checkpoint it meets."""
    kills = neighbour("store_kills")
    writers = [kills.start("write", store.location, f"writer-{i}", 25, 20) for i in range(2)]
    compactor, checks = kills.start("compact", store.location), 0
    try:
        while any(writer.poll() is None for writer in writers):
            assert faults(store) == []
            checks += 1
    finally:
        compactor.kill()
        compactor.communicate()
    assert all(len(kills.finish(writer)) == 25 for writer in writers) and checks >= 3
    assert rows_in(store) == ROWS_IN_ALL + 2 * 25 * 20


def test_files_on_object_storage_are_compared_too(object_storage, rows):
    store = Store("s3://bucket/checked", object_storage)
    for number in range(2):
        frame = rows.frame("problems", [rows.problem(f"src/{number}")])
        store.append("problems", frame, producer="p", sequence=number)
    report = check_store(store)
    assert (report.findings, report.files, report.rows) == ([], 2, 2)
    first, second = store.snapshot("problems").files
    objects = store.log("problems").place
    names = [file.removeprefix(f"{store.location}/problems/") for file in (first, second)]
    with objects.open(names[1]) as file:
        objects._objects.put(names[0], file.read())
    assert faults(store) == [("problems", "file", first)]


@pytest.mark.parametrize("seed", range(6))
def test_any_bit_of_a_log_is_repaired(store, seed):
    draw = random.Random(seed)
    kinds = bit_flips.files_by_kind(Path(store.location))
    for kind in ("entry", "copy", "checkpoint"):
        path = draw.choice([path for path in kinds[kind] if "trajectories" in path.parts])
        content = bytearray(path.read_bytes())
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        path.write_bytes(content)
        assert all(step.done for step in repair_store(store))
        assert faults(store) == [] and rows_in(store) == ROWS_IN_ALL


def test_object_storage_cannot_be_repaired_here():
    with pytest.raises(StoreError, match="only a store in a folder can be repaired"):
        repair_store(Store("s3://bucket/store"))
