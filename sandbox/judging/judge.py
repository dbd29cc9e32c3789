"""Judging one submission: build the program, start its jail, run the tests in order, sum up."""

from __future__ import annotations

from pathlib import Path

from sandbox.building import Builder, CompileError, LanguageUnavailable, ProvenLanguages, with_neighbours
from sandbox.contracts import Judgement, Output, Submission, TestResult, Verdict, first_failing
from sandbox.isolation import Isolation, JailDied
from sandbox.judging.assertions import AssertionJails
from sandbox.judging.checker_programs import CheckerFailed
from sandbox.judging.runs import Runs

JUDGE_VERSION = "6"


class Judge:
    """Judges submissions one after the other, with an isolation that the caller closes. A context manager.

    Between submissions it keeps the folder of built programs, and the jails that compile Python and run
    assertions; with `shared_jails` also one that runs plain Python programs.
    """

    def __init__(self, isolation: Isolation, cache: Path, shared_jails: bool = False) -> None:
        self.isolation = isolation
        self.builder = Builder(isolation, cache, shared_jails)
        self.languages = ProvenLanguages(self.builder)
        self.assertion_jails = AssertionJails(isolation)

    def __enter__(self) -> Judge:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all jails."""
        self.builder.close()
        self.assertion_jails.close()

    def judge(self, submission: Submission) -> Judgement:
        """The judgement. Raises SandboxUnavailable where no jail can start."""
        tier = self.isolation.tier
        if not submission.tests:
            return judge_error(submission, "there are no tests", tier)
        if not submission.program.strip():
            # Whatever the language: an answer without a program is a failure of its author.
            return conclude(submission, tier, verdict="no_program")
        try:
            language, toolchain = self.languages.require(submission.language)
        except JailDied as error:
            return judge_error(submission, f"while trying its language: {error}", tier)
        except LanguageUnavailable as error:
            return conclude(submission, tier, verdict="language_unavailable", compile_output=str(error))
        if submission.files:
            language = with_neighbours(language)
        if not language.in_landlock and self.isolation.kind == "landlock":
            reason = f"language {submission.language} with files beside it needs the first kind of jail"
            return conclude(submission, tier, toolchain, "language_unavailable", compile_output=reason)
        if not language.in_supervisor and any(test.mode != "stdin" for test in submission.tests):
            reason = "function tests need Python"
            return conclude(submission, tier, toolchain, "language_unavailable", compile_output=reason)
        try:
            with Runs(submission, language, self.builder, self.assertion_jails) as runs:
                toolchain = runs.program.stamped(toolchain)
                results, outputs = run_tests(runs)
                score = runs.score(results)
                tier += "+shared" if runs.program.has_shared else ""
        except CompileError as error:
            return conclude(submission, tier, toolchain, "compile_error", compile_output=str(error))
        except JailDied as error:
            return judge_error(submission, f"while compiling: {error}", tier, toolchain)
        except CheckerFailed as error:
            return judge_error(submission, str(error), tier, toolchain)
        built = runs.program.built
        return conclude(
            submission, tier, toolchain, results=results, outputs=outputs, isolated=runs.isolated,
            compile_s=built.compile_s if built else 0.0, score=score,
        )  # fmt: skip


def run_tests(runs: Runs) -> tuple[tuple[TestResult, ...], tuple[Output, ...]]:
    """Results and outputs of the tests in order, up to the first failure unless all are asked for."""
    results: list[TestResult] = []
    for result in runs.results():
        results.append(result)
        if runs.stops_at_failure and result.verdict != "accepted":
            break
    outputs = tuple(runs.outputs[result.test_id] for result in results if result.test_id in runs.outputs)
    return tuple(results), outputs


def conclude(
    submission: Submission,
    tier: str,
    toolchain: str = "",
    verdict: Verdict | None = None,
    results: tuple[TestResult, ...] = (),
    compile_output: str = "",
    outputs: tuple[Output, ...] = (),
    isolated: bool | None = None,
    compile_s: float = 0.0,
    score: float | None = None,
) -> Judgement:
    """The judgement of a submission.

    Without a verdict of its own, it gets the verdict of its first failing test.
    """
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
        tier=tier,
        judge_version=JUDGE_VERSION,
        toolchain=toolchain,
        outputs=outputs,
        isolated_check=isolated,
        score=score,
        compile_s=compile_s,
    )


def judge_error(submission: Submission, detail: str, tier: str, toolchain: str = "") -> Judgement:
    """The judgement for a failure of the judge itself, which is never a reward."""
    test_id = submission.tests[0].test_id if submission.tests else ""
    failure = TestResult(test_id, "judge_error", detail=detail)
    return conclude(submission, tier, toolchain, "judge_error", (failure,))
