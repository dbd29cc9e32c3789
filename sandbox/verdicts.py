"""The verdicts: one enumeration for the judge, the store's tables, the claims of sources, and reports."""

from __future__ import annotations

from typing import Literal, get_args

ProgramVerdict = Literal[
    "accepted",
    "wrong_answer",
    "runtime_error",
    "time_limit_exceeded",
    "memory_limit_exceeded",
    "output_limit_exceeded",
    "compile_error",
    "no_program",
]
"""What can be said of a program, or of an answer without one (`no_program`)."""

NoVerdict = Literal["language_unavailable", "judge_error"]
"""What says something about this machine or the judge, and nothing about the program."""

Verdict = ProgramVerdict | NoVerdict

PROGRAM_VERDICTS: tuple[ProgramVerdict, ...] = get_args(ProgramVerdict)
NO_VERDICTS: tuple[NoVerdict, ...] = get_args(NoVerdict)
VERDICTS: tuple[Verdict, ...] = (*PROGRAM_VERDICTS, *NO_VERDICTS)
