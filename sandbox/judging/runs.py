"""The runs of one submission: its jail, its tests in order, several at a time, and their verdicts."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import takewhile

from sandbox.building import Builder, Program, compile_limits, encoded, with_run_time
from sandbox.contracts import Limits, Output, Submission, Test, TestResult, Verdict
from sandbox.isolation import JailDied, Run
from sandbox.judging.assertions import (
    MAX_AT_ONCE,
    AssertionJailFailed,
    AssertionJails,
    PreambleRefused,
    Report,
)
from sandbox.judging.batches import (
    Surroundings,
    descriptors,
    next_size,
    standard_files,
    surroundings,
    take_batch,
    with_preamble,
)
from sandbox.judging.checker_programs import CheckerFailed
from sandbox.judging.checkers import Checkers
from sandbox.judging.feedback import Feedback, with_feedback
from sandbox.judging.fetching import Fetched, fetch
from sandbox.judging.functions import Job, answer_matches, make_job, make_unisolated_job, shown_answer
from sandbox.judging.graders import Grader
from sandbox.judging.outcomes import last_line, make_result, ran_out_of_heap, report_verdict, run_verdict
from sandbox.languages import Language

NEAR_LIMIT = 1.1  # a program may run this far over its time limit, and is then run once more
ATTEMPTS = 2  # per test, where the jail itself breaks


class Runs:
    """One submission's program with its checker, judged test by test. Raises CompileError where it cannot
    be built.
    """

    def __init__(
        self, submission: Submission, language: Language, builder: Builder, assertion_jails: AssertionJails
    ) -> None:
        self.submission, self.group = submission, builder.isolation.group
        self.language, self.builder = language, builder
        # A score may depend on the tests after a failure.
        self.stops_at_failure = submission.stop_at_first_failure and submission.scoring is None
        self.limits = with_run_time(submission.limits, language)
        self.surroundings = surroundings(submission.tests[0])
        self.program = self._build(self.surroundings)
        self.outputs: dict[str, Output] = {}  # {test: what it wrote}, of the tests that ran
        self.fetched: Fetched = ((), "")
        self.assertion_jails = assertion_jails
        # Whether all function tests so far were judged out of the program's reach.
        self.isolated: bool | None = None
        self.jobs: dict[int, Job] = {}  # of function tests, by the test's identity
        self.checkers = Checkers(submission.checker, builder)
        program = submission.scoring.grader if submission.scoring else None
        self.grader = Grader(program, builder) if program else None
        self.keeps_errors, self.errors_overflowed = True, False  # of the runs to come, and of the last one
        self.memory_kills = self.group.out_of_memory_kills() if self.group else 0

    def _build(self, surroundings: Surroundings) -> Program:
        """The program with the arguments and files of a test. Raises CompileError."""
        arguments, files = surroundings
        beside = dict(self.submission.files)
        return Program(
            self.language,
            with_preamble(self.submission.preamble, self.submission.program),
            self.limits,
            self.submission.limits.memory_mb,
            self.builder,
            self.group,
            arguments=arguments,
            files=beside,
            scratch_files=beside | dict(files),
            collects=bool(self.submission.fetch_files),
            compiler=compile_limits(self.submission.compile_time_s),
            may_share=not (
                self.submission.keep_bytes
                or self.submission.fetch_files
                or self.submission.checker.interactive
                or self.submission.checker.leaves_feedback
            ),
        )

    def _surround(self, test: Test) -> None:
        """Give the program the arguments and files of a test, in a jail of its own if they are others."""
        if (wanted := surroundings(test)) != self.surroundings:
            self.program.close()
            self.program, self.surroundings = self._build(wanted), wanted

    def __enter__(self) -> Runs:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.program.release()
        else:
            self.program.close()
        self.checkers.close()

    def results(self) -> Iterator[TestResult]:
        """One result per test, in order; a judge_error where the jail broke twice. Raises CompileError for
        Python.
        """
        tests, at, size = self.submission.tests, 0, 1
        names, scoring = [test.test_id for test in tests], self.submission.scoring
        known: dict[str, TestResult] = {}
        while at < len(tests):
            if scoring and scoring.skips(names[at], names, known, self.grader):
                at += 1
                continue
            results = self._judge_batch(self._of_one_kind(take_batch(tests, at, size)))
            yield from results
            known.update((result.test_id, result) for result in results)
            at += len(results)
            size = next_size(results)

    def score(self, results: Sequence[TestResult]) -> float | None:
        """The score by the problem's rules; None without any, or without results. Raises CheckerFailed."""
        scoring = self.submission.scoring
        if scoring is None or not results:
            return None
        names = [test.test_id for test in self.submission.tests]
        return scoring.score(names, {result.test_id: result for result in results}, self.grader)

    def _of_one_kind(self, tests: Sequence[Test]) -> Sequence[Test]:
        """The longest prefix of the tests that run in the same way."""
        if self.submission.fetch_files:
            return tests[:1]
        if tests[0].mode == "stdin":
            return list(takewhile(lambda test: surroundings(test) == surroundings(tests[0]), tests))
        isolated = self._job(tests[0]).isolated
        same = list(takewhile(lambda test: self._job(test).isolated == isolated, tests))
        return same[:MAX_AT_ONCE] if isolated else same

    def _job(self, test: Test) -> Job:
        if id(test) not in self.jobs:
            self.jobs[id(test)] = make_job(test, self.submission.entry_point)
        return self.jobs[id(test)]

    def _judge_batch(self, tests: Sequence[Test]) -> list[TestResult]:
        """Results of the first tests, one at least."""
        complaint = ""
        for _ in range(ATTEMPTS + (len(tests) > 1)):
            try:
                return self._judge(tests)
            except CheckerFailed as error:
                return [TestResult(tests[0].test_id, "judge_error", detail=str(error))]
            except JailDied as error:
                complaint = str(error)
                self.program.close()
                out_of_memory = (
                    self._ran_out_of_memory()
                )  # the kernel chose the supervisor instead of the program
                if out_of_memory and len(tests) == 1:
                    return [
                        TestResult(tests[0].test_id, "memory_limit_exceeded", detail=self._memory_detail())
                    ]
                tests = tests[:1]
        return [TestResult(tests[0].test_id, "judge_error", detail=complaint)]

    def _judge(self, tests: Sequence[Test]) -> list[TestResult]:
        results, limit_s = self._run(tests), self.limits.time_s
        for number, result in enumerate(results):
            if result.verdict == "time_limit_exceeded" and limit_s < result.cpu_s <= limit_s * NEAR_LIMIT:
                again = self._run([tests[number]])
                results[number] = min(result, again[0], key=lambda result: result.cpu_s)
        if results[-1].verdict == "output_limit_exceeded" and self.errors_overflowed:
            again = self._without_errors(tests[len(results) - 1])
            if again[0].verdict != "time_limit_exceeded":  # a flood without end stays what it is
                results[-1:] = again
        return results

    def _without_errors(self, test: Test) -> list[TestResult]:
        """Run a test again whose standard error was larger than the limit, which is for outputs alone: with
        nobody who keeps it.
        """
        self.keeps_errors = False
        try:
            return self._run([test])
        finally:
            self.keeps_errors = True

    def _run(self, tests: Sequence[Test]) -> list[TestResult]:
        """Run some tests of one kind in the jail, up to the first after which the supervisor stops."""
        self._surround(tests[0])
        if self.submission.checker.leaves_feedback:
            return [self._run_in_passes(tests[0])]
        if self.submission.checker.interactive:
            return [self._interact(tests[0])]
        jobs = [self._job(test) if test.mode != "stdin" else None for test in tests]
        if jobs[0] and jobs[0].isolated:
            return self._assert(tests)
        if jobs[0]:
            self.isolated = self.isolated is not False
        return self._run_files(tests, jobs)

    def _run_in_passes(self, test: Test) -> TestResult:
        """Run a test once or, where its checker asks for it, again on the input that the checker has left."""
        checker = self.checkers.program(self.checkers.of(test))
        checker.given, slowest_s = {}, 0.0
        for _ in range(self.submission.checker.passes):
            checker.feedback = Feedback()
            interactive = self.submission.checker.interactive
            result = self._interact(test) if interactive else self._run_files([test], [None])[0]
            slowest_s = max(slowest_s, result.cpu_s)
            result, next_input = with_feedback(replace(result, cpu_s=slowest_s), checker.feedback)
            if next_input is None:
                return result
            test, checker.given = replace(test, input=next_input), checker.feedback.retained
        complaint = f"the checker asks for more than {self.submission.checker.passes} passes"
        return replace(result, verdict="judge_error", detail=complaint)

    def _run_files(self, tests: Sequence[Test], jobs: Sequence[Job | None]) -> list[TestResult]:
        session = self.program.session(function=jobs[0] is not None)
        files = [descriptors(test, job, self.keeps_errors) for test, job in zip(tests, jobs, strict=True)]
        try:
            runs = session.run_all(files, self.limits.time_s * NEAR_LIMIT, self.limits.wall_s)
            if self.program.is_sharing and must_run_alone(runs[-1], self.limits):
                self.program.share_no_more()
                if len(runs) == 1:
                    return self._run_files(tests[:1], jobs[:1])
                runs.pop()
            if self.submission.fetch_files:
                self.fetched = fetch(session, self.submission.fetch_files)
            if runs[-1].scratch_changed:
                self.program.close()
            results: list[TestResult] = []
            for test, run, job, own in zip(tests, runs, jobs, files, strict=False):
                results.append(self._result(test, run, job, own))
                if self.stops_at_failure and results[-1].verdict != "accepted":
                    break
            return results
        finally:
            for own in files:
                for file in own:
                    os.close(file)

    def _assert(self, tests: Sequence[Test]) -> list[TestResult]:
        """Run function tests whose assertions have a jail of their own."""
        files = [standard_files(b"") for _ in tests]
        try:
            runs, reports = self.assertion_jails.run(
                self.program.session(function=True), files, [self._job(test).request for test in tests],
                self.submission.preamble, self.limits, self.limits.time_s * NEAR_LIMIT,
            )  # fmt: skip
            if runs[-1].scratch_changed:
                self.program.close()
            results: list[TestResult] = []
            for test, run, report, own in zip(tests, runs, reports, files, strict=False):
                results.append(self._asserted(test, run, report, own))
                if self.stops_at_failure and results[-1].verdict != "accepted":
                    break
            return results
        except AssertionJailFailed as error:
            self.program.close()
            return [TestResult(tests[0].test_id, "judge_error", detail=str(error))]
        except PreambleRefused:
            return [self._run_unisolated(tests[0])]
        finally:
            for own in files:
                for file in own:
                    os.close(file)

    def _asserted(self, test: Test, run: Run, report: Report, files: tuple[int, ...]) -> TestResult:
        limit = self.limits.output_bytes
        verdict, detail = self._run_verdict(run)
        if verdict in (None, "runtime_error") and "not_plain_data" in report.said:
            return self._run_unisolated(test)
        self.isolated = self.isolated is not False and report.isolated
        if self.submission.keep_bytes:
            self.outputs[test.test_id] = self._retained(test, files)
        if verdict == "runtime_error":
            detail = f"{detail}; {last_line(files[2])}".strip("; ")
        if verdict in (None, "runtime_error"):
            outcome = report_verdict(report, self._job(test), self.submission.checker, self.limits)
            verdict, detail = (
                outcome
                if verdict is None or outcome[0] not in ("accepted", "runtime_error")
                else (verdict, detail)
            )
        return make_result(test, verdict, run, os.pread(files[1], min(run.output_bytes, limit), 0), detail)

    def _run_unisolated(self, test: Test) -> TestResult:
        """Run a test in the program's own jail: its assertions need values that are not plain data."""
        self.isolated = False
        return self._run_files([test], [make_unisolated_job(test, self.submission.entry_point)])[0]

    def _interact(self, test: Test) -> TestResult:
        """Run program and interactor against each other."""
        answer = encoded(test.expected_output or "")
        errors = os.memfd_create("stderr")
        try:
            run, right, detail = self.checkers.program(self.checkers.of(test)).interact(
                self.program,
                errors,
                encoded(test.input),
                answer,
                self.limits.time_s * NEAR_LIMIT,
                self.limits.wall_s,
            )
            written = self.checkers.program(self.checkers.of(test)).written
            verdict, fault_detail = self._run_verdict(run)
            was_refused = run.ending and right is False  # before the program went over a limit
            if verdict is None or was_refused or (verdict == "runtime_error" and right is not None):
                verdict = "accepted" if right else "wrong_answer"
                if right:
                    verdict, refusal = self.checkers.compare_written(test, written)
                    detail = refusal or detail
            elif verdict == "runtime_error":
                detail = f"{fault_detail}; {last_line(errors)}".strip("; ")
            else:
                detail = fault_detail
        finally:
            os.close(errors)
        return make_result(test, verdict, run, b"", detail)

    def _result(self, test: Test, run: Run, job: Job | None, files: tuple[int, ...]) -> TestResult:
        limit = self.limits.output_bytes
        self.errors_overflowed = self.keeps_errors and run.error_bytes > limit >= run.output_bytes
        output = os.pread(files[1], min(run.output_bytes, limit), 0)
        if self.submission.keep_bytes or self.submission.fetch_files:
            self.outputs[test.test_id] = self._retained(test, files)
        verdict, detail = self._run_verdict(run)
        if verdict == "runtime_error" and ran_out_of_heap(self.program.language, files[2]):
            verdict, detail = "memory_limit_exceeded", last_line(files[2])
        if verdict is None and job is None:
            verdict, detail = self.checkers.compare(test, output)
            # A thread that has died of it may leave the others to go on.
            if verdict == "wrong_answer" and ran_out_of_heap(self.program.language, files[2]):
                verdict, detail = "memory_limit_exceeded", last_line(files[2])
        elif verdict is None and job is not None:
            verdict, detail = self._check_answer(os.pread(files[4], limit, 0), job)
        elif verdict == "runtime_error":
            detail = f"{detail}; {last_line(files[2])}".strip("; ")
        return make_result(test, verdict or "accepted", run, output, detail)

    def _retained(self, test: Test, files: tuple[int, ...]) -> Output:
        stdout, stderr = (
            os.pread(file, self.submission.keep_bytes, 0).decode("utf-8", "replace") for file in files[1:3]
        )
        return Output(test.test_id, stdout, stderr, *self.fetched)

    def _run_verdict(self, run: Run) -> tuple[Verdict | None, str]:
        verdict, detail = run_verdict(run, self.limits)
        if verdict is not None and self._ran_out_of_memory():
            return "memory_limit_exceeded", self._memory_detail()
        return verdict, detail

    def _check_answer(self, answer: bytes, job: Job) -> tuple[Verdict, str]:
        if answer_matches(answer, job, self.submission.checker):
            return "accepted", ""
        return "wrong_answer" if answer else "runtime_error", shown_answer(answer)

    def _ran_out_of_memory(self) -> bool:
        """Whether the kernel has killed a process of the control group for memory since the last check."""
        before = self.memory_kills
        self.memory_kills = self.group.out_of_memory_kills() if self.group else 0
        return self.memory_kills > before

    def _memory_detail(self) -> str:
        return f"used more than {self.limits.memory_mb} MB"


def must_run_alone(run: Run, limits: Limits) -> bool:
    """Whether a run in a shared jail counts only if it ends so in a jail of its own, too: it ended neither by
    itself nor by its time, or it changed something.
    """
    verdict, _ = run_verdict(run, limits)
    by_itself = verdict in (None, "time_limit_exceeded") or (verdict == "runtime_error" and not run.signal)
    return run.scratch_changed or not by_itself
