"""Jails that run one plain Python program after the other: an option, because the start of a jail costs
several times as much as the tests of a small program.

The supervisor of such a jail holds no program. Each test brings compiled code, and a fork of the clean
interpreter runs it, and is killed and reaped with all that it has started, as between the tests of one
program. The jail is replaced after PROGRAMS programs, and after a run that a signal or a limit has ended or
that has left something behind.

What is weaker than in a jail of its own: all programs have the same order of hashes, and one that looks for
it can see by its process id and the times of process 1 that others ran before, not what they were. Programs
that are not plain (`isolation/guest/plain.py`) get a jail of their own. So does a run that ends by a signal,
for memory or for output, or changes something: it runs again there, and that counts.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace

from sandbox.contracts import Limits
from sandbox.isolation import Isolation, JailSpec, Session, stack_bytes

VARIABLE = "SPO_SANDBOX_SHARED_JAILS"
PROGRAMS = 200  # per jail
MAX_JAILS = 4
SUPERVISOR_MB = 16
HASH_SEED = 1
# The first words of import statements: what a program loads in every test, if its jail has not loaded it.
IMPORTED = re.compile(rb"^[ \t]*(?:from[ \t]+([a-z]+)|import[ \t]+([a-z, \t]+))", re.MULTILINE)


class SharedJails:
    """The jails of one worker that plain programs share: one for each set of limits and of modules that its
    programs import, so that none can see what another one imports. A context manager.
    """

    def __init__(self, isolation: Isolation) -> None:
        self.isolation = isolation
        # {(limits, modules): (session, number of programs that it has run)}; the jail used last comes last
        self.jails: dict[tuple[Limits, frozenset[str]], tuple[Session, int]] = {}

    def __enter__(self) -> SharedJails:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all jails. The next program starts a new one."""
        while self.jails:
            self.jails.popitem()[1][0].close()

    def take(self, source: bytes, code: bytes, limits: Limits) -> Session:
        """The jail with a program in it, its compiled `code`. Raises JailDied, or SandboxUnavailable, where
        none starts.
        """
        key = (
            replace(limits, time_s=1.0, wall_limit_s=None),  # programs with other time limits share it
            frozenset(
                word.decode()
                for line in IMPORTED.findall(source)
                for word in b" ".join(line).replace(b",", b" ").split()
            ),
        )
        session, count = self.jails.pop(key, (None, 0))
        session = session or self._start(*key)
        self.jails[key] = session, count + 1
        if group := self.isolation.shared_group:  # all shared jails are in it, and their limits differ
            group.set_limits(limits.memory_mb + SUPERVISOR_MB * MAX_JAILS, limits.processes + MAX_JAILS)
        session.give(code)
        return session

    def give_back(self, session: Session) -> None:
        """End the program. The jail serves the next one, if nothing has disturbed it."""
        session.take_back()
        counts = [count for own, count in self.jails.values() if own is session]
        if not session.is_undisturbed or not counts or counts[0] >= PROGRAMS:
            self.end(session)

    def end(self, session: Session) -> None:
        """End one jail."""
        self.jails = {key: jail for key, jail in self.jails.items() if jail[0] is not session}
        session.close()

    def _start(self, limits: Limits, modules: frozenset[str]) -> Session:
        while len(self.jails) >= MAX_JAILS:
            self.jails.pop(next(iter(self.jails)))[0].close()
        spec = JailSpec(stack_bytes=stack_bytes(limits), hash_seed=HASH_SEED, library=self.isolation.library)
        session = Session(self.isolation, spec, limits, self.isolation.shared_group)
        try:
            session.share(sorted(modules))
        except BaseException:
            session.close()
            raise
        return session


def is_asked_for() -> bool:
    """Whether the user wants shared jails. Raises ValueError for an unclear wish."""
    value = os.environ.get(VARIABLE, "0")
    if value not in ("0", "1", ""):
        raise ValueError(f"{VARIABLE} is {value!r}; set it to 1 for shared jails, or to 0")
    return value == "1"
