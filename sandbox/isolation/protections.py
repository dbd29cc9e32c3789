"""What protects this machine from programs, in words for a person."""

from __future__ import annotations

from sandbox.isolation import seccomp
from sandbox.isolation.guest import confine
from sandbox.isolation.kinds import Isolation


def protections_of(isolation: Isolation | None) -> dict[str, str]:
    """{protection: what this machine gives}; without an isolation, what the kernel alone says."""
    protections = {
        "seccomp": "system-call filter" if seccomp.supported() else "NONE: the filter knows x86-64 only",
        "landlock": landlock_here(),
    }
    if isolation is None:
        return protections
    namespaces = (
        "processes, network, files, IPC, names" if isolation.kind == "bwrap" else "NONE: not used here"
    )
    group = isolation.group
    memory = (
        f"control group v{group.files.version}, and resident memory sampled"
        if group
        else "no control group: resident memory sampled every 10 ms, RLIMIT_NPROC for processes"
    )
    user = (
        f"programs run as a user of their own ({isolation.uid})"
        if isolation.uid
        else "programs run as this user"
    )
    return {"namespaces": namespaces, "memory limit": memory, "user": user, **protections}


def landlock_here() -> str:
    version, needed = confine.version(), confine.NEEDED_VERSION
    if version >= needed:
        return f"version {version}; enough for the second kind of jail"
    return f"version {version}; the second kind of jail needs {needed} (Linux 6.12)" if version else "NONE"
