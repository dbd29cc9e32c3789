"""Which languages can be judged on this machine and in the kind of jail in use."""

from __future__ import annotations

import os

from sandbox.building.builder import Builder, CompileError
from sandbox.building.program import Program, with_run_time
from sandbox.contracts import Limits
from sandbox.isolation import Kind, sealed
from sandbox.languages import Language, UnknownLanguage, require_language, toolchain

HELLO = b"Hello, world!"
HELLO_LIMITS = Limits(time_s=10.0)


class LanguageUnavailable(Exception):
    """A language cannot be judged here: one line that says why."""


def usable_toolchain(language: Language, kind: Kind | None = None) -> str | None:
    """Name and version of the tool chain; None where it is missing or cannot run in this kind of jail."""
    if kind == "landlock" and not language.in_landlock:
        return None
    return toolchain(language)


def require_usable(name: str, kind: Kind | None = None) -> tuple[Language, str]:
    """The language of a name with its tool chain, for this kind of jail (None: any).

    Raises LanguageUnavailable where the tool chain is missing; whether it works, `ProvenLanguages` finds out.
    """
    try:
        language = require_language(name)
    except UnknownLanguage as error:
        raise LanguageUnavailable(str(error)) from error
    found = usable_toolchain(language, kind)
    if found is None:
        raise LanguageUnavailable(f"language {name} is not on this machine")
    return language, found


class ProvenLanguages:
    """The languages whose tool chains work: each one is proved by its row's hello program, built and run in
    jails.

    A tool chain that is installed but broken would otherwise turn every program into a compile error.
    """

    def __init__(self, builder: Builder) -> None:
        self.builder = builder
        self._complaints: dict[Language, str] = {}  # "" where the language works

    def require(self, name: str) -> tuple[Language, str]:
        """The language of a name with its tool chain. Raises LanguageUnavailable, and JailDied, which
        proves nothing.
        """
        language, found = require_usable(name, self.builder.isolation.kind)
        if language not in self._complaints:
            self._complaints[language] = "" if language.in_supervisor else self._complaint(language)
        if complaint := self._complaints[language]:
            raise LanguageUnavailable(f"language {name}: {found} does not work here: {complaint}")
        return language, found

    def _complaint(self, language: Language) -> str:
        """What is wrong with the tool chain; "" where its hello program prints what it should."""
        limits = with_run_time(HELLO_LIMITS, language)
        group = self.builder.isolation.group
        files = (sealed(b""), os.memfd_create("stdout"), os.memfd_create("stderr"))
        try:
            program = Program(language, language.hello, limits, HELLO_LIMITS.memory_mb, self.builder, group)
            try:
                run = program.session().run(files, limits.time_s, limits.wall_s)
            finally:
                program.close()
            output = os.pread(files[1], 4096, 0).strip()
            errors = os.pread(files[2], 4096, 0).decode("utf-8", "replace").strip()
        except CompileError as error:
            return f"the compiler says: {_last_line(str(error))}"
        finally:
            for file in files:
                os.close(file)
        if run.status or run.ending or output != HELLO:
            return f"its program ends with wait status {run.status}; {_last_line(errors)}".strip("; ")
        return ""


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1][:200] if lines else ""
