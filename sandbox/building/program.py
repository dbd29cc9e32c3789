"""A built program and the jail it runs in: the one under judgement, its checker, or its interactor."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from sandbox.building.builder import (
    COMPILE_LIMITS,
    Builder,
    Built,
    CompileError,
    encoded,
    existing,
    tool_folders,
)
from sandbox.contracts import LARGEST, Limits
from sandbox.isolation import Group, JailSpec, Run, Session, protocol, stack_bytes
from sandbox.languages import Language, locate


class Program:
    """A program, built at once.

    Its jail starts when it is first needed, and again after a run has changed or broken it.

    `limits` are those of the run time together with the program; `heap_mb` is what the program alone may use;
    `group` is the control group of its jail. Raises CompileError: for Python only when the jail starts.
    """

    def __init__(
        self,
        language: Language,
        source: str,
        limits: Limits,
        heap_mb: int,
        builder: Builder,
        group: Group | None,
        arguments: tuple[str, ...] = (),
        files: Mapping[str, str] | None = None,
    ) -> None:
        self.language, self.source, self.limits, self.heap_mb = language, source, limits, heap_mb
        self.isolation, self.group, self.arguments = builder.isolation, group, arguments
        self.syntax, self.compiles = builder.syntax, False
        self.built = None if language.in_supervisor else builder.build(language, source, files or {})
        self._session: Session | None = None
        self._runs_functions = False

    def session(self, function: bool = False) -> Session:
        """The jail with the program in it, for function tests or for others."""
        if self._session is not None and self._runs_functions != function:
            self.close()
        if self._session is None:
            self._runs_functions = function
            self._session = (
                self._start_python(function) if self.built is None else self._start_command(self.built)
            )
        return self._session

    def close(self) -> None:
        """End the jail and everything in it."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def _start_python(self, function: bool) -> Session:
        source = encoded(self.source)
        if not self.compiles and (outcome := self.syntax.compile(source, self.limits, COMPILE_LIMITS)):
            self._check_compiled(*outcome)
        seed = int.from_bytes(hashlib.blake2b(source, digest_size=4).digest(), "big")
        spec = JailSpec(stack_bytes=stack_bytes(self.limits), hash_seed=seed, library=self.isolation.library)
        session = Session(self.isolation, spec, self.limits, self.group)
        try:
            outcome = session.set_python(source, COMPILE_LIMITS, function, self.compiles, self.arguments)
            self._check_compiled(*outcome)
        except BaseException:
            session.close()
            raise
        return session

    def _check_compiled(self, outcome: int, run: Run, messages: str) -> None:
        """Raises CompileError where the Python compiler refused the program."""
        if outcome == protocol.COMPILE_FAILED:
            raise CompileError(messages.strip())
        if outcome == protocol.COMPILE_KILLED:
            raise CompileError(f"signal {run.signal} ended the Python compiler after {run.cpu_s:.1f} s")
        self.compiles = True

    def _start_command(self, built: Built) -> Session:
        argv = self._argv(built)
        folders = existing(self.language.folders)
        if not argv[0].startswith(f"{self.isolation.path_inside(built.folder)}/"):
            folders += tool_folders(argv[0])
        supervisor = self.isolation.supervisor
        spec = JailSpec(
            tuple(folders),
            built.folder,
            stack_bytes=stack_bytes(self.limits),
            libraries=not self.language.static or supervisor is None,
            supervisor=supervisor,
        )
        session = Session(self.isolation, spec, self.limits, self.group)
        try:
            session.set_command(argv, dict(self.language.environment))
        except BaseException:
            session.close()
            raise
        return session

    def _argv(self, built: Built) -> list[str]:
        folder = self.isolation.path_inside(built.folder)
        values = {
            "program": folder,
            "source": f"{folder}/{self.language.source_name}",
            "main": built.main,
            "memory_mb": self.heap_mb,
            "stack_kb": self.limits.memory_mb * 1024 // 2,
        }
        words = [word.format(**values) for word in self.language.run]
        return [locate(words[0]) or words[0], *words[1:], *self.arguments]


def with_run_time(limits: Limits, language: Language) -> Limits:
    """Limits for a program together with the run time of its language."""
    return Limits(
        min(limits.time_s * language.time_factor, LARGEST["time_s"][1]),
        min(limits.memory_mb + language.memory_overhead_mb, int(LARGEST["memory_mb"][1])),
        limits.output_bytes,
        min(limits.processes + language.extra_processes, int(LARGEST["processes"][1])),
        limits.wall_limit_s,
    )
