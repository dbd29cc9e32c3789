"""SandboxFusion's `/run_code`: converts its request to a submission, and a judgement to its response."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from sandbox.bounds import MIB, Files, is_number, shown
from sandbox.building import LanguageUnavailable, require_usable
from sandbox.contracts import Judgement, Limits, Submission, Test
from sandbox.languages import Language, find_language
from sandbox.service import bounds
from sandbox.service.guard import Refused

DEFAULT_TIMEOUT_S, DEFAULT_MEMORY_MB = 10.0, 1024
NO_LIMIT = -1  # of memory: SandboxFusion's default
WORKING_FOLDERS = ("./", "/tmp/")  # a path may start with either
ROWS = {"java": "java_assertions"}  # where SandboxFusion runs programs otherwise than sites do
PHP_TAG = "<?php"
IGNORED = "IGNORE_THIS_FILE"  # SandboxFusion leaves out files with this in their names
KEEP_BYTES = 16 * MIB
FIELDS = {
    "code", "language", "stdin", "compile_timeout", "run_timeout", "memory_limit_MB", "files", "fetch_files",
}  # fmt: skip


def run_request(given: Any) -> Submission | dict[str, Any]:
    """The requested run as a submission, or the answer to an unsupported request. Raises Refused."""
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
    memory_mb = memory_limit_mb(given)
    files, fetched = decoded_files(given.get("files") or {}), fetched_paths(given.get("fetch_files") or [])
    language = find_language(given["language"])
    # The judge gives some languages more time than the limit says; here the limit is what is asked for.
    factor = language.time_factor if language else 1.0
    try:
        return Submission(
            program=program_of(given["code"], language),
            language=ROWS.get(language.name, language.name) if language else given["language"],
            tests=(Test("run", "stdin", stdin),),
            limits=Limits(time_s=seconds / factor, memory_mb=int(memory_mb), wall_limit_s=seconds),
            keep_bytes=KEEP_BYTES,
            files=files,
            fetch_files=fetched,
            compile_time_s=number(given, "compile_timeout", bounds.MAX_TIME_S, (int, float)) or None,
        )
    except ValueError as error:  # a path that leads out of the working folder, or too many
        return answer("SandboxError", str(error))


def program_of(code: str, language: Language | None) -> str:
    """The program of a request: as in SandboxFusion, PHP may come without its tag."""
    if language is None or language.name != "php" or not code.strip() or code.lstrip().startswith(PHP_TAG):
        return code
    return f"{PHP_TAG}\n{code}"


def memory_limit_mb(given: dict[str, Any]) -> float:
    """The memory limit of a request. Raises Refused."""
    if is_number(value := given.get("memory_limit_MB"), (int,)) and value == NO_LIMIT:
        return DEFAULT_MEMORY_MB
    return number(given, "memory_limit_MB", bounds.MAX_MEMORY_MB, (int,)) or DEFAULT_MEMORY_MB


def decoded_files(given: Any) -> Files:
    """The files of a request, {path: base64 or null}. A null stands for no file. Raises Refused."""
    if not isinstance(given, dict) or not all(isinstance(one, str | None) for one in given.values()):
        raise Refused(422, "files: an object of base64 strings is required")
    contents: dict[str, bytes] = {}
    for path, content in given.items():
        if content is None or IGNORED in path:
            continue
        try:
            contents[inner_path(path)] = base64.b64decode(content, validate=True)
        except binascii.Error as error:
            raise Refused(422, f"files: {shown(path)} is not base64") from error
    if sum(map(len, contents.values())) > bounds.MAX_FILES_BYTES:
        raise Refused(422, f"files: more than {bounds.MAX_FILES_BYTES // MIB} MiB in all")
    return tuple(contents.items())


def fetched_paths(given: Any) -> tuple[str, ...]:
    """The paths of the files that a request wants back. Raises Refused."""
    if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
        raise Refused(422, "fetch_files: a list of paths is required")
    return tuple(dict.fromkeys(map(inner_path, given)))


def inner_path(path: str) -> str:
    """A path relative to the working folder, from one that starts with it."""
    for folder in WORKING_FOLDERS:
        path = path.removeprefix(folder)
    return path


def number(given: dict[str, Any], field: str, largest: float, kinds: tuple[type, ...]) -> float:
    """A limit of the request, 0 where it has none. Raises Refused."""
    value: Any = given.get(field) or 0
    if given.get(field) is False or not is_number(value, kinds) or not 0 <= value <= largest:
        raise Refused(422, f"{field}: not {shown(value)}; a number from 0 to {largest:g}")
    return float(value)


def answer(
    status: str,
    message: str,
    compiled: Any = None,
    run: Any = None,
    files: dict[str, str] | None = None,
) -> dict[str, Any]:
    """A response of SandboxFusion's."""
    return {
        "status": status, "message": message, "compile_result": compiled, "run_result": run,
        "executor_pod_name": None, "files": files or {},
    }  # fmt: skip


def command(status: str, seconds: float | None, code: int | None, stdout: str, stderr: str) -> dict[str, Any]:
    return {
        "status": status,
        "execution_time": seconds,
        "return_code": code,
        "stdout": stdout,
        "stderr": stderr,
    }


def without_program(name: str) -> dict[str, Any]:
    """The response to code of blanks: as for any other in a language that cannot be run here, a compile error
    in a compiled one, and a run that prints nothing in the others.
    """
    try:
        language, _ = require_usable(name)
    except LanguageUnavailable as error:
        return answer("SandboxError", str(error))
    if language.compile:
        return answer("Failed", "", command("Finished", None, 1, "", "there is no program"))
    return answer("Success", "", None, command("Finished", 0.0, 0, "", ""))


def run_response(submission: Submission, judgement: Judgement, asked: list[str]) -> dict[str, Any]:
    """A judgement as SandboxFusion's response; `asked`: the request's `fetch_files`."""
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
    if judgement.verdict == "no_program":
        return without_program(submission.language)
    if not judgement.tests:
        return answer("SandboxError", f"nothing was run: {judgement.verdict.replace('_', ' ')}")
    (test,), (output,) = judgement.tests, judgement.outputs
    if output.files_complaint:
        return answer("SandboxError", f"fetch_files: {output.files_complaint}")
    fetched = dict(output.files)
    files = {
        path: base64.b64encode(fetched[name]).decode()
        for path in asked
        if (name := inner_path(path)) in fetched
    }
    compiled = command("Finished", judgement.compile_s, 0, "", "") if language and language.compile else None
    if judgement.verdict == "time_limit_exceeded":
        late_run = command("TimeLimitExceeded", test.wall_s, None, output.stdout, output.stderr)
        return answer("Failed", "", compiled, late_run, files)
    code = -test.signal if test.signal else test.exit_code
    if judgement.verdict in ("memory_limit_exceeded", "output_limit_exceeded") and not code:
        code = -9
    run = command("Finished", test.wall_s, code, output.stdout, output.stderr)
    return answer("Failed" if code else "Success", "", compiled, run, files)
