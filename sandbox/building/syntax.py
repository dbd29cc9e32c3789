"""Checks whether Python programs compile before each gets a jail: many programs that models write do not.

A syntax jail serves many programs, one after the other, and runs none of them: a fork of the supervisor
compiles the program, under the limits that it would have in its own jail, and exits. Damage to the compiler
ends with the fork. A fork that was killed, or that left files behind, ends its jail.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from sandbox.contracts import Limits, SandboxUnavailable
from sandbox.isolation import Isolation, JailDied, JailSpec, Run, Session, protocol, stack_bytes

MAX_JAILS = 3  # one per set of limits, of some 10 MB each
MAX_PROGRAMS = 1000  # per jail

Outcome = tuple[int, Run, str]


class SyntaxJails:
    """Running jails that compile programs and forget them. A context manager."""

    def __init__(self, isolation: Isolation) -> None:
        self.isolation = isolation
        # {limits: (session, number of programs that it has compiled)}; the jail used last comes last
        self.jails: dict[Limits, tuple[Session, int]] = {}

    def __enter__(self) -> SyntaxJails:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all jails. The next program starts a new one."""
        while self.jails:
            self.jails.popitem()[1][0].close()

    def compile(self, source: bytes, limits: Limits, compile_limits: Limits) -> Outcome | None:
        """What `Session.set_python` would return for a program with `limits`; None where the jail broke.

        `compile_limits` bound the compiler's time; the other limits are the program's, as in its own jail.
        """
        outcome = self._in_jail(limits, lambda session: session.check_python(source, compile_limits))
        return outcome[:3] if outcome else None

    def compile_plain(
        self, source: bytes, limits: Limits, compile_limits: Limits
    ) -> tuple[int, Run, str, bytes] | None:
        """The same, and the compiled code of a program that may share a jail, else b""."""
        return self._in_jail(limits, lambda session: session.compile_plain(source, compile_limits))

    def _in_jail(self, limits: Limits, compiled: Callable[[Session], Any]) -> Any:
        shared = replace(
            limits, time_s=1.0, wall_limit_s=None
        )  # programs with other time limits share the jail
        session, count = self.jails.pop(shared, (None, 0))
        try:
            session = session or self._start(shared)
            if self.isolation.syntax_group:  # all syntax jails are in it, and their limits differ
                self.isolation.syntax_group.set_limits(limits.memory_mb, limits.processes)
            outcome = compiled(session)
        except (JailDied, SandboxUnavailable, OSError):
            if session:
                session.close()
            return None
        kind, run, *_ = outcome
        if kind == protocol.COMPILE_KILLED or run.scratch_changed or count + 1 == MAX_PROGRAMS:
            session.close()
        else:
            self.jails[shared] = session, count + 1
        return outcome

    def _start(self, limits: Limits) -> Session:
        while len(self.jails) >= MAX_JAILS:
            self.jails.pop(next(iter(self.jails)))[0].close()
        spec = JailSpec(stack_bytes=stack_bytes(limits), library=self.isolation.library)
        return Session(self.isolation, spec, limits, self.isolation.syntax_group)
