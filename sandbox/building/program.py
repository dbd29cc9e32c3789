"""A built program and the jail it runs in: the one under judgement, its checker, or its interactor."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping

from sandbox.bounds import LARGEST
from sandbox.building.builder import Builder, Built, encoded
from sandbox.building.compilation import COMPILE_LIMITS, CompileError
from sandbox.building.tools import existing, home_of, tool_folders
from sandbox.contracts import Limits
from sandbox.isolation import Group, JailSpec, Run, Session, protocol, sealed, stack_bytes
from sandbox.languages import Language, locate, python_environment


class Program:
    """A program, built at once.

    Its jail starts when it is first needed, and again after a run has changed or broken it.

    `limits` are those of the run time together with the program; `heap_mb` is what the program alone may use;
    `group` is the control group of its jail; `files`, {path: contents}, are beside its source, and
    `scratch_files` in the folder that it runs in; `collects`: files of that folder are read later;
    `compiler` are the limits of its compiler. Raises CompileError: for Python only when the jail starts.
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
        files: Mapping[str, str | bytes] | None = None,
        scratch_files: Mapping[str, str | bytes] | None = None,
        collects: bool = False,
        compiler: Limits = COMPILE_LIMITS,
        may_share: bool = False,
    ) -> None:
        self.language, self.source, self.limits, self.heap_mb = language, source, limits, heap_mb
        self.isolation, self.group, self.arguments = builder.isolation, group, arguments
        self.syntax, self.compiles = builder.syntax, False
        self.collects = collects
        self._shared = builder.shared if may_share and not (arguments or scratch_files) else None
        self.has_shared = False  # whether a jail that others use has run it
        self.scratch_files = tuple((name, encoded(text)) for name, text in (scratch_files or {}).items())
        self.built = (
            None if language.in_supervisor else builder.build(language, source, files or {}, compiler)
        )
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

    @property
    def is_sharing(self) -> bool:
        """Whether its jail is one that others use."""
        return self._session is not None and self._shared is not None

    def close(self) -> None:
        """End the jail and everything in it."""
        if self._session is not None and self._shared is not None:
            self._shared.end(self._session)
        elif self._session is not None:
            self._session.close()
        self._session = None

    def release(self) -> None:
        """The same, but a jail that others use goes on, if nothing has disturbed it."""
        if self._session is not None and self._shared is not None:
            self._shared.give_back(self._session)
            self._session = None
        self.close()

    def share_no_more(self) -> None:
        """End the shared jail; from here on the program has its own."""
        self.close()
        self._shared = None

    def stamped(self, toolchain: str) -> str:
        """The tool chain's name with the standard by which it has compiled the program, if it has several."""
        if self.built is None or len(self.language.standards) < 2:
            return toolchain
        return f"{toolchain}, {self.built.standard}"

    def _start_python(self, function: bool) -> Session:
        source = encoded(self.source)
        environment = python_environment()
        if self._shared is not None:
            if not (self.compiles or function or environment):
                compiled = self.syntax.compile_plain(source, self.limits, COMPILE_LIMITS)
                if compiled:
                    self._check_compiled(*compiled[:3])
                if compiled and compiled[3]:
                    self.has_shared = True
                    self._session = self._shared.take(source, compiled[3], self.limits)
                    return self._session
            self._shared = None
        if not self.compiles and (checked := self.syntax.compile(source, self.limits, COMPILE_LIMITS)):
            self._check_compiled(*checked)
        seed = int.from_bytes(hashlib.blake2b(source, digest_size=4).digest(), "big")
        file = sealed(source)
        try:
            spec = JailSpec(
                environment.folders if environment else (),
                stack_bytes=stack_bytes(self.limits),
                hash_seed=seed,
                library=self.isolation.library,
                scratch_files=self.scratch_files,
                source=file,
                packages=environment.packages if environment else None,
            )
            session = Session(self.isolation, spec, self.limits, self.group)
        finally:
            os.close(file)
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
        for tool in self.language.tools:
            folders += tool_folders(locate(tool) or tool)
        # Only the supervisor in Python hands files in and out.
        supervisor = None if self.collects else self.isolation.supervisor
        spec = JailSpec(
            tuple(folders),
            built.folder,
            stack_bytes=stack_bytes(self.limits),
            libraries=not built.static or supervisor is None,
            supervisor=supervisor,
            scratch_files=self.scratch_files,
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
            "home": home_of(self.language),
            "memory_mb": self.heap_mb,
            "young_mb": young_mb(self.heap_mb),
            "heap_mb": self.heap_mb + young_mb(self.heap_mb),
            "stack_kb": self.limits.memory_mb * 1024 // 2,
        }
        words = [word.format(**values) for word in self.language.run]
        return [locate(words[0]) or words[0], *words[1:], *self.arguments]


def young_mb(memory_mb: int) -> int:
    """The size of the heap of young objects of a Java program, on top of its limit for all the others."""
    return min(max(memory_mb // 8, 16), 128)


def with_run_time(limits: Limits, language: Language) -> Limits:
    """Limits for a program together with the run time of its language."""
    return Limits(
        min(limits.time_s * language.time_factor, LARGEST["time_s"][1]),
        min(limits.memory_mb + language.memory_overhead_mb, int(LARGEST["memory_mb"][1])),
        limits.output_bytes,
        min(limits.processes + language.extra_processes, int(LARGEST["processes"][1])),
        limits.wall_limit_s,
    )
