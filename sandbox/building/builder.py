"""From source to a folder of files that the jail shows at /program. Compilers run inside the jail as well."""

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

from sandbox import languages
from sandbox.building.syntax import SyntaxJails
from sandbox.contracts import MIB, Limits
from sandbox.isolation import jail, landlock, tiers
from sandbox.isolation.guest import protocol
from sandbox.isolation.session import JailDied, Session, sealed, stack_bytes
from sandbox.languages import Language

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
# Only where nothing stands before it but comments: what is defined there may change what the header says.
HEADER_FIRST = re.compile(rb"(?:\s|//[^\n]*\n|/\*.*?\*/)*#[ \t]*include[ \t]*<bits/stdc\+\+\.h>", re.DOTALL)
PLAIN_NAME = re.compile(r"[A-Za-z0-9_$][A-Za-z0-9_$.\-]{0,200}")


class CompileError(Exception):
    """The source does not compile within the limits; the text is the compiler's."""


@dataclass(frozen=True)
class Built:
    """A program ready to run: `folder` is shown at /program."""

    folder: str
    main: str


class Builder:
    """Builds programs, keeping what was built in `cache` by hash of source, command line and tool chain."""

    def __init__(self, cache: Path) -> None:
        self.cache = cache
        cache.mkdir(parents=True, exist_ok=True)
        self.syntax = SyntaxJails(cache)

    def close(self) -> None:
        """End what stands between two programs."""
        self.syntax.close()

    def build(
        self, language: Language, source: str, files: Mapping[str, str] = MappingProxyType({})
    ) -> Built:
        """Build a program with `files`, {name: text}, beside its source. Raises CompileError."""
        main = "Main"
        if language.adapt_source:
            source, main = language.adapt_source(source)
        recipe = [language.name, language.compile, languages.toolchain(language), main]
        beside = {name: encoded(text) for name, text in sorted(files.items())}
        parts = [
            json.dumps(recipe).encode(),
            encoded(source),
            *(name.encode() + b"=" + text for name, text in beside.items()),
        ]
        # Each part hashed by itself: no source can pass for another one with a file beside it.
        key = hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()
        target = self.cache / key[:2] / key
        if not target.is_dir():
            target.parent.mkdir(exist_ok=True)
            beside[language.source_name.format(main=main)] = encoded(source)
            _store(self._compile(language, beside, main) if language.compile else beside, target)
        return Built(str(landlock.reachable(target) if jail.kind == "landlock" else target), main)

    def _header(self, language: Language) -> Path:
        """The folder with the large header everybody includes, compiled beforehand: opening it takes a fifth of its time."""
        recipe = [
            HEADER,
            HEADER_AGAIN.decode(),
            language.name,
            language.compile,
            languages.toolchain(language),
        ]
        folder = self.cache / f"header-{hashlib.sha256(json.dumps(recipe).encode()).hexdigest()}"
        if not folder.is_dir():
            flags = [
                word
                for word in language.compile[1:]
                if word not in ("-static", "-pipe", "-o", "main", "{source}")
            ]
            flags[flags.index("-x") + 1] = "c++-header"
            files = {"main.h": f"#include <{HEADER}>".encode()}
            built = self._run(language, files, [*flags, "-o", "compiled", "main.h"])
            _store({f"{HEADER}.gch": built["compiled"], HEADER: HEADER_AGAIN}, folder)
        return folder

    def _compile(self, language: Language, files: Mapping[str, bytes], main: str) -> dict[str, bytes]:
        name = language.source_name.format(main=main)
        words = [word.format(source=name, main=main) for word in language.compile[1:]]
        if jail.kind == "landlock" or not language.precompiled_header or not HEADER_FIRST.match(files[name]):
            return self._run(language, files, words)
        header = str(self._header(language))
        return self._run(language, files, [f"-I{jail.inside(header)}", *words], header)

    def _run(
        self, language: Language, files: Mapping[str, bytes], words: list[str], beside: str | None = None
    ) -> dict[str, bytes]:
        """Run the language's compiler on files in a jail of its own, with `beside` at /program. Gives the files it has made."""
        tool = languages.locate(language.compile[0]) or language.compile[0]
        spec = jail.JailSpec(
            folders=(*existing(language.compile_folders), *existing(language.folders), *tool_folders(tool)), program=beside,
            scratch_bytes=jail.COMPILE_SCRATCH_BYTES, stack_bytes=stack_bytes(COMPILE_LIMITS),
        )  # fmt: skip
        group = tiers.group()
        kills = group.out_of_memory_kills() if group else 0
        try:
            with Session(spec, COMPILE_LIMITS, group) as session:
                for file, contents in files.items():
                    session.put_file(file, contents)
                session.set_command([tool, *words], jail.ENVIRONMENT | dict(language.environment))
                _run_compiler(session)
                return _collect(session, leave_out=files)
        except JailDied as error:
            if (
                group and group.out_of_memory_kills() > kills
            ):  # the kernel chose the supervisor instead of the compiler
                raise CompileError(
                    f"the compiler went over its limit of {LIMIT_NAMES[protocol.MEMORY_EXCEEDED]}"
                ) from error
            raise


def encoded(source: str) -> bytes:
    return source.encode("utf-8", "surrogatepass")


def existing(patterns: tuple[str, ...]) -> list[str]:
    """The paths that are there, of patterns that may hold a *."""
    return [str(path) for pattern in patterns for path in sorted(Path("/").glob(pattern.lstrip("/")))]


def tool_folders(tool: str) -> list[str]:
    """What a tool needs to be seen: itself, or the whole tool chain around it where that stands outside /usr."""
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
    """The files the compiler left, read as data from a stranger: plain files with plain names, not too large."""
    files: dict[str, bytes] = {}
    total = 0
    for name in session.list_files():
        descriptor = session.take_file(name) if name not in leave_out and PLAIN_NAME.fullmatch(name) else None
        if descriptor is None:
            continue
        with open(descriptor, "rb") as file:
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                files[name] = file.read(MAX_TOTAL_BYTES - total + 1)
                total += len(files[name])
        if total > MAX_TOTAL_BYTES or len(files) > MAX_FILES:
            raise CompileError(f"the compiled program is larger than {MAX_TOTAL_BYTES // MIB} MiB")
    if not files:
        raise CompileError("the compiler left no program")
    return files


def _store(files: dict[str, bytes], target: Path) -> None:
    """Write beside the target and rename: readers see all or nothing, and the first of two builders wins."""
    folder = Path(tempfile.mkdtemp(dir=target.parent))
    for name, contents in files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.parent.chmod(0o755)
        path.write_bytes(contents)
        path.chmod(0o755)
    folder.chmod(0o755)
    try:
        folder.rename(target)
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)
        if not target.is_dir():
            raise
