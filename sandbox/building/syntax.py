"""Checks whether Python programs compile before each gets a jail: many programs that models write do not.

A syntax jail serves many programs, one after the other, and runs none of them: a fork of the supervisor compiles the
program, under the limits that it would have in its own jail, and exits. Damage to the compiler ends with the fork. A fork
that was killed, or that left files behind, ends its jail.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from sandbox.contracts import Limits, SandboxUnavailable
from sandbox.isolation import jail, native, tiers
from sandbox.isolation.cgroups import Group
from sandbox.isolation.guest import protocol
from sandbox.isolation.session import JailDied, Run, Session, stack_bytes

MAX_JAILS = 3  # each for programs of the same limits, and with some 10 MB of its own
MAX_PROGRAMS = 1000  # that one jail sees

Outcome = tuple[int, Run, str]


class SyntaxJails:
    """Jails that stay up and compile, and forget what they have compiled. A context manager."""

    def __init__(self, cache: Path) -> None:
        self.cache = cache
        self.standing: dict[
            Limits, tuple[Session, int]
        ] = {}  # the one used last comes last; how many programs it has seen

    def __enter__(self) -> SyntaxJails:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        while self.standing:
            self.standing.popitem()[1][0].close()

    def compile(self, source: bytes, limits: Limits, compile_limits: Limits) -> Outcome | None:
        """What `Session.set_python` would say of a program with `limits`; None where nothing can be said: the jail broke.

        Of the compiler, `compile_limits` bound the time; the other limits are the program's, as in its own jail.
        """
        asked = replace(limits, time_s=1.0, wall_limit_s=None)  # whatever its time, it may share the jail
        session, seen = self.standing.pop(asked, (None, 0))
        try:
            session = session or self._stand_up(asked)
            if self.group:
                self.group.set_limits(
                    limits.memory_mb, limits.processes
                )  # jails of other limits stand in it, too
            outcome = session.check_python(source, compile_limits)
        except (JailDied, SandboxUnavailable, OSError):
            if session:
                session.close()
            return None
        kind, run, _ = outcome
        if kind == protocol.COMPILE_KILLED or run.scratch_changed or seen + 1 == MAX_PROGRAMS:
            session.close()
        else:
            self.standing[asked] = session, seen + 1
        return outcome

    def _stand_up(self, limits: Limits) -> Session:
        while len(self.standing) >= MAX_JAILS:
            self.standing.pop(next(iter(self.standing)))[0].close()
        library = native.library(self.cache) if jail.kind == "bwrap" else None
        return Session(jail.JailSpec(stack_bytes=stack_bytes(limits), library=library), limits, self.group)

    @property
    def group(self) -> Group | None:
        """The control group of all of them."""
        return tiers.syntax_group()
