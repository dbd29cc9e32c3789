"""Checkers and interactors that are programs: their calling conventions, their failures, and what a
program can do to them.
"""

from __future__ import annotations

import pytest

from sandbox import Checker, Limits

# Two numbers that add up to the input, in any order; the exit codes of testlib.
TESTLIB = r"""
#include <cstdio>
#include <cstring>
int main(int argc, char **argv) {
    if (argc != 4) return 3;
    FILE *in = fopen(argv[1], "r"), *out = fopen(argv[2], "r"), *answer = fopen(argv[3], "r");
    long sum, a, b, x, y;
    char rest[9];
    if (!in || !out || !answer || fscanf(in, "%ld", &sum) != 1) return 3;
    if (fscanf(answer, "%ld%ld", &x, &y) != 2 || x + y != sum) return 3;
    if (fscanf(out, "%ld", &a) != 1) { fprintf(stderr, "no number"); return 2; }
    if (fscanf(out, "%ld", &b) != 1) return 8;
    if (fscanf(out, "%8s", rest) == 1)
        return !strcmp(rest, "crash") ? *(volatile int *)0 : !strcmp(rest, "fail") ? 3 : 4;
    if (a == 0) return 7;
    fprintf(stderr, "%ld plus %ld", a, b);
    return a + b == sum ? 0 : 1;
}
"""
# The same as a Kattis output validator.
KATTIS = """
import sys
given, answer, feedback = open(sys.argv[1]), open(sys.argv[2]), sys.argv[3]
open(feedback + "judgemessage.txt", "w").write("kept")
output = sys.stdin.read().split()
if "fail" in output:
    sys.exit(1)
assert sum(map(int, answer.read().split())) == int(given.read())
given.seek(0)
sys.exit(42 if len(output) == 2 and sum(map(int, output)) == int(given.read()) else 43)
"""
TEST = ("10\n", "4 6\n")


@pytest.mark.parametrize(
    ("output", "verdict", "detail"),
    [
        ("3 7", "accepted", ""),
        ("10 -0", "accepted", ""),
        ("3 8", "wrong_answer", "3 plus 8"),
        ("x", "wrong_answer", "no number"),
        ("3", "wrong_answer", "ends too early"),
        ("3 7 1", "wrong_answer", "more than was asked for"),
        ("0 10", "wrong_answer", "partly right"),
        ("3 7 fail", "judge_error", "the checker ended with wait status 768"),
        ("3 7 crash", "judge_error", "the checker ended with wait status 11"),
    ],
)
def test_testlib(judge, output, verdict, detail):
    judgement = judge("python3", f"print({output!r})", TEST, checker=Checker("testlib", program=TESTLIB))
    assert (judgement.verdict, judgement.tests[0].detail) == (verdict, detail), judgement


def test_the_programs_own_failure_goes_first(judge):
    checker = Checker("testlib", program=TESTLIB)
    assert judge("python3", "print('3 7'); 1/0", TEST, checker=checker).verdict == "runtime_error"
    judgement = judge(
        "python3",
        "print(3, 7)",
        TEST,
        ("11", "5 6"),
        ("10", "5 5"),
        checker=checker,
        stop_at_first_failure=False,
    )
    assert [test.verdict for test in judgement.tests] == ["accepted", "wrong_answer", "accepted"]


@pytest.mark.parametrize(
    ("output", "verdict"), [("3 7", "accepted"), ("3 8", "wrong_answer"), ("fail", "judge_error")]
)
def test_kattis(judge, output, verdict):
    checker = Checker("kattis", program=KATTIS, language="python3")
    judgement = judge("python3", f"print({output!r})", TEST, TEST, checker=checker)
    assert judgement.verdict == verdict, judgement


def test_arguments_come_last(judge):
    program = (
        "import sys\nsys.exit(42 if sys.argv[4:] == ['case_sensitive', 'float_tolerance', '1e-6'] else 43)"
    )
    checker = Checker(
        "kattis", program=program, language="python3", arguments=("case_sensitive", "float_tolerance", "1e-6")
    )
    assert judge("python3", "pass", TEST, checker=checker).verdict == "accepted"


HEADER = "#include <stdio.h>\n#define quit(code) return code\n"
INCLUDES = (
    '#include "testlib.h"\nint main(int argc, char **argv) { FILE *out = '
    "fopen(argv[2], \"r\"); quit(fgetc(out) != 'y'); }"
)


def test_testlib_is_the_users(judge, monkeypatch):
    """Beside the checker; without it, one line that says what is missing."""
    given = Checker("testlib", program=INCLUDES, language="c", files=(("testlib.h", HEADER),))
    assert judge("python3", "print('y')", TEST, checker=given).verdict == "accepted"
    assert judge("python3", "print('n')", TEST, checker=given).verdict == "wrong_answer"
    missing = judge("python3", "print('y')", TEST, checker=Checker("testlib", program=INCLUDES, language="c"))
    assert missing.verdict == "judge_error" and "SPO_TESTLIB=" in missing.tests[0].detail


