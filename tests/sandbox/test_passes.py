"""Validators that ask for another pass, and validators that write scores."""

from __future__ import annotations

import pytest

from sandbox import Checker, Test
from sandbox.scoring import Group, Scoring

# In the first pass wants `first`, in the second `second`; a file of its own tells it which pass it is.
TWO_PASSES = """
import os, sys
folder, got = sys.argv[3], sys.stdin.read().strip()
if os.path.exists(folder + "state"):
    open(folder + "state", "a").write("x")
    sys.exit(42 if got == "second" else 43)
open(folder + "state", "w").write("x")
if got != "first":
    sys.exit(43)
open(folder + "nextpass.in", "w").write("2\\n")
sys.exit(42)
"""
TWO_PASSES_CPP = """
#include <fstream>
#include <iostream>
#include <string>
int main(int, char **argv) {
    std::string folder = argv[3], got;
    std::cin >> got;
    if (std::ifstream(folder + "state")) return got == "second" ? 42 : 43;
    std::ofstream(folder + "state") << "x";
    if (got != "first") return 43;
    std::ofstream(folder + "nextpass.in") << "2\\n";
    return 42;
}
"""
RIGHT = "print('first' if input() == '1' else 'second')"
PROGRAMS = {
    RIGHT: "accepted",
    "print('first' if input() == '1' else 'wrong')": "wrong_answer",
    "print('wrong')": "wrong_answer",
    "print('first' if input() == '1' else 1 // 0)": "runtime_error",
    "n = input()\nwhile n == '2': pass\nprint('first')": "time_limit_exceeded",
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_pass_is_judged_after_the_other(judge, program):
    checker = Checker("kattis", program=TWO_PASSES, language="python3", passes=2)
    actual = judge("python3", program, ("1\n", "x"), ("1\n", "x"), checker=checker)
    assert actual.verdict == PROGRAMS[program], actual


def test_passes_of_a_compiled_validator(judge):
    checker = Checker("kattis", program=TWO_PASSES_CPP, language="cpp", passes=2)
    assert judge("python3", RIGHT, ("1\n", "x"), ("1\n", "x"), checker=checker).passed == 2


BROKEN = {
    "more than 3 passes": "import sys\nopen(sys.argv[3] + 'nextpass.in', 'w').write('1')\nsys.exit(42)",
    "asks for another pass, but says wrong_answer": (
        "import sys\nopen(sys.argv[3] + 'nextpass.in', 'w').write('1')\nsys.exit(43)"
    ),
    "is not UTF-8": "import sys\nopen(sys.argv[3] + 'nextpass.in', 'wb').write(b'\\xff')\nsys.exit(42)",
    "no number into score.txt": "import sys\nopen(sys.argv[3] + 'score.txt', 'w').write('nan')\nsys.exit(42)",
}


@pytest.mark.parametrize("reason", BROKEN)
def test_a_validator_that_breaks_the_rules_is_a_judge_error(judge, reason):
    checker = Checker("kattis", program=BROKEN[reason], language="python3", passes=3)
    (result,) = judge("python3", "print(1)", ("1\n", "x"), checker=checker).tests
    assert result.verdict == "judge_error" and reason in result.detail


def test_interactive_passes(judge):
    """The program says a word per pass; the interactor remembers it between them."""
    interactor = """
import os, sys
folder, number = sys.argv[3], open(sys.argv[1]).read().strip()
print(number, flush=True)
word = input()
if number == "1":
    open(folder + "word", "w").write(word)
    open(folder + "nextpass.in", "w").write("2\\n")
    sys.exit(42)
sys.exit(42 if word == open(folder + "word").read() else 43)
"""
    checker = Checker("kattis", program=interactor, language="python3", interactive=True, passes=2)
    actual = judge("python3", "input()\nprint('same')", ("1\n", ""), checker=checker)
    assert actual.verdict == "accepted", actual
    assert judge("python3", "print(input())", ("1\n", ""), checker=checker).verdict == "wrong_answer"


SCORER = """
import sys
value = int(sys.stdin.read())
if value < 0:
    sys.exit(43)
open(sys.argv[3] + "score.txt", "w").write(str(value))
sys.exit(42)
"""


def numbered(*names):
    return [Test(name, "stdin", name[-1], name[-1]) for name in names]


def test_a_validator_gives_scores(judge):
    checker = Checker("kattis", program=SCORER, language="python3", scores=True)
    scoring = Scoring("grader", (Group("", "continue"), Group("secret", "continue")))
    actual = judge(
        "python3", "print(input())", *numbered("secret/3", "secret/4"), checker=checker, scoring=scoring
    )
    assert (actual.verdict, actual.score, [one.score for one in actual.tests]) == (
        "accepted",
        7.0,
        [3.0, 4.0],
    )


def test_the_score_stands_beside_the_verdict(judge):
    """Two groups of 40 and 60 points; the second is broken off after its first failure."""
    groups = (
        Group("", "continue"),
        Group("secret", "continue", ("first_error", "sum", "accept_if_any_accepted")),
        Group("secret/a", "break", ("min",), 40.0),
        Group("secret/b", "break", ("min",), 60.0),
    )
    names = ("secret/a/1", "secret/a/2", "secret/b/8", "secret/b/9")
    program = "n = int(input())\nprint(n if n < 8 else 0)"
    actual = judge("python3", program, *numbered(*names), scoring=Scoring("grader", groups))
    assert (actual.verdict, actual.score, actual.passed) == ("wrong_answer", 40.0, 2)
    assert [one.test_id for one in actual.tests] == ["secret/a/1", "secret/a/2", "secret/b/8"]
    assert (
        judge("python3", "print(input())", *numbered(*names), scoring=Scoring("grader", groups)).score
        == 100.0
    )
