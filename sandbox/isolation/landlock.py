"""The second kind of jail, for machines where no namespace can be made (Docker as it comes): see `guest/confine.py`.

It is narrower for the programs and weaker than the first. Programs can neither start processes nor write files; they can learn
that a file exists, but not what is in it; what compilers write goes to a folder of their own on disk.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import tempfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from sandbox.contracts import SandboxUnavailable
from sandbox.isolation import seccomp
from sandbox.isolation.guest import confine

GUEST = Path(__file__).parent / "guest"
HELD_PROGRAMS = 16
DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")


def require(paths: Iterable[str]) -> None:
    """Raises SandboxUnavailable, in one line, where this kernel's Landlock is missing or too old, or programs, which run as a
    user of their own if the judge is root, could not reach the paths they need."""
    found = confine.version()
    if not found:
        raise SandboxUnavailable(
            "this kernel has no Landlock, or a filter refuses it (Linux 5.13, with lsm=...,landlock)"
        )
    if found < confine.NEEDED_VERSION:
        raise SandboxUnavailable(
            f"Landlock {found} lets signals out: {confine.NEEDED_VERSION} is needed (Linux 6.12)"
        )
    if os.geteuid() == 0 and (closed := [str(path) for path in map(Path, paths) if not is_open(path)]):
        raise SandboxUnavailable(
            f"Landlock's jail needs {closed[0]} open to every user; mend with: a Python below /usr"
        )


def is_open(path: Path) -> bool:
    """Whether any user can read a file or folder, and reach it."""
    return bool(path.stat().st_mode & 0o004) and all(parent.stat().st_mode & 0o001 for parent in path.parents)


def make_scratch(uid: int) -> str:
    """A folder that only user `uid` (0: this one) can enter."""
    folder = tempfile.mkdtemp(prefix="spo-judge-")
    if uid:
        os.chown(folder, uid, uid)
    return folder


def remove_scratch(folder: str) -> None:
    shutil.rmtree(folder, ignore_errors=True)


class Shelf:
    """Copies of the programs that ran last, where every user can reach them: the judge's own folders may be closed."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="spo-judge-"))
        self.folder.chmod(0o711)
        self.held: list[Path] = []
        atexit.register(remove_scratch, str(self.folder))

    def place(self, program: Path) -> Path:
        target = self.folder / program.name
        if target in self.held:
            self.held.remove(target)
        else:
            shutil.copytree(program, target)
        self.held.append(target)
        if len(self.held) > HELD_PROGRAMS:
            remove_scratch(str(self.held.pop(0)))
        return target


shelf = cache(Shelf)


def reachable(folder: Path) -> Path:
    """The folder of a program, or a copy of it that the user can reach as whom it runs."""
    return folder if os.geteuid() != 0 or is_open(folder) else shelf().place(folder)


def spec(read: list[str], scratch: str | None) -> str:
    """The settings for `guest/confine.py`: readable paths, devices, the writable folder, and both system-call filters.

    Who has a folder to write to is a compiler, and may start processes.
    """
    extra = seccomp.FILE_ATTRIBUTES | ({} if scratch else seccomp.FORKS)
    return json.dumps(
        {
            "read": [path for path in read if os.path.exists(path)],
            "devices": [path for path in DEVICES if os.path.exists(path)],
            "scratch": scratch,
            "guest": str(GUEST),
            "filter": seccomp.filter_program().hex(),
            "child_filter": seccomp.filter_program(extra, may_fork=scratch is not None).hex(),
        }
    )
