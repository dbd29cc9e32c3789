"""Judging one submission: build it, stand up the wall, run the tests in order, say what each is worth."""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Callable
from pathlib import Path

from sandbox import compiling, languages, tiers, wall
from sandbox.compare import first_difference, outputs_match
from sandbox.compiling import Builder, CompileError
from sandbox.contracts import Judgement, Limits, Submission, Test, TestResult, Verdict, first_failing
from sandbox.functions import Job, answer_matches, make_job, shown_answer
from sandbox.guest import protocol
from sandbox.languages import Language
from sandbox.session import Run, Session, WallDied, sealed, stack_bytes

JUDGE_VERSION = "2"
NEAR_LIMIT = 1.1  # a program may run this far over its time limit, and is then run once more
HEAD_CHARACTERS = 200
DETAIL_BYTES = 600
ATTEMPTS = 2  # per test, where the wall itself breaks


class Judge:
    """Judges submissions one after the other. Holds nothing between them but the folder of built programs."""

    def __init__(self, cache: Path) -> None:
        self.builder = Builder(cache)

    def judge(self, submission: Submission) -> Judgement:
        """The judgement. Raises SandboxUnavailable where no wall can stand."""
        language = languages.find_language(submission.language)
        toolchain = languages.toolchain(language) if language else None
        if language is None or toolchain is None:
            return conclude(submission, "language_unavailable", (), f"{submission.language} is not on this machine", "")
        source = submission.preamble + submission.program
        if language.name != "python3" and any(test.mode != "stdin" for test in submission.tests):
            return conclude(submission, "language_unavailable", (), "function tests need Python", toolchain)
        try:
            run = Runs(submission, language, source, self.builder)
        except CompileError as error:
            return conclude(submission, "compile_error", (), str(error), toolchain)
        except WallDied as error:
            return judge_error(submission, f"while compiling: {error}", toolchain)
        results: list[TestResult] = []
        with run:
            for test in submission.tests:
                try:
                    results.append(run.judge_test(test))
                except CompileError as error:
                    return conclude(submission, "compile_error", (), str(error), toolchain)
                if submission.stop_at_first_failure and results[-1].verdict != "accepted":
                    break
        return conclude(submission, None, tuple(results), "", toolchain)


def conclude(
    submission: Submission, verdict: Verdict | None, results: tuple[TestResult, ...], compile_output: str, toolchain: str
) -> Judgement:
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
    )


def judge_error(submission: Submission, detail: str, toolchain: str = "") -> Judgement:
    """A failure of our own, which is never a reward."""
    first = submission.tests[0].test_id if submission.tests else ""
    return conclude(submission, "judge_error", (TestResult(first, "judge_error", detail=detail),), "", toolchain)


