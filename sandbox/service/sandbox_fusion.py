"""SandboxFusion's `/run_code`: its request as a submission, and a judgement in its words."""

from __future__ import annotations

from typing import Any

from sandbox.contracts import MIB, Judgement, Limits, Submission, Test, is_number, shown
from sandbox.languages import find_language
from sandbox.service import bounds
from sandbox.service.guard import Refused

DEFAULT_TIMEOUT_S, DEFAULT_MEMORY_MB = 10.0, 1024
KEEP_BYTES = 16 * MIB
FIELDS = {
    "code", "language", "stdin", "compile_timeout", "run_timeout", "memory_limit_MB", "files", "fetch_files",
}  # fmt: skip


def run_request(given: Any) -> Submission | dict[str, Any]:
    """The run that is asked for, or at once the answer to what cannot be done. Raises Refused."""
    if not isinstance(given, dict):
        raise Refused(422, "the body must be an object")
    unknown = given.keys() - FIELDS
    if unknown:
        raise Refused(422, f"unknown field {shown(min(unknown))}")
    for field in ("code", "language"):
        if not isinstance(given.get(field), str):
            raise Refused(422, f"{field}: a string is required")
    stdin = given.get("stdin") or ""
    if not isinstance(stdin, str):
        raise Refused(422, f"stdin: not {shown(stdin)}")
    seconds = number(given, "run_timeout", bounds.MAX_TIME_S, (int, float)) or DEFAULT_TIMEOUT_S
    memory_mb = number(given, "memory_limit_MB", bounds.MAX_MEMORY_MB, (int,)) or DEFAULT_MEMORY_MB
    if given.get("files") or given.get("fetch_files"):
        return answer("SandboxError", "files and fetch_files are not served here")
    limits = Limits(time_s=seconds, memory_mb=int(memory_mb), wall_limit_s=seconds)
    tests = (Test("run", "stdin", stdin),)
    return Submission(given["code"], given["language"], tests, limits, keep_bytes=KEEP_BYTES)


def number(given: dict[str, Any], field: str, largest: float, kinds: tuple[type, ...]) -> float:
    """A limit of the request, 0 where it has none. Raises Refused."""
    value: Any = given.get(field) or 0
    if given.get(field) is False or not is_number(value, kinds) or not 0 <= value <= largest:
        raise Refused(422, f"{field}: not {shown(value)}; a number from 0 to {largest:g}")
    return float(value)


def answer(status: str, message: str, compiled: Any = None, run: Any = None) -> dict[str, Any]:
    return {
        "status": status, "message": message, "compile_result": compiled, "run_result": run, "executor_pod_name": None,
        "files": {},
    }  # fmt: skip


def command(status: str, seconds: float | None, code: int | None, stdout: str, stderr: str) -> dict[str, Any]:
    return {
        "status": status,
        "execution_time": seconds,
        "return_code": code,
        "stdout": stdout,
        "stderr": stderr,
    }


def run_response(submission: Submission, judgement: Judgement) -> dict[str, Any]:
    """A judgement in SandboxFusion's words."""
    language = find_language(submission.language)
    if judgement.verdict == "compile_error":
        late = "went over its limit of" in judgement.compile_output
        failed = command(
            "TimeLimitExceeded" if late else "Finished",
            None,
            None if late else 1,
            "",
            judgement.compile_output,
        )
        if language and not language.compile:  # SandboxFusion has no compile step for it
            return answer("Failed", "", None, failed)
        return answer("Failed", "", failed)
    if judgement.verdict in ("judge_error", "language_unavailable"):
        why = judgement.compile_output or next((test.detail for test in judgement.tests), "")
        return answer("SandboxError", why)
    (test,), (output,) = judgement.tests, judgement.outputs
    compiled = command("Finished", None, 0, "", "") if language and language.compile else None
    if judgement.verdict == "time_limit_exceeded":
        late_run = command("TimeLimitExceeded", test.wall_s, None, output.stdout, output.stderr)
        return answer("Failed", "", compiled, late_run)
    code = -test.signal if test.signal else test.exit_code
    if judgement.verdict in ("memory_limit_exceeded", "output_limit_exceeded") and not code:
        code = -9
    run = command("Finished", test.wall_s, code, output.stdout, output.stderr)
    return answer("Failed" if code else "Success", "", compiled, run)
