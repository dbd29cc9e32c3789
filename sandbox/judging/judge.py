"""Judging one submission: build it, stand up the jail, run the tests in order, say what each is worth."""

from __future__ import annotations

from pathlib import Path

from sandbox.building import Builder, CompileError, LanguageUnavailable, require_usable
from sandbox.contracts import Judgement, Output, Submission, TestResult, Verdict, first_failing
from sandbox.isolation import native, tiers
from sandbox.isolation.session import JailDied
from sandbox.judging.checker_programs import CheckerFailed
from sandbox.judging.runs import Runs

JUDGE_VERSION = "3"


class Judge:
    """Judges submissions one after the other. Holds between them the folder of built programs, and jails that compile.

    A context manager.
    """

    def __init__(self, cache: Path) -> None:
        self.builder = Builder(cache)
        self.supervisor = native.supervisor(cache)

    def __enter__(self) -> Judge:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all jails."""
        self.builder.close()

    def judge(self, submission: Submission) -> Judgement:
        """The judgement. Raises SandboxUnavailable where no jail can stand."""
        try:
            language, toolchain = require_usable(submission.language)
        except LanguageUnavailable as error:
            return conclude(submission, "language_unavailable", (), str(error), "")
        source = submission.preamble + submission.program
        if not language.in_supervisor and any(test.mode != "stdin" for test in submission.tests):
            return conclude(submission, "language_unavailable", (), "function tests need Python", toolchain)
        results: list[TestResult] = []
        outputs: tuple[Output, ...] = ()
        try:
            with Runs(submission, language, source, self.builder, self.supervisor) as runs:
                for result in runs.results():
                    results.append(result)
                    if submission.stop_at_first_failure and result.verdict != "accepted":
                        break
                outputs = tuple(
                    runs.outputs[result.test_id] for result in results if result.test_id in runs.outputs
                )
        except CompileError as error:
            return conclude(submission, "compile_error", (), str(error), toolchain)
        except JailDied as error:
            return judge_error(submission, f"while compiling: {error}", toolchain)
        except CheckerFailed as error:
            return judge_error(submission, str(error), toolchain)
        return conclude(submission, None, tuple(results), "", toolchain, outputs)


def conclude(
    submission: Submission, verdict: Verdict | None, results: tuple[TestResult, ...], compile_output: str, toolchain: str,
    outputs: tuple[Output, ...] = (),
) -> Judgement:  # fmt: skip
    """Sum up. Without a verdict of its own, the submission gets its first failing test's."""
    failure = first_failing(results)
    return Judgement(
        key=submission.key,
        verdict=verdict or (failure.verdict if failure else "accepted"),
        passed=sum(result.verdict == "accepted" for result in results),
        total=len(submission.tests),
        first_failure=failure.test_id if failure else None,
        tests=results,
        cpu_s=max((result.cpu_s for result in results), default=0.0),
        memory_mb=max((result.memory_mb for result in results), default=0.0),
        compile_output=compile_output,
        tier=tiers.current_tier(),
        judge_version=JUDGE_VERSION,
        toolchain=toolchain,
        outputs=outputs,
    )


def judge_error(submission: Submission, detail: str, toolchain: str = "") -> Judgement:
    """A failure of our own, which is never a reward."""
    first = submission.tests[0].test_id if submission.tests else ""
    return conclude(
        submission, "judge_error", (TestResult(first, "judge_error", detail=detail),), "", toolchain
    )