class Runs:
    """One submission's wall: opened when first needed, opened anew when a test has soiled or broken it."""

    def __init__(self, submission: Submission, language: Language, source: str, builder: Builder) -> None:
        self.submission, self.language, self.source = submission, language, source
        limits = submission.limits
        self.limits = Limits(
            limits.time_s * language.time_factor, limits.memory_mb + language.memory_overhead_mb,
            limits.output_bytes, limits.processes + language.extra_processes, limits.wall_limit_s,
        )  # fmt: skip
        self.built = None if language.name == "python3" else builder.build(language, source)
        self.session: Session | None = None
        group = tiers.group()
        self.memory_kills = group.out_of_memory_kills() if group else 0

    def __enter__(self) -> Runs:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def judge_test(self, test: Test) -> TestResult:
        """One test's result; a judge_error where the wall broke twice."""
        complaint = ""
        for _ in range(ATTEMPTS):
            try:
                return self._judge_test(test)
            except WallDied as error:
                complaint = str(error)
                self._close()
                if self._ran_out_of_memory():  # the kernel chose the loop instead of the program
                    return TestResult(test.test_id, "memory_limit_exceeded", detail=self._memory_detail())
        return TestResult(test.test_id, "judge_error", detail=complaint)

    def _judge_test(self, test: Test) -> TestResult:
        judge_once = self._judge_output if test.mode == "stdin" else self._judge_function
        result = judge_once(test)
        limit_s = self.limits.time_s
        if result.verdict == "time_limit_exceeded" and limit_s < result.cpu_s <= limit_s * NEAR_LIMIT:
            again = judge_once(test)
            result = min(result, again, key=lambda r: r.cpu_s)
        return result

    def _judge_output(self, test: Test) -> TestResult:
        expected = None if test.expected_output is None else compiling.encoded(test.expected_output)

        def check(output: bytes) -> tuple[bool, str]:
            if expected is None or outputs_match(output, expected, self.submission.checker):
                return True, ""
            return False, first_difference(output, expected, self.submission.checker)

        return self._run(test, compiling.encoded(test.input), None, check)

    def _judge_function(self, test: Test) -> TestResult:
        job = make_job(test, self.submission.entry_point)

        def check(answer: bytes) -> tuple[bool, str]:
            if answer_matches(answer, job, self.submission.checker):
                return True, ""
            return False, shown_answer(answer)

        return self._run(test, b"", job, check)

    def _run(self, test: Test, stdin: bytes, job: Job | None, check: Callable[[bytes], tuple[bool, str]]) -> TestResult:
        session = self.session or self._open(function=job is not None)
        files = [sealed(stdin), os.memfd_create("stdout"), os.memfd_create("stderr")]
        if job:
            files += [sealed(job.request), os.memfd_create("result")]
        try:
            run = session.run(tuple(files), self.limits.time_s * NEAR_LIMIT, self.limits.wall_s)
            if run.scratch_changed:
                self._close()
            return self._result(test, run, files, check)
        finally:
            for file in files:
                os.close(file)

    def _result(self, test: Test, run: Run, files: list[int], check: Callable[[bytes], tuple[bool, str]]) -> TestResult:
        largest = max(os.fstat(files[1]).st_size, os.fstat(files[2]).st_size)
        output = os.pread(files[1], min(os.fstat(files[1]).st_size, self.limits.output_bytes), 0)
        verdict, detail = fault(run, self.limits, largest)
        if verdict is not None and self._ran_out_of_memory():
            verdict, detail = "memory_limit_exceeded", self._memory_detail()
        if verdict is None:
            answer = output if len(files) == 3 else os.pread(files[4], self.limits.output_bytes, 0)
            right, detail = check(answer)
            verdict = "accepted" if right else self._wrong(test, answer)
        elif verdict == "runtime_error":
            detail = f"{detail}; {last_line(files[2])}".strip("; ")
        return TestResult(
            test.test_id, verdict, run.cpu_s, run.wall_s, run.memory_mb, run.exit_code, run.signal,
            hashlib.blake2b(output, digest_size=16).hexdigest(),
            output[: 4 * HEAD_CHARACTERS].decode("utf-8", "replace")[:HEAD_CHARACTERS], detail,
        )  # fmt: skip

    @staticmethod
    def _wrong(test: Test, answer: bytes) -> Verdict:
        return "wrong_answer" if test.mode == "stdin" or answer else "runtime_error"

    def _open(self, function: bool) -> Session:
        """Stand up the wall and hand it the program. Raises CompileError for Python that does not compile."""
        source = compiling.encoded(self.source)
        seed = int.from_bytes(hashlib.blake2b(source, digest_size=4).digest(), "big")
        if self.built is None:
            self.session = Session(wall.Room(stack_bytes=stack_bytes(self.limits), hash_seed=seed), self.limits, tiers.group())
            outcome, run, messages = self.session.set_python(source, compiling.COMPILE_LIMITS, function)
            if outcome == protocol.COMPILE_FAILED:
                raise CompileError(messages.strip())
            if outcome == protocol.COMPILE_KILLED:
                raise CompileError(f"the Python compiler was ended by signal {run.signal} after {run.cpu_s:.1f} s")
            return self.session
        argv = self._argv(self.built)
        folders = compiling.existing(self.language.folders)
        if not argv[0].startswith("/program/"):
            folders += compiling.tool_folders(argv[0])
        room = wall.Room(tuple(folders), self.built.folder, stack_bytes=stack_bytes(self.limits))
        self.session = Session(room, self.limits, tiers.group())
        self.session.set_command(argv, wall.ENVIRONMENT | dict(self.language.environment))
        return self.session

    def _ran_out_of_memory(self) -> bool:
        """Whether the control group has killed for memory since the last look."""
        group = tiers.group()
        before, self.memory_kills = self.memory_kills, group.out_of_memory_kills() if group else 0
        return self.memory_kills > before

    def _memory_detail(self) -> str:
        return f"used more than {self.limits.memory_mb} MB"

    def _argv(self, built: compiling.Built) -> list[str]:
        words = [
            word.format(
                program="/program", source=f"/program/{self.language.source_name}", main=built.main,
                memory_mb=self.submission.limits.memory_mb, stack_kb=self.limits.memory_mb * 1024 // 2,
            )
            for word in self.language.run
        ]  # fmt: skip
        return [languages.locate(words[0]) or words[0], *words[1:]]

    def _close(self) -> None:
        if self.session is not None:
            self.session.close()
            self.session = None


def fault(run: Run, limits: Limits, largest_output: int) -> tuple[Verdict | None, str]:
    """What a run's end alone says, before its output is looked at: memory, then time, then output, then failure."""
    if run.ending == protocol.MEMORY_EXCEEDED or run.memory_mb > limits.memory_mb:
        return "memory_limit_exceeded", f"used more than {limits.memory_mb} MB"
    if run.ending == protocol.WALL_EXCEEDED:
        return "time_limit_exceeded", f"slept for {limits.wall_s:g} s"
    if run.ending == protocol.CPU_EXCEEDED or run.cpu_s > limits.time_s or run.signal == signal.SIGXCPU:
        return "time_limit_exceeded", f"used more than {limits.time_s:g} s of CPU time"
    if largest_output > limits.output_bytes or run.signal == signal.SIGXFSZ:
        return "output_limit_exceeded", f"wrote more than {limits.output_bytes} bytes"
    if run.signal is not None:
        return "runtime_error", f"ended by signal {run.signal} ({signal_name(run.signal)})"
    if run.exit_code:
        return "runtime_error", f"exit code {run.exit_code}"
    return None, ""


def signal_name(number: int) -> str:
    return signal.Signals(number).name if number in signal.Signals._value2member_map_ else "real-time signal"


def last_line(stderr: int) -> str:
    """The last line of standard error: for Python, the exception."""
    size = os.fstat(stderr).st_size
    text = os.pread(stderr, DETAIL_BYTES, max(0, size - DETAIL_BYTES)).decode("utf-8", "replace").strip()
    return text.splitlines()[-1][:HEAD_CHARACTERS] if text else ""
