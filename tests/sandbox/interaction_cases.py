"""Interactors and programs that exit at every possible moment, each with its only right verdict."""

from __future__ import annotations

from sandbox import Checker, Limits, Pool, Submission, Test

GUESS = r"""
#include <cstdio>
#include <cstdlib>
int main(int argc, char **argv) {
    int guess, secret = 7;
    for (int i = 0; i < 10; i++) {
        printf("next\n"); fflush(stdout);
        if (scanf("%d", &guess) != 1) exit(43);
        if (guess == secret) exit(42);
        printf("no\n"); fflush(stdout);
    }
    exit(43);
}
"""
GUESS_PYTHON = """
import sys
for _ in range(10):
    print("next", flush=True)
    if int(input()) == 7:
        sys.exit(42)
    print("no", flush=True)
sys.exit(43)
"""
# Says all it has to say, and waits for the answer.
CLOSING = """
import os, sys
print("2\\n3", flush=True)
os.close(1)
sys.exit(42 if sys.stdin.readline().strip() == "5" else 43)
"""
BROKEN = r"""
#include <cstdio>
#include <cstdlib>
int main() { int guess; if (scanf("%d", &guess) == 1 && guess == 1) abort(); return 43; }
"""
INTERACTORS = {
    "c++": Checker("kattis", program=GUESS, interactive=True),
    "python": Checker("kattis", program=GUESS_PYTHON, language="python3", interactive=True),
    "closing": Checker("kattis", program=CLOSING, language="python3", interactive=True),
    "broken": Checker("kattis", program=BROKEN, interactive=True),
}
# interactor, program, verdict
CASES = {
    "leaves after a guess": ("c++", "input(); print(1, flush=True)", "wrong_answer"),
    "leaves after a guess, Python": ("python", "input(); print(1, flush=True)", "wrong_answer"),
    "never reads": ("c++", "print('1\\n' * 10, flush=True)", "wrong_answer"),
    "never reads, Python": ("python", "print('1\\n' * 10, flush=True)", "wrong_answer"),
    "leaves at once": ("c++", "pass", "wrong_answer"),
    "leaves at once, Python": ("python", "pass", "wrong_answer"),
    "right, and leaves at once": ("c++", "print(7)", "accepted"),
    "right": ("c++", "input(); print(7)", "accepted"),
    "right, Python": ("python", "input(); print(7)", "accepted"),
    "right, and asks for more": ("c++", "input(); print(7, flush=True); input()", "accepted"),
    "right, and fails": ("c++", "input(); print(7, flush=True); 1 / 0", "runtime_error"),
    "fails after a guess": ("c++", "input(); print(1, flush=True); 1 / 0", "runtime_error"),
    "fails after a guess, Python": ("python", "input(); print(1, flush=True); 1 / 0", "runtime_error"),
    "fails at once": ("python", "1 / 0", "runtime_error"),
    "ten wrong guesses": ("c++", ("for _ in range(10): input(); print(1, "
                                  "flush=True); input()"), "wrong_answer"),
    "ten wrong guesses, and fails": (
        "c++", "for _ in range(10): input(); print(1, flush=True); input()\n1 / 0", "runtime_error",
    ),
    "more guesses than allowed": ("c++", ("while True: input(); print(1, "
                                          "flush=True); input()"), "wrong_answer"),
    "ten wrong guesses, and loops": (
        "c++", "for _ in range(10): input(); print(1, flush=True); input()\nwhile True: pass", "wrong_answer",
    ),
    "right, and loops": ("c++", "input(); print(7, flush=True)\nwhile True: pass", "time_limit_exceeded"),
    "reads to the end": ("closing", "import sys; print(sum(map(int, sys.stdin)))", "accepted"),
    "reads to the end, wrong": ("closing", "import sys; print(len(list(sys.stdin)))", "wrong_answer"),
    "reads to the end, and fails": ("closing", "import sys; list(sys.stdin); 1 / 0", "runtime_error"),
    "no number": ("python", "input(); print('x', flush=True); input()", "judge_error"),
    "breaks the interactor": ("broken", "print(1, flush=True); input()", "judge_error"),
    "breaks the interactor, and leaves": ("broken", "print(1, flush=True)", "judge_error"),
    "reads for ever": ("broken", "input()", "time_limit_exceeded"),
}  # fmt: skip
LIMITS = Limits(time_s=1.0, wall_limit_s=1.5)


def verdict_flips(pool: Pool, runs: int, cases: list[str] | None = None) -> dict[str, set[str]]:
    """{case: verdicts} of those that had another verdict than theirs in one of the runs."""
    chosen = cases or list(CASES)
    work = (
        Submission(
            CASES[case][1],
            "python3",
            (Test("1", "stdin", "", ""),),
            LIMITS,
            INTERACTORS[CASES[case][0]],
            key=case,
        )
        for case in chosen
        for _ in range(runs)
    )  # fmt: skip
    actual: dict[str, set[str]] = {}
    for judgement in pool.stream(work):
        if judgement.verdict != CASES[judgement.key][2]:
            actual.setdefault(judgement.key, set()).add(judgement.verdict)
    return actual
