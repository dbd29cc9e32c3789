"""Which languages can be judged on this machine and in the kind of jail in use."""

from __future__ import annotations

import hashlib
import json
import os

from sandbox.building.builder import Builder
from sandbox.building.compilation import CompileError
from sandbox.building.program import Program, with_run_time
from sandbox.building.scripts import SCRIPTS, with_neighbours
from sandbox.contracts import Limits
from sandbox.isolation import Kind, sealed
from sandbox.languages import (
    ENVIRONMENT_VARIABLE,
    BadEnvironment,
    Language,
    UnknownLanguage,
    locate,
    require_language,
    toolchain,
)

HELLO_INPUT, HELLO = b"world\n", b"Hello, world!"
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
        language = SCRIPTS.get(name) or require_language(name)
        toolchain = usable_toolchain(language, kind)
    except (UnknownLanguage, BadEnvironment) as error:
        raise LanguageUnavailable(str(error)) from error
    if toolchain is None:
        raise LanguageUnavailable(f"language {name} is not on this machine{_how_to_get(language)}")
    return with_neighbours(language) if language.module else language, toolchain


def _how_to_get(language: Language) -> str:
    """What a language that a Python module runs needs; "" for others."""
    if not language.module:
        return ""
    name = language.module[0]
    return f"; install {name} into a virtual environment, and name that in {ENVIRONMENT_VARIABLE}"


class ProvenLanguages:
    """The languages whose tool chains work: each one is proved by its row's hello program, built and run in
    jails.

    A tool chain that is installed but broken would otherwise turn every program into a compile error. A proof
    stays beside the built programs, until the tool chain changes; a failure is tried again by the next judge.
    """

    def __init__(self, builder: Builder) -> None:
        self.builder = builder
        self._complaints: dict[Language, str] = {}  # "" where the language works

    def require(self, name: str) -> tuple[Language, str]:
        """The language of a name with its tool chain. Raises LanguageUnavailable, and JailDied, which
        proves nothing.
        """
        language, toolchain = require_usable(name, self.builder.isolation.kind)
        if language not in self._complaints:
            self._complaints[language] = "" if language.in_supervisor else self._proven(language, toolchain)
        if complaint := self._complaints[language]:
            raise LanguageUnavailable(f"language {name}: {toolchain} does not work here: {complaint}")
        return language, toolchain

    def _proven(self, language: Language, toolchain: str) -> str:
        """The complaint about the tool chain, from the cache where it has worked before."""
        proof = self.builder.cache / "proofs" / _fingerprint(language, toolchain, self.builder.isolation.kind)
        if proof.is_file():
            return ""
        complaint = self._complaint(language)
        if not complaint:
            proof.parent.mkdir(exist_ok=True)
            proof.touch()
        return complaint

    def _complaint(self, language: Language) -> str:
        """What is wrong with the tool chain; "" where its hello program prints what it should."""
        limits = with_run_time(HELLO_LIMITS, language)
        group = self.builder.isolation.group
        files = (sealed(HELLO_INPUT), os.memfd_create("stdout"), os.memfd_create("stderr"))
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


def _fingerprint(language: Language, toolchain: str, kind: Kind) -> str:
    """Of everything that decides whether the hello program runs: its row, its tools, and the kind of jail."""
    commands = (language.compile, language.run, language.version)
    tools = [locate(tool) for tool in (*language.tools, *(words[0] for words in commands if words))]
    parts = [
        toolchain, kind, language.name, language.hello, *commands, language.standards, language.folders,
        language.compile_folders, language.environment,
        [(tool, os.stat(tool).st_mtime_ns) for tool in tools if tool],
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1][:200] if lines else ""
