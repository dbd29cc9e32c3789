"""Judging: one submission from source to judgement, in one process.

`judge.Judge` is the entry, `runs.Runs` runs the tests and forms their verdicts; outputs are compared by
`compare.py`, `compatibility.py` or a checker program (`checker_programs.py`), and values of function tests by
`functions.py`.
"""

from sandbox.judging.checker_programs import CheckerFailed, checker_parts
from sandbox.judging.compare import WITH_FLAGS, first_difference, outputs_match
from sandbox.judging.judge import JUDGE_VERSION, Judge, judge_error
from sandbox.judging.testlib_standard import STANDARD_CHECKERS

__all__ = [
    "JUDGE_VERSION",
    "STANDARD_CHECKERS",
    "WITH_FLAGS",
    "CheckerFailed",
    "Judge",
    "checker_parts",
    "first_difference",
    "judge_error",
    "outputs_match",
]
