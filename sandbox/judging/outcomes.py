"""What a run, and a report of assertions, say of a test: the verdict and a line of detail for a person."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal

from sandbox.contracts import Checker, Limits, Test, TestResult, Verdict
from sandbox.isolation import Run, protocol
from sandbox.judging.assertions import Report
from sandbox.judging.functions import Job, answer_matches, shown_answer
from sandbox.languages import Language

HEAD_CHARACTERS = 200
DETAIL_BYTES = 600
MESSAGE_BYTES = 8192  # at each end of standard error


def make_result(test: Test, verdict: Verdict, run: Run, output: bytes, detail: str) -> TestResult:
    return TestResult(
        test.test_id, verdict, run.cpu_s, run.wall_s, run.memory_mb, run.exit_code, run.signal,
        hashlib.blake2b(output, digest_size=16).hexdigest(), head(output), detail,
    )  # fmt: skip


def run_verdict(run: Run, limits: Limits) -> tuple[Verdict | None, str]:
    """What a run's end alone says, before its output is looked at: memory, then time, then output, then
    failure.
    """
    if run.ending == protocol.MEMORY_EXCEEDED or run.memory_mb > limits.memory_mb:
        return "memory_limit_exceeded", f"used more than {limits.memory_mb} MB"
    if run.ending == protocol.WALL_EXCEEDED:
        return "time_limit_exceeded", f"slept for {limits.wall_s:g} s"
    if run.ending == protocol.CPU_EXCEEDED or run.cpu_s > limits.time_s or run.signal == signal.SIGXCPU:
        return "time_limit_exceeded", f"used more than {limits.time_s:g} s of CPU time"
    if max(run.output_bytes, run.error_bytes) > limits.output_bytes or run.signal == signal.SIGXFSZ:
        return "output_limit_exceeded", f"wrote more than {limits.output_bytes} bytes"
    if run.signal is not None:
        return "runtime_error", f"ended by signal {run.signal} ({signal_name(run.signal)})"
    if run.exit_code:
        return "runtime_error", f"exit code {run.exit_code}"
    return None, ""


def report_verdict(report: Report, job: Job, checker: Checker, limits: Limits) -> tuple[Verdict, str]:
    """What the assertions say of a program that ended well."""
    said = report.said
    if "failed" in said:
        return "wrong_answer", f"the assertion failed: {said['failed']}".rstrip(": ")[:HEAD_CHARACTERS]
    verdict, detail = run_verdict(report.run, limits)
    if verdict not in (None, "runtime_error"):
        return verdict, f"in the test's own code: {detail}"
    if said.get("passed") is True and not job.has_value:
        return "accepted", ""
    if "value" in said and job.has_value:
        answer = json.dumps(said).encode()
        right = answer_matches(answer, job, checker)
        return ("accepted", "") if right else ("wrong_answer", shown_answer(answer))
    reason = said.get("error") or said.get("left") or detail or "the test ended before its end"
    return "runtime_error", str(reason)[:HEAD_CHARACTERS]


def signal_name(number: int) -> str:
    return signal.Signals(number).name if number in signal.Signals._value2member_map_ else "real-time signal"


def ran_out_of_heap(language: Language, stderr: int) -> bool:
    """Whether standard error says, in the words of the language's run time, that its memory is used up."""
    if not language.memory_errors:
        return False
    size = os.fstat(stderr).st_size
    ends = os.pread(stderr, MESSAGE_BYTES, 0), os.pread(stderr, MESSAGE_BYTES, max(0, size - MESSAGE_BYTES))
    return any(re.search(language.memory_errors, end.decode("utf-8", "replace")) for end in ends)


def head(output: bytes) -> str:
    """The first characters, for a person."""
    return output[: 4 * HEAD_CHARACTERS].decode("utf-8", "replace")[:HEAD_CHARACTERS]


def last_line(stderr: int) -> str:
    """The last line of standard error: for Python, the exception."""
    size = os.fstat(stderr).st_size
    text = os.pread(stderr, DETAIL_BYTES, max(0, size - DETAIL_BYTES)).decode("utf-8", "replace").strip()
    return text.splitlines()[-1][:HEAD_CHARACTERS] if text else ""
