"""What a jail shows to the program in it, and a started jail.

`bubblewrap.py` and `landlock.py` each build one kind.
"""

from __future__ import annotations

import os
import resource
import select
import shutil
import signal
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sandbox.bounds import MIB

LIBRARY_FOLDERS = ("/usr/lib", "/usr/lib64", "/usr/lib32", "/lib", "/lib64")
LINKER_CACHE = Path("/etc/ld.so.cache")
SCRATCH_BYTES = 64 * MIB
COMPILE_SCRATCH_BYTES = 512 * MIB
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "HOME": "/tmp", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}
# The linker resolves all functions when the supervisor starts; otherwise every fork of it resolves some
# hundred again.
EAGER_LINKING = {"LD_BIND_NOW": "1"}
# Libraries of packages that would start threads, which a fork does not have.
ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
INTERPRETER_OPTIONS = ("-S", "-s", "-P", "-B", "-X", "utf8")


@dataclass(frozen=True)
class JailSpec:
    """What one jail shows beside the base system.

    Paths keep their names inside, except `program` under bubblewrap.

    `supervisor` is a descriptor of the supervisor in C, which runs executables; None for the supervisor in
    Python, which needs the shared libraries. `library` is a descriptor of the C library with which the latter
    follows its children. `scratch_files` are (path, contents) that the scratch folder holds from the start.
    `source` is a descriptor of a Python program, which finds its own text where bubblewrap can show it;
    `packages` is the folder, among `folders`, that it may import from beside the standard library.
    """

    folders: tuple[str, ...] = ()
    program: str | None = None
    compiles: bool = False
    stack_bytes: int = 512 * MIB
    hash_seed: int = 0
    libraries: bool = True
    supervisor: int | None = None
    library: int | None = None
    scratch_files: tuple[tuple[str, bytes], ...] = ()
    source: int | None = None
    packages: str | None = None

    @property
    def scratch_bytes(self) -> int:
        """The size of each scratch folder: compilers get more."""
        return COMPILE_SCRATCH_BYTES if self.compiles else SCRATCH_BYTES

    @property
    def environment(self) -> dict[str, str]:
        """The environment of the supervisor, which removes its own part before programs start."""
        own = EAGER_LINKING if self.supervisor is None else {}
        if self.packages:
            own = own | ONE_THREAD | {"SPO_PACKAGES": self.packages}
        return ENVIRONMENT | {"PYTHONHASHSEED": str(self.hash_seed)} | own


@dataclass
class StartedJail:
    """A started jail: its first process, and its scratch folder where that is on this machine's disk."""

    process: subprocess.Popen[bytes]
    scratch: str | None = None

    @property
    def scratch_environment(self) -> dict[str, str]:
        """The variables that say where programs may write, where that is not /tmp."""
        return {"HOME": self.scratch, "TMPDIR": self.scratch} if self.scratch else {}

    def end(self, patience_s: float) -> None:
        """Wait for the first process to exit, kill it after `patience_s`, and remove the scratch folder."""
        pidfd = os.pidfd_open(self.process.pid)
        exited = select.select([pidfd], [], [], patience_s)[0]
        os.close(pidfd)
        if not exited:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        if self.scratch:
            shutil.rmtree(self.scratch, ignore_errors=True)


@cache
def interpreter() -> tuple[str, tuple[str, ...]]:
    """The real Python binary behind any virtual environment, and the read-only paths it needs."""
    binary = os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)
    needs = [binary, sysconfig.get_path("stdlib")]
    folder, name = sysconfig.get_config_var("LIBDIR") or "", sysconfig.get_config_var("INSTSONAME") or ""
    library = os.path.join(folder, name)
    if ".so" in library and os.path.exists(library):
        needs += [library, os.path.realpath(library)]
    return binary, tuple(path for path in dict.fromkeys(needs) if not path.startswith(("/usr/lib/", "/lib/")))


def limit_stack(stack_bytes: int) -> None:
    """Set the stack limit of this process, for the one it starts next.

    The kernel lays out the address space by this limit, so it must be set before the supervisor's interpreter
    starts.
    """
    hard = resource.getrlimit(resource.RLIMIT_STACK)[1]
    resource.setrlimit(
        resource.RLIMIT_STACK,
        (stack_bytes if hard == resource.RLIM_INFINITY else min(stack_bytes, hard), hard),
    )
