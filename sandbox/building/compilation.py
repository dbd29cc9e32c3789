"""One run of a compiler in a jail of its own: files in, files out."""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Container, Iterator, Mapping
from dataclasses import replace

from sandbox.bounds import MIB, is_data_path
from sandbox.building.scripts import ARCHIVE, unpack
from sandbox.building.tools import existing, tool_folders
from sandbox.contracts import Limits
from sandbox.isolation import Isolation, JailDied, JailSpec, Session, protocol, sealed, stack_bytes
from sandbox.languages import Language, locate

COMPILE_LIMITS = Limits(time_s=30.0, memory_mb=2048, output_bytes=256 * MIB, processes=128)
MAX_FILES = 500
MAX_TOTAL_BYTES = 256 * MIB
MESSAGE_BYTES = 4000


class CompileError(Exception):
    """The source does not compile within the limits; the text is the compiler's."""


class CompilerLimit(CompileError):
    """The compiler went over a limit: other options would not help."""


def compile_in_jail(
    isolation: Isolation,
    language: Language,
    files: Mapping[str, bytes],
    words: list[str],
    beside: str | None = None,
    limits: Limits = COMPILE_LIMITS,
) -> tuple[dict[str, bytes], float]:
    """Run the language's compiler with these words on files, in a jail with `beside` as its program.

    Returns the files that it leaves, and the wall time in seconds. Raises CompileError.
    """
    tools = [locate(tool) or tool for tool in (language.compile[0], *language.tools)]
    shown = [folder for tool in tools for folder in tool_folders(tool)]
    spec = JailSpec(
        (*existing(language.compile_folders), *existing(language.folders), *shown),
        program=beside,
        compiles=True,
        stack_bytes=stack_bytes(COMPILE_LIMITS),
    )
    group = isolation.group
    kills_before = group.out_of_memory_kills() if group else 0
    try:
        with Session(isolation, spec, COMPILE_LIMITS, group) as session:
            for file, contents in files.items():
                session.put_file(file, contents)
            session.set_command([tools[0], *words], dict(language.environment))
            seconds = _run_in(session, limits)
            made = _collect(session, files, language.keeps_folders)
    except JailDied as error:
        if group and group.out_of_memory_kills() > kills_before:
            # The kernel chose the supervisor instead of the compiler.
            limit = limit_name(protocol.MEMORY_EXCEEDED, limits)
            raise CompilerLimit(f"the compiler went over its limit of {limit}") from error
        raise
    return (dict(files) | _unpacked(made) if language.leaves_archive else made), seconds


def _run_in(session: Session, limits: Limits) -> float:
    """The wall time of the compiler in seconds. Raises CompileError."""
    output, nothing = os.memfd_create("compiler"), sealed(b"")
    try:
        run = session.run((nothing, output, output), limits.time_s, limits.wall_s)
        text = os.pread(output, MESSAGE_BYTES, 0).decode("utf-8", "replace")
    finally:
        os.close(output)
        os.close(nothing)
    if run.ending:
        raise CompilerLimit(f"the compiler went over its limit of {limit_name(run.ending, limits)}\n{text}")
    if run.exit_code != 0:
        raise CompileError(text.strip() or f"the compiler ended with wait status {run.status}")
    return run.wall_s


def limit_name(ending: int, limits: Limits) -> str:
    """The limit that ended a compiler."""
    return {
        protocol.CPU_EXCEEDED: f"{limits.time_s:g} s of CPU time",
        protocol.WALL_EXCEEDED: f"{limits.wall_s:g} s of wall time",
        protocol.MEMORY_EXCEEDED: f"{limits.memory_mb} MB of memory",
    }.get(ending, "waiting for a processor")


def compile_limits(time_s: float | None) -> Limits:
    """The limits of a compiler that may use some seconds of CPU time, or None: as much as any other."""
    if time_s is None or time_s >= COMPILE_LIMITS.time_s:
        return COMPILE_LIMITS
    return replace(COMPILE_LIMITS, time_s=time_s)


def _collect(session: Session, leave_out: Container[str], with_folders: bool) -> dict[str, bytes]:
    """The files that the compiler left.

    They are untrusted: only plain files with plain names, and not too large; those in folders only
    `with_folders`.
    """
    files: dict[str, bytes] = {}
    total = 0
    for name in _names(session, with_folders):
        if name in leave_out or not is_data_path(name):
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


def _unpacked(made: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files of the archive that a build script has left. Raises CompileError."""
    try:
        return unpack(made[ARCHIVE], MAX_FILES)
    except (KeyError, ValueError, OSError, EOFError, tarfile.TarError) as error:
        raise CompileError(f"the build script left no program: {error}") from error


def _names(session: Session, with_folders: bool) -> Iterator[str]:
    """Paths of the files in the scratch folder."""
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        for name in session.list_files(folder):
            if not name.endswith("/"):
                yield folder + name
            elif with_folders and len(waiting) < MAX_FILES:
                waiting.append(folder + name)


def _read(session: Session, name: str, max_bytes: int) -> bytes | None:
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
            return file.read(max_bytes)
    except OSError:
        return None
    finally:
        os.close(descriptor)
