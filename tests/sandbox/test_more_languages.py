"""Every language that this machine has: an ordinary program, hostile ones, and those that break a limit."""

from __future__ import annotations

import pytest

from sandbox import Limits
from sandbox.languages import LANGUAGES, toolchain
from tests.sandbox.language_programs import ADD, BROKEN, CRASH, HOARD, HOSTILE, SPIN

HERE = [row.name for row in LANGUAGES if row.name in ADD and toolchain(row)]
SLOW_COMPILERS = ("kotlin", "scala", "haskell")
LIMITS = Limits(time_s=1.0, memory_mb=192, output_bytes=1 << 20)


def test_every_language_of_the_table_has_programs():
    """Those that cannot be had, variants, and those of test_languages.py are the exceptions."""
    elsewhere = {"c", "cpp", "go", "java", "javascript", "python3", "rust"}
    absent = {"julia", "swift", "python2", "pypy2", "lean", "cuda"}
    names = {row.name for row in LANGUAGES if not row.variant_of or row.name.startswith("pypy")}
    assert names - elsewhere - absent == set(ADD)


@pytest.mark.parametrize(
    "language",
    [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW_COMPILERS else []) for name in HERE],
)
def test_right_and_wrong(judge, language):
    tests = ("1 2 3\n", "6\n"), ("4\n", "5\n"), ("7\n", "7")
    limits = Limits(time_s=5.0)
    judgement = judge(language, ADD[language], *tests, limits=limits, stop_at_first_failure=False)
    verdicts = [test.verdict for test in judgement.tests]
    assert verdicts == ["accepted", "wrong_answer", "accepted"], judgement


def cases(programs: dict[str, str], verdict: str):
    return [
        pytest.param(name, programs[name], verdict, id=f"{name} {verdict}")
        for name in HERE
        if name in programs
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("language", "program", "verdict"),
    [
        *cases(SPIN, "time_limit_exceeded"),
        *cases(HOARD, "memory_limit_exceeded"),
        *cases(CRASH, "runtime_error"),
        *cases(BROKEN, "compile_error"),
    ],
)
def test_failures(judge, language, program, verdict):
    judgement = judge(language, program, ("", ""), limits=LIMITS)
    assert judgement.verdict == verdict, judgement


@pytest.mark.slow
@pytest.mark.parametrize("language", [name for name in HERE if name in HOSTILE])
def test_hostile_programs(judge, language):
    judgement = judge(language, HOSTILE[language], ("", ""), limits=Limits(time_s=5.0))
    assert judgement.verdict == "accepted", judgement
    assert judge(language, ADD[language], ("1 2\n", "3")).verdict == "accepted"
