"""Checkers that are programs: testlib's and Kattis's conventions, inside a jail of their own.

testlib  `checker INPUT OUTPUT ANSWER`; exit 0 right, 1 wrong, 2, 4 and 8 malformed (wrong), 7 and 16 up
partial (wrong here).
         https://codeforces.com/testlib
kattis   `validator INPUT ANSWER FEEDBACK_FOLDER < OUTPUT`; exit 42 right, 43 wrong.
         https://www.kattis.com/problem-package-format/

An interactor is called the same way, with the program's output on its standard input and the program's input
on its standard output; under testlib it may write OUTPUT. Any other end (exit 3, a signal, a limit) is the
checker's own failure: a judge_error, never a verdict on the program.
"""

from __future__ import annotations

import os
from pathlib import Path

from sandbox.building import (
    Builder,
    CompileError,
    LanguageUnavailable,
    Program,
    require_usable,
    with_run_time,
)
from sandbox.contracts import Checker, Limits
from sandbox.isolation import JailDied, Kind, Run, Session, StartedRuns, protocol, sealed
from sandbox.judging.feedback import Feedback, FeedbackError, collect
from sandbox.judging.interaction import Ends, Pipes, wait_for_first
from sandbox.languages import Language

OUTPUT_BYTES = Limits().output_bytes  # of what an interactor writes for the checker after it
INPUT, OUTPUT, ANSWER = (f"/proc/self/fd/{number}" for number in (3, 4, 5))
TESTLIB_WRONG = {
    1: "wrong",
    2: "malformed",
    4: "more than was asked for",
    7: "partly right",
    8: "ends too early",
}
TESTLIB_PARTIAL = 16
KATTIS_RIGHT, KATTIS_WRONG = 42, 43
TESTLIB_PLACES = ("/usr/include/testlib.h", "/usr/local/include/testlib.h")
MESSAGE_BYTES = 600
PATIENCE_S = 10.0  # of an interactor with a program that sleeps


class CheckerFailed(RuntimeError):
    """The checker itself is broken: one line that says how."""


