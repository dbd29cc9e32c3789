"""The assertion jails: where the assertions of function tests run, out of reach of the program that they are
about.

Program and assertions are two processes in two jails. Between them run two pipes with calls and values as
plain data (`isolation/guest/crossing.py`); only the assertion jail has the test, and only its report can say
that a test has passed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sandbox.building import COMPILE_LIMITS, encoded
from sandbox.contracts import Limits, SandboxUnavailable
from sandbox.isolation import (
    Isolation,
    JailDied,
    JailSpec,
    Run,
    Session,
    StartedRuns,
    protocol,
    sealed,
    stack_bytes,
)

MAX_JAILS = 3  # one per preamble and set of limits, of some 10 MB each
MAX_TESTS = 2000  # per jail
MAX_AT_ONCE = protocol.MAX_DESCRIPTORS // 7  # seven descriptors each
ASSERTIONS = next(number for number, module in protocol.RUNNERS.items() if module == "assertions")
REPORT = 4  # among the descriptors of assertions
PATIENCE_S = 10.0  # longer than the program, for which the assertions wait


class AssertionJailFailed(RuntimeError):
    """An assertion jail broke: nothing that a program or a test has done."""


class PreambleRefused(Exception):
    """The problem's own code does not compile."""


@dataclass(frozen=True)
class Report:
    """How a test's assertions ended: the run, and what they reported ({} where they ended before that)."""

    run: Run
    said: dict[str, Any]

    @property
    def isolated(self) -> bool:
        """Whether the test called one function of the program and no other, whose word it would take."""
        return int(self.said.get("called", 0)) <= 1


class Files:
    """The descriptors of some tests, closed at the end. A context manager."""

    def __init__(self) -> None:
        self.pipes: list[int] = []
        self.others: list[int] = []

    def __enter__(self) -> Files:
        return self

    def __exit__(self, *_: object) -> None:
        self.close_pipes()
        while self.others:
            os.close(self.others.pop())

    def pipe(self) -> tuple[int, int]:
        ends = os.pipe2(os.O_CLOEXEC)
        self.pipes += ends
        return ends

    def close_pipes(self) -> None:
        while self.pipes:
            os.close(self.pipes.pop())

    def assertions(self, request: bytes) -> tuple[int, ...]:
        """Standard input, output and error, the job, and the file for the report."""
        files = sealed(b""), *(os.memfd_create(name) for name in ("stdout", "stderr")), sealed(request)
        self.others += [*files, report := os.memfd_create("report")]
        return *files, report


class AssertionJails:
    """Running jails for assertions, each used for many programs; a test is a fork. A context manager."""

    def __init__(self, isolation: Isolation) -> None:
        self.isolation = isolation
        # {(preamble, limits): (session, number of its tests)}; the jail used last comes last
        self.jails: dict[tuple[str, Limits], tuple[Session, int]] = {}

    def __enter__(self) -> AssertionJails:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all jails. The next test starts a new one."""
        while self.jails:
            self.jails.popitem()[1][0].close()

    def run(
        self, program: Session, tests: Sequence[tuple[int, ...]], requests: Sequence[bytes], preamble: str,
        limits: Limits, cpu_s: float,
    ) -> tuple[list[Run], list[Report]]:  # fmt: skip
        """Run tests, each with its assertions: how the program's runs ended, and the reports; one at least.

        `tests` has standard input, output and error of the program for each, `requests` the jobs of the
        assertions. Raises JailDied for the program's jail, AssertionJailFailed for the other one.
        """
        key = (
            preamble,
            replace(limits, time_s=1.0, wall_limit_s=None),
        )  # tests of other time limits share the jail
        session, count = self._take(key)
        try:
            with Files() as files:
                own, others = [], []
                for standard, request in zip(tests, requests, strict=True):
                    calls, answers = files.pipe(), files.pipe()
                    inside = files.assertions(request)
                    others.append((*standard, calls[0], answers[1]))
                    own.append((*inside, calls[1], answers[0]))
                started = program.start(others, cpu_s, limits.wall_s)
                assertions = start(session, own, cpu_s, limits.wall_s + PATIENCE_S)
                files.close_pipes()  # now they end where the two programs end
                runs, ends = started.finish(), finish(assertions)
                reports = [read_report(each[REPORT], limits.output_bytes) for each in own]
        except BaseException:
            session.close()
            raise
        if any(end.ending or end.status or end.scratch_changed for end in ends) or count > MAX_TESTS:
            session.close()
        else:
            self.jails[key] = session, count + len(ends)
        return runs, [Report(end, report) for end, report in zip(ends, reports, strict=False)]

    def _take(self, key: tuple[str, Limits]) -> tuple[Session, int]:
        if key in self.jails:
            return self.jails.pop(key)
        while len(self.jails) >= MAX_JAILS:
            self.jails.pop(next(iter(self.jails)))[0].close()
        return self._start(*key), 0

    def _start(self, preamble: str, limits: Limits) -> Session:
        spec = JailSpec(stack_bytes=stack_bytes(limits), library=self.isolation.library)
        try:
            session = Session(self.isolation, spec, limits, None)
        except SandboxUnavailable as error:
            raise AssertionJailFailed(f"the assertion jail does not start: {error}") from error
        try:
            outcome, _, messages = session.set_python(encoded(preamble), COMPILE_LIMITS, ASSERTIONS)
        except JailDied as error:
            session.close()
            raise AssertionJailFailed(f"the assertion jail broke: {error}") from error
        if outcome != protocol.OK:
            session.close()
            raise PreambleRefused(messages.strip())
        return session


def start(session: Session, tests: list[tuple[int, ...]], cpu_s: float, wall_s: float) -> StartedRuns:
    """Start assertions. Raises AssertionJailFailed."""
    try:
        return session.start(tests, cpu_s, wall_s)
    except JailDied as error:
        raise AssertionJailFailed(f"the assertion jail broke: {error}") from error


def finish(started: StartedRuns) -> list[Run]:
    """How the assertions ended. Raises AssertionJailFailed."""
    try:
        return started.finish()
    except JailDied as error:
        raise AssertionJailFailed(f"the assertion jail broke: {error}") from error


def read_report(file: int, max_bytes: int) -> dict[str, Any]:
    """What assertions have reported; {} where that is not whole."""
    try:
        report = json.loads(os.pread(file, max_bytes, 0))
    except (ValueError, RecursionError):
        return {}
    return report if isinstance(report, dict) else {}
