"""Every program in the folder `forged`: it computes nothing, tries to look right, and passes none of
eleven function tests.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox import Limits, Test

FORGED = sorted((Path(__file__).parent / "forged").glob("*.py"))
LIMITS = Limits(time_s=1.0, memory_mb=256, wall_limit_s=3.0)
HONEST = "def f(x):\n    return x + 1\n"
CHECK = "def check(candidate):\n    assert candidate(2) == 3\n    assert candidate(5) == 6\n"
LOOP = "import math\nfor number in range(3):\n    assert math.isclose(f(number), number + 1)"
TESTS = (
    Test("check", "check", CHECK),
    Test("direct", "assert", "assert candidate(2) == 3"),
    Test("difference", "assert", "assert abs(f(2) - 3) < 1e-6"),
    Test("one of", "assert", "assert f(5) in (6, 7)"),
    Test("type", "assert", "assert isinstance(f(2), int) and f(2) == 3"),
    Test("largest", "assert", "assert max(f(2), f(3)) == 4"),
    Test("close", "assert", "import math\nassert math.isclose(f(2), 3.0)"),
    Test("text", "assert", "assert str(f(2)) == '3'"),
    Test("loop", "assert", LOOP),
    Test("call", "call", "f(2)", "3"),
    Test("call of a call", "call", "f(f(2))", "4"),
)


def test_the_honest_program_passes(judge):
    judgement = judge("python3", HONEST, *TESTS, limits=LIMITS, entry_point="f", stop_at_first_failure=False)
    assert [result.verdict for result in judgement.tests] == ["accepted"] * 11, judgement
    assert judgement.isolated_check is True


@pytest.mark.parametrize("path", FORGED, ids=lambda path: path.stem)
def test_forged(judge, path):
    judgement = judge(
        "python3", path.read_text(), *TESTS, limits=LIMITS, entry_point="f", stop_at_first_failure=False
    )
    assert len(judgement.tests) == 11
    passed = [result.test_id for result in judgement.tests if result.verdict == "accepted"]
    errors = [result for result in judgement.tests if result.verdict == "judge_error"]
    assert (passed, errors) == ([], [])


def test_there_are_forty_at_least():
    assert len(FORGED) >= 40
