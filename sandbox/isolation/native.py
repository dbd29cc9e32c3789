"""The supervisor in C: built once with the machine's compiler, and kept beside the built programs.

Without a C compiler or a static C library there is none, and the supervisor in Python does the same work more
slowly.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

SOURCES = tuple(
    Path(__file__).parent / "guest" / name for name in ("supervisor.c", "protocol.h", "usage.h", "memory.h")
)
FLAGS = ("-std=gnu17", "-O2", "-w")
EXECUTABLE, LIBRARY = ("-static",), ("-shared", "-fPIC", "-DLIBRARY")


@cache
def supervisor(folder: Path) -> int | None:
    """A descriptor of the executable supervisor, for bubblewrap to start; None where it cannot be built."""
    return _opened(folder, EXECUTABLE)


@cache
def library(folder: Path) -> int | None:
    """A descriptor of the library that the supervisor in Python uses; None where it cannot be built."""
    return _opened(folder, LIBRARY)


def _opened(folder: Path, flags: tuple[str, ...]) -> int | None:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or (path := build(compiler, folder, flags)) is None:
        return None
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def build(compiler: str, folder: Path, flags: tuple[str, ...] = EXECUTABLE) -> Path | None:
    """The built file. It is written under another name and renamed, so that nobody starts a partial one."""
    version = subprocess.run([compiler, "--version"], capture_output=True).stdout
    recipe = b"\0".join(
        [version, *map(str.encode, (*FLAGS, *flags)), *(source.read_bytes() for source in SOURCES)]
    )
    target = folder / f"supervisor-{hashlib.sha256(recipe).hexdigest()}"
    if target.exists():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    descriptor, made = tempfile.mkstemp(dir=folder)
    os.close(descriptor)
    built = subprocess.run(
        [compiler, *FLAGS, *flags, "-o", made, str(SOURCES[0])], capture_output=True, stdin=subprocess.DEVNULL
    )
    if built.returncode != 0:
        os.unlink(made)
        return None
    os.chmod(made, 0o755)
    os.replace(made, target)
    return target
