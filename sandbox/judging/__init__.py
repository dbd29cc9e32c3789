"""Judging: one submission from source to judgement, in one process.

`judge.Judge` is the entry, `runs.Runs` runs the tests and forms their verdicts; outputs are compared by
`compare.py`, `compatibility.py` or a checker program (`checker_programs.py`), and values of function tests by
`functions.py`.
"""

from sandbox.judging.checker_programs import CheckerFailed, parts_of
from sandbox.judging.compare import first_difference, outputs_match
from sandbox.judging.judge import JUDGE_VERSION, Judge, judge_error

__all__ = [
    "JUDGE_VERSION",
    "CheckerFailed",
    "Judge",
    "first_difference",
    "judge_error",
    "outputs_match",
    "parts_of",
]
