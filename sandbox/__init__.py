"""Judge untrusted programs, each in a jail. Start with `Pool`; `README.md` says what is isolated and how."""

from typing import TYPE_CHECKING, Any

from sandbox.bounds import LARGEST
from sandbox.contracts import (
    Checker,
    Judgement,
    Limits,
    SandboxUnavailable,
    Submission,
    Test,
    TestResult,
    Verdict,
)
from sandbox.processors import overload, usable_processors

if TYPE_CHECKING:
    from sandbox.workers import Pool, judge_version
else:

    def __getattr__(name: str) -> Any:
        """What judges is imported when it is first used: many readers of this package only name things."""
        if name not in ("Pool", "judge_version"):
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from sandbox import workers

        return getattr(workers, name)


__all__ = [
    "LARGEST",
    "Checker",
    "Judgement",
    "Limits",
    "Pool",
    "SandboxUnavailable",
    "Submission",
    "Test",
    "TestResult",
    "Verdict",
    "judge_version",
    "overload",
    "usable_processors",
]
