"""Judge untrusted programs, each in a jail. Start with `Pool`; `README.md` says what is isolated and how."""

from sandbox.contracts import (
    LARGEST,
    Checker,
    Judgement,
    Limits,
    SandboxUnavailable,
    Submission,
    Test,
    TestResult,
    Verdict,
)
from sandbox.probe import Report, probe
from sandbox.workers import Pool, judge_version

__all__ = [
    "LARGEST",
    "Checker",
    "Judgement",
    "Limits",
    "Pool",
    "Report",
    "SandboxUnavailable",
    "Submission",
    "Test",
    "TestResult",
    "Verdict",
    "judge_version",
    "probe",
]
