"""Power cuts, simulated from recorded system calls: see `power_cut.py` and `recorded_disk.py`."""

import importlib.util
import random
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.store import Store, check_store


def neighbour(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


power_cut = neighbour("power_cut")
recorded = sys.modules["recorded_disk"]
pytestmark = pytest.mark.skipif(
    not recorded.can_record(), reason="needs strace, and leave to trace a process"
)

REPLACED = """
import os, sys
with open(sys.argv[1] + "/a.new", "wb") as file:
    file.write(b"22")
    file.flush()
    if "file" in sys.argv: os.fsync(file.fileno())
os.rename(sys.argv[1] + "/a.new", sys.argv[1] + "/a")
if "folder" in sys.argv:
    folder = os.open(sys.argv[1], os.O_RDONLY)
    os.fsync(folder)
"""


def states_at_the_end(tmp_path, *flushed):
    root = tmp_path / "root"
    root.mkdir()
    (root / "a").write_bytes(b"1")
    disk = recorded.Disk(root)
    for call in recorded.record([sys.executable, "-c", REPLACED, str(root), *flushed], root, tmp_path):
        disk.apply(*call)
    actual = set()
    for number, chosen in enumerate(recorded.PowerCut(disk, "_spo").states(1000, random.Random(0))):
        recorded.write_tree(recorded.tree_of(disk.top, chosen), tmp_path / str(number))
        actual.add(tuple(sorted((p.name, p.read_bytes()) for p in (tmp_path / str(number)).iterdir())))
    return actual


def test_a_replaced_file_that_is_not_flushed_may_be_anything(tmp_path):
    contents = [b"22", b"2", b"\0\0", b""]
    assert states_at_the_end(tmp_path) == {
        (("a", b"1"),),
        *((("a", b"1"), ("a.new", content)) for content in contents),
        *((("a", content),) for content in contents),
        *((("a", content), ("a.new", content)) for content in contents),
    }


def test_a_flushed_file_has_its_content_under_whichever_name(tmp_path):
    assert states_at_the_end(tmp_path, "file") == {
        (("a", b"1"),),
        (("a", b"1"), ("a.new", b"22")),
        (("a", b"22"),),
        (("a", b"22"), ("a.new", b"22")),
    }


def test_after_both_flushes_there_is_one_state(tmp_path):
    assert states_at_the_end(tmp_path, "file", "folder") == {(("a", b"22"),)}


@pytest.mark.timeout(600)
def test_no_state_loses_an_acknowledged_row_or_shows_half_a_commit():
    outcome = power_cut.run(40)
    assert outcome.faults == []
    assert outcome.states > 75


@pytest.mark.timeout(600)
def test_without_flushes_states_are_found_that_lose_rows():
    assert power_cut.run(12, states_per_moment=3, flushes=False).lost > 0


@pytest.mark.timeout(600)
def test_a_check_finds_no_fault_in_any_state(monkeypatch):
    def judge(place, acknowledged):
        # The rows of this writer name no problem that is stored.
        faults = [one for one in check_store(Store(place / "store")).findings if one.kind != "reference"]
        return f"a check finds {faults}" if faults else None

    scenarios = [replace(scenario, judge=judge) for scenario in power_cut.SCENARIOS[:2]]
    monkeypatch.setattr(power_cut, "SCENARIOS", scenarios)
    outcome = power_cut.run(6)
    assert outcome.faults == [] and outcome.states == 12
