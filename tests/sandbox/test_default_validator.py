"""Comparison as Kattis' default output validator, against its own source where that is here.

SPO_PROBLEMTOOLS=/path/to/a/checkout/of/problemtools names it; without it those tests are skipped.
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

PROBLEMTOOLS = Path(os.environ.get("SPO_PROBLEMTOOLS", "/nowhere"))
SOURCE = PROBLEMTOOLS / "support" / "default_validator" / "default_validator.cc"
needs_original = pytest.mark.skipif(
    not SOURCE.is_file() or shutil.which("g++") is None,
    reason="set SPO_PROBLEMTOOLS to a checkout of Kattis' problemtools; needs g++",
)


def accepts(actual: str | bytes, expected: str | bytes, flags: str = "") -> bool:
    parts = [one.encode() if isinstance(one, str) else one for one in (actual, expected)]
    return outputs_match(*parts, Checker("default_validator", arguments=tuple(flags.split())))


@pytest.mark.parametrize(
    ("actual", "expected", "flags", "right"),
    [
        ("Yes\n", "YES", "", True),
        ("Yes", "YES", "case_sensitive", False),
        ("a  b\n\n", "a\nb", "", True),
        ("a  b", "a b", "space_change_sensitive", False),
        (" a", "a ", "space_change_sensitive", False),
        ("a b\n", "a b", "space_change_sensitive", False),
        ("1.05 b", "1 b", "space_change_sensitive float_tolerance 0.1", True),
        ("1.05  b", "1 b", "space_change_sensitive float_tolerance 0.1", False),
        ("1000001", "1000000", "float_tolerance 1e-5", True),
        ("1000001", "1000000", "float_absolute_tolerance 1e-5", False),
        ("1000001", "1000000", "float_relative_tolerance 1e-5", True),
        ("0.5", "0", "float_relative_tolerance 0.9", False),
        ("0.5", "0", "float_absolute_tolerance 0.9", True),
        ("1.5", "1", "float_absolute_tolerance 0.6 float_relative_tolerance 1e-9", True),
        ("1.0", "1", "", False),
        ("nan", "NaN", "float_tolerance 1e-6", True),
        ("nan", "1", "float_tolerance 1e-6", False),
        ("inf", "1e400", "float_tolerance 1e-6", False),
        ("1", "one", "float_tolerance 1e-6", False),
        ("0x10", "16", "float_tolerance 1e-6", True),
        ("1_6", "16", "float_tolerance 1e-6", False),
        ("a", "a b", "", False),
        ("a b", "a", "", False),
        ("2", "1", "float_tolerance 1 float_tolerance -1", False),
    ],
)
def test_worked_out_from_the_documentation(actual, expected, flags, right):
    assert accepts(actual, expected, flags) is right


@pytest.mark.parametrize(
    "flags", ["float_tolerance", "float_tolerance x", "float_tolerance nan", "sensitive", "1"]
)
def test_flags_that_are_none_are_refused(flags):
    with pytest.raises(ValueError, match=r"float_tolerance needs a number|has no flag"):
        Checker("default_validator", arguments=tuple(flags.split()))
    test = Test("1", "stdin", "", "", tuple(flags.split()))
    with pytest.raises(ValueError, match=r"float_tolerance needs a number|has no flag"):
        Submission("", "python3", (test,), checker=Checker("default_validator"))


def test_a_difference_of_white_space_alone_is_named():
    checker = Checker("default_validator", arguments=("space_change_sensitive",))
    assert first_difference(b"a  b", b"a b", checker) == "equal tokens with other white space between them"
    assert first_difference(b"a c", b"a b", checker) == "token 2: 'c' instead of 'b'"


def test_a_test_has_arguments_of_its_own(pool):
    tests = tuple(
        Test(str(number), "stdin", "", "YES 1.0", arguments)
        for number, arguments in enumerate([None, (), ("case_sensitive",), ("float_tolerance", "1")])
    )
    judgement = pool.judge(
        Submission(
            "print('Yes 1.5')",
            "python3",
            tests,
            checker=Checker("default_validator", arguments=("float_absolute_tolerance", "0.6")),
            stop_at_first_failure=False,
        )
    )
    verdicts = [test.verdict for test in judgement.tests]
    assert verdicts == ["accepted", "wrong_answer", "wrong_answer", "accepted"]


VALIDATOR = """
import sys
sys.exit(42 if sys.stdin.read().split() == sys.argv[4:] else 43)
"""


def test_a_checker_program_gets_the_arguments_of_the_test(pool):
    tests = tuple(
        Test(str(number), "stdin", "", "", arguments)
        for number, arguments in enumerate([None, ("b", "c"), ("a",), None])
    )
    checker = Checker("kattis", program=VALIDATOR, language="python3", arguments=("b", "c"))
    judgement = pool.judge(
        Submission("print('b c')", "python3", tests, checker=checker, stop_at_first_failure=False)
    )
    assert [test.verdict for test in judgement.tests] == ["accepted", "accepted", "wrong_answer", "accepted"]


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """The original validator: (output, answer, flags) -> whether it accepts."""
    folder = tmp_path_factory.mktemp("original")
    subprocess.run(["g++", "-O1", "-o", folder / "validator", SOURCE], check=True)

    def accept(output: bytes, answer: bytes, flags: list[str]) -> bool:
        (folder / "answer").write_bytes(answer)
        command = [folder / "validator", "/dev/null", folder / "answer", folder, *flags]
        code = subprocess.run(command, input=output, capture_output=True).returncode
        assert code in (42, 43), code
        return code == 42

    return accept


TOKENS = [
    *(
        "1",
        "1.0",
        "1.00001",
        "0.99999",
        "-1",
        "+1",
        "1e0",
        "1E0",
        "1e",
        "1e+",
        "1.e1",
        ".1",
        ".",
        "e1",
        "1_0",
    ),
    *(
        "0x1",
        "0x1p3",
        "0X1.8p1",
        "0x",
        "0x1p",
        "nan",
        "NaN",
        "-nan",
        "inf",
        "INF",
        "Infinity",
        "1,5",
        "1f",
        "1d",
    ),
    *("1e400", "-1e400", "1e-400", "0", "-0", "0.0", "yes", "YES", "Yes", "1000000", "1000001", "1000010"),
    *("9007199254740992", "9007199254740993", "100%", "a\0b", "a"),
]
SPACES = [" ", "  ", "\n", "\t", "\r\n", "\v", "\f", " \n"]
FLAGS = (
    "", "case_sensitive", "space_change_sensitive", "float_tolerance 1e-5", "float_absolute_tolerance 1e-5",
    "float_relative_tolerance 1e-5", "float_relative_tolerance 0", "float_tolerance -1",
    "float_absolute_tolerance 10 float_relative_tolerance 1e-9 case_sensitive",
    "space_change_sensitive case_sensitive float_tolerance 1e-6",
)  # fmt: skip


@needs_original
def test_every_pair_of_tokens_as_the_original(original):
    different = [
        (a, e, flags)
        for flags in FLAGS[:8]
        for a, e in ((a, e) for a in TOKENS for e in random.Random(a + flags).sample(TOKENS, 12))
        if original(a.encode(), e.encode(), flags.split()) is not accepts(a, e, flags)
    ]
    assert different == []


@needs_original
def test_random_outputs_as_the_original(original):
    generator, different = random.Random(5), []
    for _ in range(1500):
        tokens = [generator.choice(TOKENS) for _ in range(generator.randrange(4))]
        others = [t if generator.random() < 0.8 else generator.choice(TOKENS) for t in tokens]
        if generator.random() < 0.1:
            others.append("1")
        sides = []
        for side in (tokens, others):
            spaces = [generator.choice(SPACES[:1] if generator.random() < 0.7 else SPACES) for _ in range(5)]
            ends = [generator.choice(["", " ", "\n"]) for _ in range(2)]
            sides.append(
                ends[0] + "".join(t + s for t, s in zip(side, spaces, strict=False)).strip() + ends[1]
            )
        flags = generator.choice(FLAGS)
        if original(sides[0].encode(), sides[1].encode(), flags.split()) is not accepts(*sides, flags):
            different.append((*sides, flags))
    assert different == []


@needs_original
def test_the_cases_of_its_own_tests():
    folders = sorted((PROBLEMTOOLS / "tests" / "default_validator_tests").glob("test_*"))
    for folder in folders:
        flags = (folder / "args.txt").read_text() if (folder / "args.txt").exists() else ""
        code = int((folder / "expected_exit_code.txt").read_text())
        if code not in (42, 43):
            continue
        right = accepts((folder / "user.out").read_bytes(), (folder / "judge.ans").read_bytes(), flags)
        assert right is (code == 42), folder.name
    assert folders
