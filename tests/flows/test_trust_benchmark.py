"""The benchmark of trust counts nothing that did not take place."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
from tests.benchmarks import trust, trust_parts  # noqa: E402

OUTCOMES = """
import pytest

@pytest.fixture
def broken():
    raise OSError("no machine")

def test_repelled(): pass
def test_let_in(): assert False, "somebody got in"
def test_without_a_machine(broken): pass
@pytest.mark.skip(reason="no browser")
def test_skipped(): pass
"""


def test_only_attacks_that_took_place_count(tmp_path):
    (tmp_path / "test_outcomes.py").write_text(OUTCOMES)
    actual = trust_parts.tests(str(tmp_path / "test_outcomes.py"), f"--rootdir={tmp_path}")
    assert actual.attempts == 2
    assert [text.partition(": ")[0].rpartition("::")[2] for text in actual.breaches] == ["test_let_in"]
    assert sorted(text.partition(": ")[0].rpartition("::")[2] for text in actual.untried) == [
        "test_skipped",
        "test_without_a_machine",
    ]


def test_pytest_that_collects_nothing_is_a_failure(tmp_path):
    with pytest.raises(RuntimeError, match="pytest ended with"):
        trust_parts.tests(str(tmp_path / "no_such_file.py"))


def test_a_part_that_failed_or_was_late_counts_nothing():
    failed = trust.run_part("no such part", [], time.monotonic() + 60)
    late = trust.run_part("power cuts", [], time.monotonic() + 1.5)
    assert isinstance(failed, str) and "KeyError" in failed
    assert isinstance(late, str) and late.startswith("not finished after")
    line = trust.summary({"SQL": late, "service": failed})
    assert (line["attacks"], line["harness_failures"]) == (0, ["SQL", "service"])


def test_a_failed_part_is_named_and_the_exit_code_says_so():
    command = [
        sys.executable,
        "-P",
        str(ROOT / "tests/benchmarks/trust.py"),
        "--only",
        "SQL",
        "--limit-s",
        "21",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert json.loads(done.stdout.splitlines()[-1])["harness_failures"] == ["SQL"]
    assert "FAILED, nothing counted: SQL" in done.stdout
