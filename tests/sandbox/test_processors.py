"""How many processors a process may use, by its control groups, and whether others use them."""

from __future__ import annotations

import os

import pytest

from sandbox import overload, processors, usable_processors


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """Folders of control groups; this process has four processors by its affinity."""
    monkeypatch.setattr(processors, "CGROUP_V2", tmp_path / "v2")
    monkeypatch.setattr(processors, "CGROUP_V1", tmp_path / "v1")
    monkeypatch.setattr(processors, "OWN_GROUP", tmp_path / "own")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    return tmp_path


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_without_limits_it_is_the_affinity(groups):
    assert usable_processors() == 4


@pytest.mark.parametrize(("limit", "count"), [("max 100000", 4), ("150000 100000", 2), ("50000 100000", 1)])
def test_a_limit_of_version_2_counts(groups, limit, count):
    write(groups / "v2/cpu.max", limit)
    assert usable_processors() == count


def test_a_limit_of_a_group_above_counts(groups):
    write(groups / "own", "0::/job/part\n")
    write(groups / "v2/job/part/cpu.max", "300000 100000")
    write(groups / "v2/job/cpu.max", "200000 100000")
    assert usable_processors() == 2


@pytest.mark.parametrize(("quota", "count"), [("-1", 4), ("100000", 1)])
def test_a_limit_of_version_1_counts(groups, quota, count):
    write(groups / "own", "4:cpu,cpuacct:/job\n")
    write(groups / "v1/job/cpu.cfs_quota_us", quota)
    write(groups / "v1/job/cpu.cfs_period_us", "100000")
    assert usable_processors() == count


def test_a_broken_limit_is_none(groups):
    write(groups / "v2/cpu.max", "many\n")
    assert usable_processors() == 4


@pytest.mark.parametrize(("load", "is_said"), [(0.2, False), (6.0, False), (6.1, True)])
def test_overload_is_said_from_one_and_a_half_per_processor(groups, monkeypatch, load, is_said):
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))
    assert bool(overload()) == is_said
    assert not is_said or overload().startswith("6 processes want to run on 4 processors")
