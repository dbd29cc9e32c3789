"""Memory and process limits by control group, v2 or v1, where this process may make one.

Each worker has one group per purpose, which its jails use one after the other. Whether a machine allows it is
found out by making one: both versions exist, also side by side, with the controllers in either tree. A
group's name says which process owns it, so that what a killed worker leaves behind can be distinguished from
what is in use.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sandbox.bounds import MIB

SLACK_BYTES = 48 * MIB  # the supervisor itself, kernel memory, the scratch folders' bookkeeping
NAME = "spo-judge-"


@dataclass(frozen=True)
class Files:
    """The control files of one version, relative to the group.

    `events` holds the count of out-of-memory kills.
    """

    version: int
    memory: tuple[str, ...]
    swap_is_total: bool
    processes: str
    events: str


V1 = Files(
    1, ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes"), True, "pids.max", "memory.oom_control"
)
V2 = Files(2, ("memory.max", "memory.swap.max"), False, "pids.max", "memory.events")


class Group:
    """A control group of this process. `folders` has one entry in v2, one per controller in v1."""

    def __init__(self, files: Files, folders: tuple[Path, ...]) -> None:
        self.files, self.folders = files, folders
        self.limits: tuple[int, int] | None = None

    @property
    def name(self) -> str:
        return f"cgroup{self.files.version}"

    def set_limits(self, memory_mb: int, processes: int) -> None:
        """Set the limits for the next jail. Raises OSError."""
        if self.limits == (memory_mb, processes):
            return
        memory = memory_mb * MIB + SLACK_BYTES
        values = (memory, memory if self.files.swap_is_total else 0)
        settings = [
            (self._find(file), str(value)) for file, value in zip(self.files.memory, values, strict=True)
        ]
        # v1 refuses a memory limit above the total limit, so the right order depends on the old values.
        for attempt in range(2):
            failed = [not _write(file, value) for file, value in settings]
            if not failed[0] and (attempt or not any(failed)):
                break
        if failed[0]:
            raise OSError(f"cannot set {self._find(self.files.memory[0])}")
        _write(self._find(self.files.processes), str(processes + 8))
        self.limits = (memory_mb, processes)

    def add(self, pid: int) -> None:
        """Move a process in. Raises OSError."""
        for folder in self.folders:
            (folder / "cgroup.procs").write_text(str(pid))

    def out_of_memory_kills(self) -> int:
        """The number of processes that the kernel has killed in this group for its memory limit."""
        for line in self._find(self.files.events).read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
        return 0

    def close(self) -> None:
        """Remove the group."""
        remove_groups(self.folders)

    def _find(self, file: str) -> Path:
        return next(
            (folder / file for folder in self.folders if (folder / file).exists()), self.folders[0] / file
        )


def remove_groups(folders: Iterable[Path], patience_s: float = 0.0) -> None:
    """Remove groups, and wait for their processes to exit.

    What is left after `patience_s` is removed by the next start.
    """
    deadline = time.monotonic() + patience_s
    for folder in folders:
        while not _removed(folder) and time.monotonic() < deadline:
            time.sleep(0.005)


def make(purpose: str = "") -> Group | None:
    """A new group, tried with a process in it, or None where this machine does not allow one."""
    own = _own_paths()
    for parent in _ancestors(_mount("cgroup2", ""), own.get("")):
        if {"memory", "pids"} <= set(_read(parent / "cgroup.subtree_control").split()):
            group = _try(V2, (parent,), purpose)
            if group:
                return group
    memory, pids = _mount("cgroup", "memory"), _mount("cgroup", "pids")
    if memory and pids:
        for memory_parent in _ancestors(memory, own.get("memory")):
            for pids_parent in _ancestors(pids, own.get("pids")):
                group = _try(V1, tuple(dict.fromkeys((memory_parent, pids_parent))), purpose)
                if group:
                    return group
    return None


def remove_left_over_groups() -> None:
    """Remove the groups of workers that have exited, anywhere: the next start may be in another group."""
    remove_groups(left_over())


def left_over() -> list[Path]:
    """The groups of workers that have exited."""
    mounts = {_mount("cgroup2", ""), _mount("cgroup", "memory"), _mount("cgroup", "pids")} - {None}
    leftovers = []
    for mount in mounts:
        for parent, names, _ in os.walk(str(mount)):
            for name in [name for name in names if name.startswith(NAME)]:
                names.remove(name)
                if _is_left_over(name):
                    leftovers.append(Path(parent, name))
    return leftovers


def _try(files: Files, parents: tuple[Path, ...], purpose: str) -> Group | None:
    """Make a group below the parents and move a process into it. None where either fails."""
    name = _new_name(purpose)
    group = Group(files, tuple(parent / name for parent in parents))
    try:
        for folder in group.folders:
            folder.mkdir()
        group.set_limits(64, 8)
        # Not a fork of this process, whose threads and libraries may not stand it; `cat` ends with the pipe.
        with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
            group.add(process.pid)
        group.out_of_memory_kills()
        return group
    except OSError:
        group.close()
        return None


def _new_name(purpose: str) -> str:
    """A name that no other group has, and that says which process owns the group.

    Process ids are used again, and other containers have the same ones; hence the namespace and the start
    time.
    """
    words = (purpose, secrets.token_hex(4), _pid_namespace(), str(os.getpid()), _start_time(os.getpid()))
    return NAME + "-".join(filter(None, words))


def _is_left_over(name: str) -> bool:
    """Whether the group belongs to a worker of this process's namespace that has exited."""
    *_, namespace, pid, started = ("", "", *name.removeprefix(NAME).split("-"))
    return namespace == _pid_namespace() and pid.isdigit() and _start_time(int(pid)) != started


def _pid_namespace() -> str:
    return os.readlink("/proc/self/ns/pid").strip("pid:[]")


def _start_time(pid: int) -> str:
    """When a process started, in clock ticks since the machine did; "" where there is no such process."""
    fields = _read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    return fields[19] if fields else ""


def _removed(folder: Path) -> bool:
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _own_paths() -> dict[str, str]:
    """This process's path in each hierarchy: {controller: path}; the controller of v2 is ""."""
    paths = {}
    for line in _read(Path("/proc/self/cgroup")).splitlines():
        _, controllers, path = line.split(":", 2)
        paths.update(dict.fromkeys(controllers.split(","), path))
    return paths


def _mount(kind: str, controller: str) -> Path | None:
    for line in _read(Path("/proc/self/mounts")).splitlines():
        _, folder, file_system, options, *_ = line.split()
        if file_system == kind and (not controller or controller in options.split(",")):
            return Path(folder)
    return None


def _ancestors(mount: Path | None, own: str | None) -> list[Path]:
    """The folders in which a group may be made, nearest first: this process's folder and those above it."""
    if mount is None:
        return []
    below = Path((own or "/").lstrip("/"))
    return [
        folder
        for part in (below, *below.parents)
        if (folder := mount / part).is_dir() and os.access(folder, os.W_OK)
    ]


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _write(path: Path, text: str) -> bool:
    try:
        path.write_text(text)
    except OSError:
        return False
    return True
