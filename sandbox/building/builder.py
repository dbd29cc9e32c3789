"""From source text to a folder of files that a jail shows as the program. Compilers run in jails, too."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Container, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from sandbox.building.syntax import SyntaxJails
from sandbox.contracts import MIB, Limits, is_plain_name, shown
from sandbox.isolation import (
    Isolation,
    JailDied,
    JailSpec,
    ProgramCopies,
    Session,
    is_open,
    protocol,
    sealed,
    stack_bytes,
)
from sandbox.languages import Language, locate, toolchain

COMPILE_LIMITS = Limits(time_s=30.0, memory_mb=2048, output_bytes=256 * MIB, processes=128)
LIMIT_NAMES = {
    protocol.CPU_EXCEEDED: f"{COMPILE_LIMITS.time_s:g} s of CPU time",
    protocol.WALL_EXCEEDED: f"{COMPILE_LIMITS.wall_s:g} s of wall time",
    protocol.MEMORY_EXCEEDED: f"{COMPILE_LIMITS.memory_mb} MB of memory",
}
MAX_FILES = 500
MAX_TOTAL_BYTES = 256 * MIB
MESSAGE_BYTES = 4000
HEADER = "bits/stdc++.h"
HEADER_AGAIN = b"#include_next <bits/stdc++.h>\n"  # for other headers that include it, such as bits/extc++.h
# Only where nothing but comments comes before it: macros defined there may change what the header says.
HEADER_FIRST = re.compile(rb"(?:\s|//[^\n]*\n|/\*.*?\*/)*#[ \t]*include[ \t]*<bits/stdc\+\+\.h>", re.DOTALL)


class CompileError(Exception):
    """The source does not compile within the limits; the text is the compiler's."""


@dataclass(frozen=True)
class Built:
    """A program ready to run: `folder` is shown at /program."""

    folder: str
    main: str


class Builder:
    """Builds programs. What it has built stays in `cache`, by hash of source, command line and tool chain."""

    def __init__(self, isolation: Isolation, cache: Path) -> None:
        self.isolation, self.cache = isolation, cache
        cache.mkdir(parents=True, exist_ok=True)
        self.syntax = SyntaxJails(isolation)
        self._copies: ProgramCopies | None = None

    def close(self) -> None:
        """End the syntax jails and remove copies of programs. Both come again when they are needed."""
        self.syntax.close()
        if self._copies:
            self._copies.close()
            self._copies = None

    def build(
        self, language: Language, source: str, files: Mapping[str, str] = MappingProxyType({})
    ) -> Built:
        """Build a program with `files`, {name: text}, beside its source. Raises CompileError."""
        main = "Main"
        if language.adapt_source:
            source, main = language.adapt_source(source)
        beside = {name: encoded(text) for name, text in sorted(files.items())}
        parts = [
            json.dumps([language.name, language.compile, toolchain(language), main]).encode(),
            encoded(source),
            *(name.encode() + b"=" + text for name, text in beside.items()),
        ]
        # Each part is hashed by itself: no source can pass for another one with a file beside it.
        key = hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()
        target = self.cache / key[:2] / key
        if not target.is_dir():
            target.parent.mkdir(exist_ok=True)
            beside[language.source_name.format(main=main)] = encoded(source)
            _store(self._compile(language, beside, main) if language.compile else beside, target)
        return Built(str(self._reachable(target)), main)

    def _reachable(self, folder: Path) -> Path:
        """The folder of a program, or a copy that its user can reach: Landlock cannot mount the folder."""
        if self.isolation.kind == "bwrap" or not self.isolation.uid or is_open(folder):
            return folder
        self._copies = self._copies or ProgramCopies()
        return self._copies.copy_of(folder)

    def _compile(self, language: Language, files: Mapping[str, bytes], main: str) -> dict[str, bytes]:
        name = language.source_name.format(main=main)
        words = [word.format(source=name, main=main) for word in language.compile[1:]]
        header = None
        if self._precompiles(language) and HEADER_FIRST.match(files[name]):
            header = str(self._header(language))
            words = [f"-I{self.isolation.path_inside(header)}", *words]
        made = self._run(language, files, words, header)
        missing = [word for word in language.run if word == "{program}/main" and "main" not in made]
        if missing:
            raise CompileError("the compiler left no program")
        return made

    def _precompiles(self, language: Language) -> bool:
        """Whether the header can be shown to the compiler: only bubblewrap can mount its folder."""
        return language.precompiled_header and self.isolation.kind == "bwrap"

    def _header(self, language: Language) -> Path:
        """The folder with the large header of g++, compiled beforehand."""
        recipe = [HEADER, HEADER_AGAIN.decode(), language.name, language.compile, toolchain(language)]
        folder = self.cache / f"header-{hashlib.sha256(json.dumps(recipe).encode()).hexdigest()}"
        if not folder.is_dir():
            others = ("-static", "-pipe", "-o", "main", "{source}")
            flags = [word for word in language.compile[1:] if word not in others]
            flags[flags.index("-x") + 1] = "c++-header"
            files = {"main.h": f"#include <{HEADER}>".encode()}
            built = self._run(language, files, [*flags, "-o", "compiled", "main.h"])
            _store({f"{HEADER}.gch": built["compiled"], HEADER: HEADER_AGAIN}, folder)
        return folder

    def _run(
        self, language: Language, files: Mapping[str, bytes], words: list[str], beside: str | None = None
    ) -> dict[str, bytes]:
        """Run the language's compiler on files in a jail of its own, with `beside` as its program.

        Returns its files.
        """
        tool = locate(language.compile[0]) or language.compile[0]
        folders = (*existing(language.compile_folders), *existing(language.folders), *tool_folders(tool))
        spec = JailSpec(
            folders,
            program=beside,
            compiles=True,
            stack_bytes=stack_bytes(COMPILE_LIMITS),
        )
        group = self.isolation.group
        kills_before = group.out_of_memory_kills() if group else 0
        try:
            with Session(self.isolation, spec, COMPILE_LIMITS, group) as session:
                for file, contents in files.items():
                    session.put_file(file, contents)
                session.set_command([tool, *words], dict(language.environment))
                _run_compiler(session)
                return _collect(session, leave_out=files)
        except JailDied as error:
            if group and group.out_of_memory_kills() > kills_before:
                # The kernel chose the supervisor instead of the compiler.
                limit = LIMIT_NAMES[protocol.MEMORY_EXCEEDED]
                raise CompileError(f"the compiler went over its limit of {limit}") from error
            raise


