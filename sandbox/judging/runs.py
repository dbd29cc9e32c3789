"""The runs of one submission: its jail, its tests in order and several at a time, and what each run says."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import takewhile

from sandbox.building import Builder, Program, encoded, with_run_time
from sandbox.contracts import MIB, Output, Submission, Test, TestResult, Verdict
from sandbox.isolation import JailDied, Run, protocol, sealed
from sandbox.judging.assertions import (
    MAX_AT_ONCE,
    AssertingJailFailed,
    AssertingJails,
    PreambleRefused,
    Report,
)
from sandbox.judging.checker_programs import CheckerFailed, CheckerProgram
from sandbox.judging.compare import first_difference, outputs_match
from sandbox.judging.functions import Job, answer_matches, make_job, make_job_beside_the_program, shown_answer
from sandbox.judging.outcomes import fault, last_line, report_verdict, result_of
from sandbox.languages import Language

NEAR_LIMIT = 1.1  # a program may run this far over its time limit, and is then run once more
ATTEMPTS = 2  # per test, where the jail itself breaks

# Tests go to the supervisor several at a time: what a message costs is shared, and what a failure makes
# superfluous stays small.
BATCH_CPU_S = 0.1
BATCH_BYTES = 8 * MIB


class Runs:
    """One submission's program with its checker, judged test by test. Raises CompileError where it cannot
    be built.
    """

    def __init__(
        self, submission: Submission, language: Language, builder: Builder, asserting: AssertingJails
    ) -> None:
        self.submission, self.group = submission, builder.isolation.group
        self.limits = with_run_time(submission.limits, language)
        self.program = Program(
            language,
            submission.preamble + submission.program,
            self.limits,
            submission.limits.memory_mb,
            builder,
            self.group,
        )
        self.outputs: dict[str, Output] = {}  # {test: what it wrote}, of the tests that ran
        self.asserting = asserting
        self.isolated: bool | None = (
            None  # whether all function tests so far were judged out of the program's reach
        )
        self.jobs: dict[int, Job] = {}  # of function tests, by the test's identity
        self.checker = CheckerProgram(submission.checker, builder) if submission.checker.is_program else None
        self.memory_kills = self.group.out_of_memory_kills() if self.group else 0

    def __enter__(self) -> Runs:
        return self

    def __exit__(self, *_: object) -> None:
        self.program.close()
        if self.checker:
            self.checker.close()

    def results(self) -> Iterator[TestResult]:
        """One result per test, in order; a judge_error where the jail broke twice. Raises CompileError for
        Python.
        """
        tests, at, size = self.submission.tests, 0, 1
        while at < len(tests):
            results = self._judge_batch(self._of_one_kind(take_batch(tests, at, size)))
            yield from results
            at += len(results)
            size = next_size(results)

    def _of_one_kind(self, tests: Sequence[Test]) -> Sequence[Test]:
        """As many of the first tests as run in the same way."""
        if tests[0].mode == "stdin":
            return tests
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
        return results

    def _run(self, tests: Sequence[Test]) -> list[TestResult]:
        """Run some tests of one kind in the jail, up to the first after which the supervisor stops."""
        if self.checker and self.submission.checker.interactive:
            return [self._interact(tests[0], self.checker)]
        jobs = [self._job(test) if test.mode != "stdin" else None for test in tests]
        if jobs[0] and jobs[0].isolated:
            return self._assert(tests)
        if jobs[0]:
            self.isolated = self.isolated is not False
        return self._run_files(tests, jobs)

    def _run_files(self, tests: Sequence[Test], jobs: Sequence[Job | None]) -> list[TestResult]:
        session = self.program.session(function=jobs[0] is not None)
        files = [descriptors(test, job) for test, job in zip(tests, jobs, strict=True)]
        try:
            runs = session.run_all(files, self.limits.time_s * NEAR_LIMIT, self.limits.wall_s)
            if runs[-1].scratch_changed:
                self.program.close()
            results: list[TestResult] = []
            for test, run, job, own in zip(tests, runs, jobs, files, strict=False):
                results.append(self._result(test, run, job, own))
                if self.submission.stop_at_first_failure and results[-1].verdict != "accepted":
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
            runs, reports = self.asserting.run(
                self.program.session(function=True), files, [self._job(test).request for test in tests],
                self.submission.preamble, self.limits, self.limits.time_s * NEAR_LIMIT,
            )  # fmt: skip
            if runs[-1].scratch_changed:
                self.program.close()
            results: list[TestResult] = []
            for test, run, report, own in zip(tests, runs, reports, files, strict=False):
                results.append(self._asserted(test, run, report, own))
                if self.submission.stop_at_first_failure and results[-1].verdict != "accepted":
                    break
            return results
        except AssertingJailFailed as error:
            self.program.close()
            return [TestResult(tests[0].test_id, "judge_error", detail=str(error))]
        except PreambleRefused:
            return [self._beside_the_program(tests[0])]
        finally:
            for own in files:
                for file in own:
                    os.close(file)

    def _asserted(self, test: Test, run: Run, report: Report, files: tuple[int, ...]) -> TestResult:
        limit = self.limits.output_bytes
        verdict, detail = self._fault(run)
        if verdict in (None, "runtime_error") and "uncrossable" in report.said:
            return self._beside_the_program(test)
        self.isolated = self.isolated is not False and report.isolated
        if self.submission.keep_bytes:
            self.outputs[test.test_id] = self._kept(test, files)
        if verdict == "runtime_error":
            detail = f"{detail}; {last_line(files[2])}".strip("; ")
        if verdict in (None, "runtime_error"):
            found = report_verdict(report, self._job(test), self.submission.checker, self.limits)
            verdict, detail = (
                found
                if verdict is None or found[0] not in ("accepted", "runtime_error")
                else (verdict, detail)
            )
        return result_of(test, verdict, run, os.pread(files[1], min(run.output_bytes, limit), 0), detail)

    def _beside_the_program(self, test: Test) -> TestResult:
        """Run a test that cannot be taken apart from the program."""
        self.isolated = False
        return self._run_files([test], [make_job_beside_the_program(test, self.submission.entry_point)])[0]

    def _interact(self, test: Test, interactor: CheckerProgram) -> TestResult:
        """Run program and interactor against each other."""
        answer = encoded(test.expected_output or "")
        errors = os.memfd_create("stderr")
        try:
            run, right, detail = interactor.interact(
                self.program,
                errors,
                encoded(test.input),
                answer,
                self.limits.time_s * NEAR_LIMIT,
                self.limits.wall_s,
            )
            verdict, fault_detail = self._fault(run)
            if verdict is None or (verdict == "runtime_error" and right is not None):
                verdict = "accepted" if right else "wrong_answer"
            elif verdict == "runtime_error":
                detail = f"{fault_detail}; {last_line(errors)}".strip("; ")
            else:
                detail = fault_detail
        finally:
            os.close(errors)
        return result_of(test, verdict, run, b"", detail)

    def _result(self, test: Test, run: Run, job: Job | None, files: tuple[int, ...]) -> TestResult:
        limit = self.limits.output_bytes
        output = os.pread(files[1], min(run.output_bytes, limit), 0)
        if self.submission.keep_bytes:
            self.outputs[test.test_id] = self._kept(test, files)
        verdict, detail = self._fault(run)
        if verdict is None and job is None:
            verdict, detail = self._compare(test, output)
        elif verdict is None and job is not None:
            verdict, detail = self._check_answer(os.pread(files[4], limit, 0), job)
        elif verdict == "runtime_error":
            detail = f"{detail}; {last_line(files[2])}".strip("; ")
        return result_of(test, verdict or "accepted", run, output, detail)

    def _kept(self, test: Test, files: tuple[int, ...]) -> Output:
        texts = (
            os.pread(file, self.submission.keep_bytes, 0).decode("utf-8", "replace") for file in files[1:3]
        )
        return Output(test.test_id, *texts)

    def _fault(self, run: Run) -> tuple[Verdict | None, str]:
        verdict, detail = fault(run, self.limits)
        if verdict is not None and self._ran_out_of_memory():
            return "memory_limit_exceeded", self._memory_detail()
        return verdict, detail

    def _compare(self, test: Test, output: bytes) -> tuple[Verdict, str]:
        if self.checker:
            stdin, answer = encoded(test.input), encoded(test.expected_output or "")
            try:
                right, said = self.checker.judge(stdin, output, answer)
            except CheckerFailed as error:
                return "judge_error", str(error)
            return ("accepted", "") if right else ("wrong_answer", said)
        if test.expected_output is None:
            return "accepted", ""
        expected = encoded(test.expected_output)
        if outputs_match(output, expected, self.submission.checker):
            return "accepted", ""
        return "wrong_answer", first_difference(output, expected, self.submission.checker)

    def _check_answer(self, answer: bytes, job: Job) -> tuple[Verdict, str]:
        if answer_matches(answer, job, self.submission.checker):
            return "accepted", ""
        return "wrong_answer" if answer else "runtime_error", shown_answer(answer)

    def _ran_out_of_memory(self) -> bool:
        """Whether the control group has killed for memory since the last look."""
        before = self.memory_kills
        self.memory_kills = self.group.out_of_memory_kills() if self.group else 0
        return self.memory_kills > before

    def _memory_detail(self) -> str:
        return f"used more than {self.limits.memory_mb} MB"


def take_batch(tests: Sequence[Test], start: int, size: int) -> Sequence[Test]:
    """At most `size` tests of one kind from `start` on, one at least, as far as their files are small."""
    first = tests[start]
    held, end = 0, start
    while end < len(tests) and end - start < size:
        test = tests[end]
        held += len(test.input) + len(test.expected_output or "")
        if end > start and (held > BATCH_BYTES or (test.mode == "stdin") != (first.mode == "stdin")):
            break
        end += 1
    return tests[start:end]


def next_size(results: Sequence[TestResult]) -> int:
    """Twice as many tests as the last time, if that does not take too long or hold too many descriptors."""
    mean_cpu_s = sum(result.cpu_s for result in results) / len(results)
    return max(
        1, min(2 * len(results), protocol.MAX_DESCRIPTORS // 5, int(BATCH_CPU_S / (mean_cpu_s + 1e-6)))
    )


def descriptors(test: Test, job: Job | None) -> tuple[int, ...]:
    """Standard input, output and error of a run, and for functions job and result."""
    files = standard_files(encoded(test.input) if job is None else b"")
    return files if job is None else (*files, sealed(job.request), os.memfd_create("result"))


def standard_files(stdin: bytes) -> tuple[int, ...]:
    return sealed(stdin), os.memfd_create("stdout"), os.memfd_create("stderr")