@pytest.mark.parametrize(
    ("program", "language", "complaint"),
    [
        ("int main( {", "c", "does not compile"),
        ("while True: pass", "python3", "went over its limits"),
        ("print(", "python3", "does not compile"),
        ("x", "befunge", "unknown language 'befunge'"),
    ],
)
def test_a_broken_checker_is_no_verdict_on_the_program(judge, monkeypatch, program, language, complaint):
    if "while" in program:
        program = "import os\nos.kill(os.getpid(), 24)"  # SIGXCPU, without the ten seconds
        complaint = "wait status 24"
    judgement = judge(
        "python3", "print(1)", TEST, checker=Checker("testlib", program=program, language=language)
    )
    assert judgement.verdict == "judge_error" and complaint in judgement.tests[0].detail, judgement


def test_checkers_are_checked():
    with pytest.raises(ValueError, match=r"Checker\.kind"):
        Checker("guess")
    with pytest.raises(ValueError, match=r"Checker\.program"):
        Checker("testlib")
    with pytest.raises(ValueError, match=r"Checker\.program"):
        Checker("tokens", program="x")
    with pytest.raises(ValueError, match=r"Checker\.interactive"):
        Checker("tokens", interactive=True)


# Guess the number of the input; the interactor answers < or > or =, and gives 10 tries.
INTERACTOR = r"""
#include <cstdio>
int main(int argc, char **argv) {
    long wanted, guess;
    if (fscanf(fopen(argv[1], "r"), "%ld", &wanted) != 1) return 3;
    for (int tries = 0; tries < 10; tries++) {
        if (scanf("%ld", &guess) != 1) { fprintf(stderr, "no guess"); return 2; }
        if (guess == 666) return *(volatile int *)0;
        if (guess == wanted) { printf("=\n"); fprintf(fopen(argv[2], "w"), "%d\n", tries); return 0; }
        printf(guess < wanted ? ">\n" : "<\n");
        fflush(stdout);
    }
    fprintf(stderr, "too many tries");
    return 1;
}
"""
KATTIS_INTERACTOR = """
import sys
wanted = int(open(sys.argv[1]).read())
for _ in range(10):
    guess = int(input())
    print("=" if guess == wanted else ">" if guess < wanted else "<", flush=True)
    if guess == wanted:
        sys.exit(42)
sys.exit(43)
"""
BISECT = """
low, high = 0, 1000
while True:
    middle = (low + high) // 2
    print(middle, flush=True)
    answer = input()
    if answer == "=": break
    if answer == ">": low = middle + 1
    else: high = middle
"""
BISECT_C = r"""
#include <stdio.h>
int main(void) {
    int low = 0, high = 1000;
    char answer[9];
    for (;;) {
        int middle = (low + high) / 2;
        printf("%d\n", middle);
        fflush(stdout);
        if (scanf("%8s", answer) != 1) return 5;
        if (*answer == '=') return 0;
        if (*answer == '>') low = middle + 1; else high = middle;
    }
}
"""
TALKS = {
    "testlib": Checker("testlib", program=INTERACTOR, interactive=True),
    "kattis": Checker("kattis", program=KATTIS_INTERACTOR, language="python3", interactive=True),
}
QUICK = Limits(time_s=0.5, wall_limit_s=1.5)


@pytest.mark.parametrize("kind", TALKS)
@pytest.mark.parametrize(
    ("language", "program"), [("python3", BISECT), ("c", BISECT_C)], ids=["python3", "c"]
)
def test_interactive(judge, kind, language, program):
    judgement = judge(language, program, ("700\n", ""), ("3\n", ""), checker=TALKS[kind])
    assert (judgement.verdict, judgement.passed) == ("accepted", 2), judgement


@pytest.mark.parametrize(
    ("program", "verdict", "detail"),
    [
        ("while True: print(1, flush=True); input()", "wrong_answer", "too many tries"),
        ("print('x'); input()", "wrong_answer", "no guess"),
        ("1/0", "runtime_error", "exit code 1; ZeroDivisionError: division by zero"),
        ("input()", "time_limit_exceeded", "slept for 1.5 s"),
        ("while True: pass", "time_limit_exceeded", "used more than 0.5 s of CPU time"),
        ("print(666, flush=True); input()", "judge_error", "the checker ended with wait status 11"),
    ],
)
def test_talks_that_fail(judge, program, verdict, detail):
    judgement = judge("python3", program, ("700\n", ""), checker=TALKS["testlib"], limits=QUICK)
    assert (judgement.verdict, judgement.tests[0].detail) == (verdict, detail), judgement