class CheckerProgram:
    """A built checker. Raises CheckerFailed if it cannot be built."""

    def __init__(self, checker: Checker, builder: Builder) -> None:
        self.kind = checker.kind
        self.leaves_feedback = checker.leaves_feedback
        self.given: dict[str, bytes] = {}  # files that the next run finds in its feedback folder
        self.feedback = Feedback()  # what the last run has left there
        self.written = b""  # OUTPUT of the last talk
        if self.leaves_feedback and builder.isolation.kind == "landlock":
            raise CheckerFailed("the checker writes files, which needs the first kind of jail")
        language, files = checker_parts(checker, builder.isolation.kind)
        words = (INPUT, OUTPUT, ANSWER) if self.kind == "testlib" else (INPUT, ANSWER, "/tmp/")
        limits = with_run_time(Limits(time_s=checker.time_s, memory_mb=checker.memory_mb), language)
        try:
            # No control group: the worker's one belongs to the program under judgement, whose limits differ.
            self.program = Program(
                language,
                checker.program,
                limits,
                checker.memory_mb,
                builder,
                group=None,
                arguments=(*words, *checker.arguments),
                files=files,
                collects=checker.leaves_feedback,
            )
        except CompileError as error:
            raise CheckerFailed(f"the checker does not compile: {error}") from error

    def close(self) -> None:
        self.program.close()

    def judge(self, stdin: bytes, output: bytes, answer: bytes) -> tuple[bool, str]:
        """Whether the output is right, and the checker's message. Raises CheckerFailed."""
        contents = (output if self.kind == "kattis" else b"", stdin, output, answer)
        files = [sealed(data) for data in contents]
        files[1:1] = [os.memfd_create("stdout"), os.memfd_create("stderr")]
        try:
            run = self._run(tuple(files))
            return self.verdict(run, message(files[2]) or message(files[1]))
        finally:
            for file in files:
                os.close(file)

    def interact(
        self, program: Program, errors: int, stdin: bytes, answer: bytes, cpu_s: float, wall_s: float
    ) -> tuple[Run, bool | None, str]:
        """Let the program, whose standard error goes to `errors`, and the interactor talk to each other.

        Returns how the program ended; whether it is right, None where its own end decides, which the
        interactor has not caused; and the interactor's words. A program that leaves while the interactor
        still wants something is wrong, however the interactor ends then. Raises JailDied for the program's
        jail, and CheckerFailed for an interactor that breaks.
        """
        stderr, files = os.memfd_create("stderr"), [sealed(stdin), os.memfd_create("output"), sealed(answer)]
        try:
            with Pipes() as pipes:
                ends = self._talk(program, pipes, (errors, stderr, *files), cpu_s, wall_s)
            self.written = os.pread(files[1], OUTPUT_BYTES, 0)
            if ends.program.scratch_changed:
                program.close()
            if self._was_refused_before(ends):
                return ends.program, False, message(stderr)
            if ends.program.ending or (ends.program.status and ends.program_by_itself):
                return ends.program, None, ""
            try:
                return ends.program, *self.verdict(ends.interactor, message(stderr))
            except CheckerFailed:
                if ends.interactor_by_itself:
                    raise
                return ends.program, False, message(stderr) or "left before the interactor had finished"
        except JailDied:
            self.close()  # it may be talking still
            raise
        finally:
            for file in (stderr, *files):
                os.close(file)

    def _was_refused_before(self, ends: Ends) -> bool:
        """Whether the interactor had called the program wrong before the program went over a limit."""
        is_late = ends.program.ending in (protocol.CPU_EXCEEDED, protocol.WALL_EXCEEDED)
        if not (is_late and ends.interactor_first and ends.interactor_by_itself):
            return False
        try:
            return not self.verdict(ends.interactor, "")[0]
        except CheckerFailed:
            return False

    def _talk(
        self, program: Program, pipes: Pipes, files: tuple[int, ...], cpu_s: float, wall_s: float
    ) -> Ends:
        """Start both, wait for both. `files`: the program's standard error, and what the interactor has
        beside the pipes.
        """
        session, own_session = program.session(), self._session()
        talk = session.start([(pipes.to_program[0], pipes.to_interactor[1], files[0])], cpu_s, wall_s)
        # The interactor waits for the program all the time, and so must outlast it.
        own_talk = own_session.start(
            [(pipes.to_interactor[0], pipes.to_program[1], *files[1:])],
            self.program.limits.time_s,
            wall_s + PATIENCE_S,
        )
        limit_s = (wall_s + PATIENCE_S) * protocol.STARVED_FACTOR
        by_themselves = wait_for_first(talk, own_talk, pipes, limit_s)
        return Ends(talk.finish()[0], self._finish(own_talk), *by_themselves)

    def _session(self) -> Session:
        """The checker's jail; a fresh one with the given files for a checker that leaves feedback."""
        try:
            if not self.leaves_feedback:
                return self.program.session()
            self.program.close()
            session = self.program.session()
            for name, contents in self.given.items():
                session.put_file(name, contents)
            return session
        except CompileError as error:
            raise CheckerFailed(f"the checker does not compile: {error}") from error

    def _finish(self, started: StartedRuns) -> Run:
        try:
            run = started.finish()[0]
            if self.leaves_feedback:
                self.feedback = collect(self.program.session())
        except JailDied as error:
            self.close()
            raise CheckerFailed(f"the checker's jail broke: {error}") from error
        except FeedbackError as error:
            self.close()
            raise CheckerFailed(str(error)) from error
        if run.scratch_changed or self.leaves_feedback:
            self.close()
        return run

    def _run(self, files: tuple[int, ...]) -> Run:
        session = self._session()
        try:
            started = session.start([files], self.program.limits.time_s, self.program.limits.wall_s)
        except JailDied as error:
            self.close()
            raise CheckerFailed(f"the checker's jail broke: {error}") from error
        return self._finish(started)

    def verdict(self, run: Run, said: str) -> tuple[bool, str]:
        """The verdict that the checker's exit code means, and its message. Raises CheckerFailed."""
        code = run.exit_code if not run.ending else None
        if self.kind == "kattis" and code in (KATTIS_RIGHT, KATTIS_WRONG):
            return code == KATTIS_RIGHT, said
        if self.kind == "testlib" and code == 0:
            return True, said
        if self.kind == "testlib" and code is not None and (code in TESTLIB_WRONG or code >= TESTLIB_PARTIAL):
            return False, said or TESTLIB_WRONG.get(code, "partly right")
        how = "went over its limits" if run.ending else f"ended with wait status {run.status}"
        raise CheckerFailed(f"the checker {how}; {said}".strip("; "))


def checker_parts(checker: Checker, kind: Kind | None = None) -> tuple[Language, dict[str, str]]:
    """The checker's language, and {name: text} of the files beside it. Raises CheckerFailed where one of
    them is not here.
    """
    try:
        language, _ = require_usable(checker.language, kind)
    except LanguageUnavailable as error:
        raise CheckerFailed(f"the checker's {error}") from error
    files = dict(checker.files)
    sources = "\n".join((checker.program, *files.values()))
    return language, files if "testlib.h" in files else with_testlib(sources) | files


def with_testlib(source: str) -> dict[str, str]:
    """testlib.h for a source that includes it, from $SPO_TESTLIB or the system's folders. It is not part of
    this project.
    """
    if '"testlib.h"' not in source and "<testlib.h>" not in source:
        return {}
    candidates = [os.environ.get("SPO_TESTLIB", ""), *TESTLIB_PLACES]
    header = next((Path(place) for place in candidates if place and Path(place).is_file()), None)
    if header is None:
        raise CheckerFailed("the checker needs testlib.h; fix it with: SPO_TESTLIB=/path/to/testlib.h")
    return {"testlib.h": header.read_text(encoding="utf-8", errors="surrogateescape")}


def message(file: int) -> str:
    """The checker's message, shortened for a person."""
    return os.pread(file, MESSAGE_BYTES, 0).decode("utf-8", "replace").strip()[:200]
