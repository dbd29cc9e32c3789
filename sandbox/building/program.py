"""A built program and the jail it stands in: the one under judgement, its checker, or its interactor."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from sandbox import languages
from sandbox.building.builder import (
    COMPILE_LIMITS,
    Builder,
    Built,
    CompileError,
    encoded,
    existing,
    tool_folders,
)
from sandbox.contracts import Limits
from sandbox.isolation import jail, native
from sandbox.isolation.cgroups import Group
from sandbox.isolation.guest import protocol
from sandbox.isolation.session import Run, Session, stack_bytes
from sandbox.languages import Language


class Program:
    """Built at once; its jail is opened when first needed, and anew when a run has soiled or broken it.

    `limits` are those of the run time together with the program; `heap_mb` is what the program alone may use. Raises
    CompileError, for Python only when the jail is opened.
    """

    def __init__(
        self, language: Language, source: str, limits: Limits, heap_mb: int, builder: Builder, supervisor: int | None,
        group: Group | None, arguments: tuple[str, ...] = (), files: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        self.language, self.source, self.limits, self.heap_mb = language, source, limits, heap_mb
        self.supervisor, self.group, self.arguments = (
            supervisor if jail.kind == "bwrap" else None,
            group,
            arguments,
        )
        self.syntax, self.compiles = builder.syntax, False
        self.library = native.library(builder.cache) if self.supervisor is not None else None
        self.built = None if language.in_supervisor else builder.build(language, source, files or {})
        self.standing: Session | None = None
        self.function = False

    def session(self, function: bool = False) -> Session:
        """The standing jail with the program in it."""
        if self.standing is not None and self.function != function:
            self.close()
        if self.standing is None:
            self.function = function
            self.standing = (
                self._open_python(function) if self.built is None else self._open_command(self.built)
            )
        return self.standing

    def close(self) -> None:
        """End the jail and everything in it."""
        if self.standing is not None:
            self.standing.close()
            self.standing = None

    def _open_python(self, function: bool) -> Session:
        source = encoded(self.source)
        if not self.compiles and (outcome := self.syntax.compile(source, self.limits, COMPILE_LIMITS)):
            self._taken(*outcome)
        seed = int.from_bytes(hashlib.blake2b(source, digest_size=4).digest(), "big")
        spec = jail.JailSpec(stack_bytes=stack_bytes(self.limits), hash_seed=seed, library=self.library)
        session = Session(spec, self.limits, self.group)
        try:
            self._taken(*session.set_python(source, COMPILE_LIMITS, function, self.compiles))
            if self.arguments:
                session.set_arguments(self.arguments)
        except BaseException:
            session.close()
            raise
        return session

    def _taken(self, outcome: int, run: Run, messages: str) -> None:
        """Look at what the Python compiler says. Raises CompileError."""
        if outcome == protocol.COMPILE_FAILED:
            raise CompileError(messages.strip())
        if outcome == protocol.COMPILE_KILLED:
            raise CompileError(
                f"the Python compiler was ended by signal {run.signal} after {run.cpu_s:.1f} s"
            )
        self.compiles = True

    def _open_command(self, built: Built) -> Session:
        argv = self._argv(built)
        folders = existing(self.language.folders)
        if not argv[0].startswith(f"{jail.inside(built.folder)}/"):
            folders += tool_folders(argv[0])
        spec = jail.JailSpec(
            tuple(folders), built.folder, stack_bytes=stack_bytes(self.limits),
            libraries=not self.language.static or self.supervisor is None, supervisor=self.supervisor,
        )  # fmt: skip
        session = Session(spec, self.limits, self.group)
        try:
            session.set_command(argv, jail.ENVIRONMENT | dict(self.language.environment))
        except BaseException:
            session.close()
            raise
        return session

    def _argv(self, built: Built) -> list[str]:
        folder = jail.inside(built.folder)
        words = [
            word.format(
                program=folder, source=f"{folder}/{self.language.source_name}", main=built.main,
                memory_mb=self.heap_mb, stack_kb=self.limits.memory_mb * 1024 // 2,
            )
            for word in self.language.run
        ]  # fmt: skip
        return [languages.locate(words[0]) or words[0], *words[1:], *self.arguments]


def with_run_time(limits: Limits, language: Language) -> Limits:
    """Limits for a program together with the run time of its language."""
    return Limits(
        limits.time_s * language.time_factor, limits.memory_mb + language.memory_overhead_mb,
        limits.output_bytes, limits.processes + language.extra_processes, limits.wall_limit_s,
    )  # fmt: skip
