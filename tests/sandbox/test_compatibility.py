"""The comparisons of public graders, defects included: values worked out by hand from their sources."""

import pytest

from sandbox import Checker
from sandbox.judging.compare import outputs_match

CASES = [
    # code_contests, sandbox_fusion, livecodebench
    ("1 2\n", "1 2", (True, True, True)),
    ("1  2\n", "1 2", (True, False, True)),  # as decimals, the line is equal
    ("1\n2", "1 2", (True, False, False)),
    ("a  b", "a b", (True, False, False)),
    ("YES", "yes", (True, True, False)),
    ("9007199254740993", "9007199254740992", (True, True, False)),
    ("100000000000000000001", "100000000000000000000", (True, True, False)),
    ("0.000001", "0", (True, False, False)),
    ("1.00001", "1", (False, False, False)),
    ("1.000009", "1", (True, True, False)),
    ("1000000.1", "1000000", (False, True, False)),
    ("1.0", "1", (True, True, True)),
    ("1e0 1.0", "1 1", (True, False, True)),
    ("inf", "inf", (True, True, True)),
    ("inf 1.0", "inf 1", (False, False, True)),
    ("nan", "nan", (True, True, True)),
    ("nan 2", "nan 2.0", (False, False, False)),
    ("1_0", "10", (False, True, True)),
    ("\n\n5\n\n", "5", (True, True, True)),
    ("5\n\n6", "5\n6", (True, False, False)),
    ("", "", (True, True, True)),
    ("", "0", (False, False, False)),
    ("3\x0c4", "3 4", (False, False, True)),
    ("\u00e9", "\u00c9", (False, True, False)),
]


@pytest.mark.parametrize(("actual", "expected", "verdicts"), CASES)
def test_graders(actual, expected, verdicts):
    kinds = ("code_contests", "sandbox_fusion", "livecodebench")
    assert (
        tuple(outputs_match(actual.encode(), expected.encode(), Checker(kind)) for kind in kinds) == verdicts
    )


def test_bytes_that_are_not_text(judge):
    for kind in ("code_contests", "sandbox_fusion", "livecodebench"):
        assert not outputs_match(b"\xff\xfe", b"5", Checker(kind))
    program = "import os; os.write(1, b'\\xff 2')"
    judgement = judge("python3", program, ("", "\ufffd 3"), checker=Checker("sandbox_fusion"))
    assert judgement.verdict == "wrong_answer" and "line 1" in judgement.tests[0].detail
