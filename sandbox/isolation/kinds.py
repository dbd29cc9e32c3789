"""How one process isolates programs, as a value: kind of jail, user, control groups, supervisor in C."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from sandbox.isolation import bubblewrap, landlock
from sandbox.isolation.cgroups import Group
from sandbox.isolation.guest import confine
from sandbox.isolation.jail import JailSpec, StartedJail

Kind = Literal["bwrap", "landlock"]
KINDS: tuple[Kind, ...] = get_args(Kind)
USERS = {"bwrap": ("root", "userns"), "landlock": ("root", "user")}
HIGH_UID = 0x70000000
HIGH_UIDS = 1 << 22
LOW_UID, LOW_UIDS = 60000, 5000


@dataclass(frozen=True)
class Isolation:
    """How this process isolates programs.

    `establish` finds it out, tries it, and gives it to whoever starts jails.

    `uid` is the user that programs run as; 0: the user of this process, which is not root. `group` is the
    control group of the programs under judgement, `syntax_group` the one of the jails that only compile,
    `shared_group` the one of the jails that several programs share; None where there is none. `supervisor`
    and `library` are descriptors of the supervisor in C and of its library; None where it is not used.
    """

    kind: Kind
    uid: int = 0
    group: Group | None = None
    syntax_group: Group | None = None
    shared_group: Group | None = None
    supervisor: int | None = None
    library: int | None = None

    @property
    def tier(self) -> str:
        """What the jails are made of and what enforces the memory limit, for example `bwrap-root+cgroup2`."""
        user = USERS[self.kind][0 if self.uid else 1]
        return f"{self.kind}-{user}+{self.group.name if self.group else 'rlimits'}"

    @property
    def engine(self) -> str:
        """Name and version of what builds the jails."""
        if self.kind == "landlock":
            return f"Landlock {confine.version()}"
        command = [bubblewrap.find_bwrap(), "--version"]
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()

    @property
    def groups(self) -> tuple[Group, ...]:
        """The control groups that there are."""
        return tuple(group for group in (self.group, self.syntax_group, self.shared_group) if group)

    def start(self, spec: JailSpec, control: int, messages: int) -> StartedJail:
        """Start a jail.

        Its supervisor serves the socket `control`; complaints go to the descriptor `messages`.
        """
        if self.kind == "landlock":
            return landlock.start(spec, self.uid, control, messages)
        return bubblewrap.start(spec, bool(self.uid), control, messages)

    def path_inside(self, folder: str) -> str:
        """Where a program finds its own folder."""
        return bubblewrap.PROGRAM if self.kind == "bwrap" else folder

    def close(self) -> None:
        """Remove the control groups. All jails must have ended."""
        for group in self.groups:
            group.close()


def program_uid(worker_pid: int) -> int:
    """The user that programs of a root worker run as: one per worker, if the machine has that many users."""
    extents = [tuple(map(int, line.split())) for line in Path("/proc/self/uid_map").read_text().splitlines()]
    first, _, count = max(extents, key=lambda extent: extent[2])
    if first + count > HIGH_UID + HIGH_UIDS:
        return HIGH_UID + worker_pid
    return LOW_UID + worker_pid % LOW_UIDS