def encoded(source: str) -> bytes:
    """UTF-8; surrogates that stand for no character stay what they are."""
    return source.encode("utf-8", "surrogatepass")


def existing(patterns: tuple[str, ...]) -> list[str]:
    """The existing paths among patterns that may hold a *."""
    return [str(path) for pattern in patterns for path in sorted(Path("/").glob(pattern.lstrip("/")))]


def tool_folders(tool: str) -> list[str]:
    """What a jail must show of a tool: the tool itself, or outside /usr the whole tool chain around it."""
    path = Path(tool)
    if path.is_relative_to("/usr/lib"):
        return []
    if path.is_relative_to("/usr") or path.parent.name != "bin":
        return [tool]
    return [str(path.parent.parent)]


def _run_compiler(session: Session) -> None:
    output, nothing = os.memfd_create("compiler"), sealed(b"")
    try:
        run = session.run((nothing, output, output), COMPILE_LIMITS.time_s, COMPILE_LIMITS.wall_s)
        text = os.pread(output, MESSAGE_BYTES, 0).decode("utf-8", "replace")
    finally:
        os.close(output)
        os.close(nothing)
    if run.ending:
        raise CompileError(f"the compiler went over its limit of {LIMIT_NAMES[run.ending]}\n{text}")
    if run.exit_code != 0:
        raise CompileError(text.strip() or f"the compiler ended with wait status {run.status}")


def _collect(session: Session, leave_out: Container[str]) -> dict[str, bytes]:
    """The files that the compiler left.

    They are untrusted: only plain files with plain names, and not too large.
    """
    files: dict[str, bytes] = {}
    total = 0
    for name in session.list_files():
        if name in leave_out or not is_plain_name(name):
            continue
        contents = _read(session, name, MAX_TOTAL_BYTES - total + 1)
        if contents is not None:
            files[name] = contents
            total += len(contents)
        if total > MAX_TOTAL_BYTES or len(files) > MAX_FILES:
            raise CompileError(f"the compiled program is larger than {MAX_TOTAL_BYTES // MIB} MiB")
    if not files:
        raise CompileError("the compiler left no program")
    return files


def _read(session: Session, name: str, most_bytes: int) -> bytes | None:
    """The contents of a plain file; None for a folder, a link, a FIFO, a socket, a device, and what cannot
    be opened.
    """
    descriptor = session.open_file(name)
    if descriptor is None:
        return None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(most_bytes)
    except OSError:
        return None
    finally:
        os.close(descriptor)


def _store(files: dict[str, bytes], target: Path) -> None:
    """Write to a temporary folder and rename it: readers see all or nothing, the first builder wins."""
    folder = Path(tempfile.mkdtemp(dir=target.parent))
    for name, contents in files.items():
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()):
            raise ValueError(f"{shown(name)} does not name a file of the program")
        if path.parent != folder:
            path.parent.mkdir(mode=0o755, exist_ok=True)
        path.write_bytes(contents)
        path.chmod(0o755)
    folder.chmod(0o755)
    try:
        folder.rename(target)
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)
        if not target.is_dir():
            raise
