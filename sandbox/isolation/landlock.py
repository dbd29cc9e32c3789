"""The second kind of jail, for machines where no namespace can be made, such as Docker by default.

`guest/confine.py` builds it from inside.
It allows programs less and protects less than the first kind. Programs can neither start processes nor write
files; they can learn that a file exists, but not what is in it; what compilers write goes to a folder of
their own on disk.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

from sandbox.contracts import SandboxUnavailable
from sandbox.isolation import seccomp
from sandbox.isolation.guest import confine
from sandbox.isolation.jail import (
    INTERPRETER_OPTIONS,
    LIBRARY_FOLDERS,
    LINKER_CACHE,
    JailSpec,
    StartedJail,
    interpreter,
    limit_stack,
)

GUEST = Path(__file__).parent / "guest"
MAX_COPIES = 16
DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")


def require(paths: Iterable[str]) -> None:
    """Raises SandboxUnavailable where Landlock is missing or too old, or where programs cannot reach `paths`.

    Programs of a judge that is root run as a user of their own.
    """
    version = confine.version()
    if not version:
        raise SandboxUnavailable(
            "this kernel has no Landlock, or a filter refuses it (Linux 5.13, with lsm=...,landlock)"
        )
    if version < confine.NEEDED_VERSION:
        raise SandboxUnavailable(
            f"Landlock {version} lets signals out: {confine.NEEDED_VERSION} is needed (Linux 6.12)"
        )
    if os.geteuid() == 0 and (closed := [str(path) for path in map(Path, paths) if not is_open(path)]):
        raise SandboxUnavailable(
            f"a Landlock jail needs {closed[0]} open to every user; fix it with: a Python below /usr"
        )


def require_reachable_interpreter() -> None:
    """Raises SandboxUnavailable like `require`, for what a jail needs of interpreter and package."""
    binary, needs = interpreter()
    require([binary, *needs, str(GUEST), tempfile.gettempdir()])


def is_open(path: Path) -> bool:
    """Whether any user can read a file or folder, and reach it."""
    return bool(path.stat().st_mode & 0o004) and all(parent.stat().st_mode & 0o001 for parent in path.parents)


def start(spec: JailSpec, uid: int, control: int, messages: int) -> StartedJail:
    """Start the supervisor in Python, which confines itself.

    Arguments as for `bubblewrap.start`; `uid` 0: this user.
    """
    binary, needs = interpreter()
    scratch = make_scratch(uid) if spec.compiles else None
    read = [*LIBRARY_FOLDERS, str(LINKER_CACHE), *needs, *spec.folders, *filter(None, [spec.program])]
    words = [
        binary,
        *INTERPRETER_OPTIONS,
        str(GUEST / "supervisor.py"),
        settings(read, scratch),
        str(control),
    ]
    limit_stack(spec.stack_bytes)
    process = subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=messages,
        pass_fds=(control,),
        cwd=scratch or "/",
        start_new_session=True,
        umask=0o077,
        env=spec.environment | {"HOME": scratch or "/"},
    )
    return StartedJail(process, scratch)


def make_scratch(uid: int) -> str:
    """A folder that only user `uid` (0: this one) can enter."""
    folder = tempfile.mkdtemp(prefix="spo-judge-")
    if uid:
        os.chown(folder, uid, uid)
    return folder


def settings(read: list[str], scratch: str | None) -> str:
    """The settings for `guest/confine.py`: readable paths, devices, the writable folder, both filters.

    Only compilers have a folder to write to; they may also start processes.
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


class ProgramCopies:
    """Copies of the last programs in a folder that every user can reach; the judge's own may be closed."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="spo-judge-"))
        self.folder.chmod(0o711)
        self.copies: list[Path] = []

    def close(self) -> None:
        """Remove all copies."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def copy(self, program: Path) -> Path:
        """The copy of a program's folder. It stays until `MAX_COPIES` other programs have been copied."""
        target = self.folder / program.name
        if target in self.copies:
            self.copies.remove(target)
        else:
            shutil.copytree(program, target)
        self.copies.append(target)
        if len(self.copies) > MAX_COPIES:
            shutil.rmtree(self.copies.pop(0), ignore_errors=True)
        return target
