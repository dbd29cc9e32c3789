"""Comparison as testlib's standard checkers and DOMjudge's compare, against their own sources where those are
here.

SPO_TESTLIB=/path/to/testlib.h, of a checkout with the folder `checkers` beside it, and
SPO_DOMJUDGE_COMPARE=/path/to/compare.cc name them; without them those tests are skipped.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from sandbox.contracts import Checker, Submission, Test
from sandbox.judging.compare import first_difference, outputs_match
from sandbox.judging.testlib_standard import AnswerRefused

TESTLIB = Path(os.environ.get("SPO_TESTLIB", "/nowhere/testlib.h"))
DOMJUDGE = Path(os.environ.get("SPO_DOMJUDGE_COMPARE", "/nowhere/compare.cc"))
needs_testlib = pytest.mark.skipif(
    not (TESTLIB.parent / "checkers" / "wcmp.cpp").is_file() or shutil.which("g++") is None,
    reason="set SPO_TESTLIB to testlib.h in a checkout of testlib; needs g++",
)
needs_domjudge = pytest.mark.skipif(
    not DOMJUDGE.is_file() or shutil.which("g++") is None,
    reason="set SPO_DOMJUDGE_COMPARE to DOMjudge's compare.cc; needs g++",
)
NAMES = (
    "rcmp", "rcmp4", "rcmp6", "rcmp9", "wcmp", "lcmp", "fcmp", "ncmp", "icmp", "hcmp", "yesno", "nyesno",
)  # fmt: skip
FLAGS = (
    "", "case_sensitive", "space_change_sensitive", "float_tolerance 1e-6", "float_tolerance 0.1",
    "float_relative_tolerance 0.01", "float_absolute_tolerance 0.5 float_relative_tolerance 0",
    "case_sensitive space_change_sensitive float_absolute_tolerance 1e-3",
)  # fmt: skip
WORDS = (
    b"0 1 -1 +1 00 01 -0 1.0 1.05 1.1 0.3 0.2 .5 5. 1e3 1E3 1e 1e+ 1e-3 1.5.2 1-2 -- e 1e400 -1e400 "
    b"1e-400 2e-400 1e4000 1e5000 -1e5000 1e-5000 nan NaN -nan inf INF -inf infinity infinit 0x10 0x 0x. "
    b"0x1p4 16 1_0 yes YES Yes no NO maybe abc ABC 9007199254740993 9007199254740992 9223372036854775807 "
    b"9223372036854775808 -9223372036854775808 2147483647 2147483648 -2147483648 1000001 1000000 "
    b"100000000000000000000 1000000.5 0.100000001 0.1000001 0.10001 1.0001 1.00011 18446744073709551617 "
    b"18446744073709551616 1e9999999999999999999 0e9999999999999999999"
)
TOKENS = [*WORDS.split(), b"\xc3\xa9", b"a\0b", b"1\0", b"\xff", b"1\x0b2", b"7" * 400]
SPACES = (b" ", b" ", b"\n", b"\n", b"  ", b"\t", b"\r\n", b"\r", b"\n\n")


def output_pairs(seed: int, count: int) -> list[tuple[bytes, bytes]]:
    """Pairs of outputs, often equal but for one token or one space."""
    rng = random.Random(seed)
    pairs = [(a, e) for a in TOKENS for e in TOKENS if rng.random() < 0.06]
    while len(pairs) < count:
        parts = []
        for _ in range(rng.randrange(1, 4)):
            parts += [rng.choice(TOKENS), rng.choice(SPACES)]
        if rng.random() < 0.3:
            parts.pop()
        if rng.random() < 0.2:
            parts.insert(0, rng.choice(SPACES))
        other, at = list(parts), rng.randrange(len(parts))
        other[at] = rng.choice(TOKENS if at % 2 == 0 else SPACES)
        if rng.random() < 0.2:
            other += [rng.choice(SPACES)]
        pairs.append((b"".join(parts), b"".join(other)))
    return pairs[:count]


def build(source: Path, folder: Path, *options: str) -> Path:
    program = folder / source.stem
    command = ["g++", "-std=c++17", "-O0", "-w", *options, "-o", program, source]
    subprocess.run(command, check=True, capture_output=True)
    return program


def of_testlib(name: str, actual: bytes, expected: bytes) -> str:
    try:
        return "right" if outputs_match(actual, expected, Checker(name)) else "wrong"
    except AnswerRefused:
        return "refused"


@needs_testlib
@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_original_checker_of_testlib_says_the_same(name, tmp_path):
    program = build(TESTLIB.parent / "checkers" / f"{name}.cpp", tmp_path, f"-I{TESTLIB.parent}")
    meanings = {0: "right", 1: "wrong", 2: "wrong", 3: "refused"}
    different = []
    for actual, expected in output_pairs(NAMES.index(name), 500):
        for file, text in (("input", b""), ("output", actual), ("answer", expected)):
            (tmp_path / file).write_bytes(text)
        run = subprocess.run([program, "input", "output", "answer"], cwd=tmp_path, capture_output=True)
        if meanings[run.returncode] != (ours := of_testlib(name, actual, expected)):
            different.append((actual, expected, meanings[run.returncode], ours))
    assert not different


@needs_domjudge
@pytest.mark.slow
@pytest.mark.parametrize("flags", FLAGS)
def test_the_original_compare_of_domjudge_says_the_same(flags, tmp_path):
    program = build(DOMJUDGE, tmp_path)
    (tmp_path / "feedback").mkdir()
    (tmp_path / "input").write_bytes(b"")
    checker, different = Checker("domjudge", arguments=tuple(flags.split())), []
    for actual, expected in output_pairs(len(flags), 500):
        (tmp_path / "answer").write_bytes(expected)
        command = [program, "input", "answer", "feedback", *flags.split()]
        run = subprocess.run(command, cwd=tmp_path, input=actual, capture_output=True)
        assert run.returncode in (42, 43), run
        if (run.returncode == 42) != outputs_match(actual, expected, checker):
            different.append((actual, expected, run.returncode))
    assert not different


@pytest.mark.parametrize(
    ("name", "actual", "expected", "said"),
    [
        ("rcmp4", b"1.0001 2", b"1 2.0", "right"),
        ("rcmp6", b"1.0001", b"1", "wrong"),
        ("rcmp6", b"1000001", b"1000000", "right"),  # relative
        ("rcmp9", b"1.0000000005", b"1", "right"),
        ("rcmp4", b"1 2", b"1", "wrong"),
        ("rcmp4", b"nan", b"1", "wrong"),
        ("rcmp4", b"1", b"nan", "refused"),
        ("wcmp", b"a  b", b"a\nb\n", "right"),
        ("wcmp", b"A", b"a", "wrong"),
        ("lcmp", b"a  b\n", b"a b", "right"),
        ("lcmp", b"a\nb", b"a b", "wrong"),
        ("lcmp", b"a\n\n", b"a", "right"),
        ("fcmp", b"a  b", b"a b", "wrong"),
        ("nyesno", b"Yes\nNO", b"YES no", "right"),
        ("nyesno", b"YES", b"YES NO", "wrong"),
        ("nyesno", b"Y", b"YES", "wrong"),
        ("nyesno", b"YES", b"Y", "refused"),
        ("ncmp", b"1 2", b"1\n2", "right"),
        ("ncmp", b"01", b"1", "wrong"),
        ("hcmp", b"9" * 5000, b"9" * 5000, "right"),
    ],
)
def test_standard_checkers_of_testlib(name, actual, expected, said):
    assert of_testlib(name, actual, expected) == said


@pytest.mark.parametrize(
    ("actual", "expected", "flags", "right"),
    [
        ("Yes", "YES", "", True),
        ("inf", "Infinity", "float_tolerance 1e-6", True),  # a word to Kattis' own
        ("-inf", "inf", "float_tolerance 1e-6", False),
        ("nan", "-NaN", "float_tolerance 1e-6", True),
        ("1e400", "1.0000001e400", "float_tolerance 1e-6", True),  # beyond a double
        ("1e5000", "inf", "float_tolerance 1e-6", True),  # beyond a long double
        ("1e400", "inf", "float_tolerance 1e-6", False),
        ("0.3", "0.2", "float_absolute_tolerance 0.1", False),  # as long doubles, not as decimals
        ("a  b", "a b", "space_change_sensitive", False),
    ],
)
def test_compare_of_domjudge(actual, expected, flags, right):
    checker = Checker("domjudge", arguments=tuple(flags.split()))
    assert outputs_match(actual.encode(), expected.encode(), checker) == right


def test_an_answer_that_the_checker_cannot_read_is_an_error_of_the_judge(pool):
    submission = Submission(
        "print('YES')", "python3", (Test("1", "stdin", "", "Y"),), checker=Checker("yesno")
    )
    judgement = pool.judge(submission)
    assert (judgement.verdict, judgement.tests[0].detail) == (
        "judge_error",
        "the expected output: expected YES or NO, not b'Y'",
    )


def test_the_first_difference_of_a_checker_of_one_token():
    assert first_difference(b"1 x", b"2 y", Checker("icmp")) == "token 1: '1' instead of '2'"
    assert (
        first_difference(b"1 2", b"1 y", Checker("icmp"))
        == "equal tokens with other white space between them"
    )
