"""Which wall this machine allows, found out by standing one up."""

from __future__ import annotations

import atexit
from functools import cache

from sandbox import cgroups, seccomp, selftest, wall
from sandbox.cgroups import Group
from sandbox.contracts import Limits, SandboxUnavailable
from sandbox.session import Session, WallDied


@cache
def group() -> Group | None:
    """This process's control group, made once; None where the machine does not let us."""
    made = cgroups.make()
    if made:
        atexit.register(made.close)
    return made


@cache
def current_tier() -> str:
    """The tier of this process: what the wall is made of, and what enforces memory."""
    made = group()
    return ("bwrap-root" if wall.as_root() else "bwrap-userns") + (f"+{made.name}" if made else "+rlimits")


def require() -> str:
    """Stand up a wall and try to get out. Gives the tier; raises SandboxUnavailable with the command that mends it."""
    if not seccomp.supported():
        raise SandboxUnavailable("the system-call filter knows x86-64 only; run on an x86-64 machine")
    try:
        with Session(wall.Room(), Limits(), group()) as session:
            selftest.check(session)
    except (WallDied, OSError) as error:
        raise SandboxUnavailable(f"the sandbox does not start: {error}") from error
    except SandboxUnavailable as error:
        raise SandboxUnavailable(f"{error}{mend(str(error))}") from error
    return current_tier()


def mend(complaint: str) -> str:
    """The command that mends what bubblewrap complains about."""
    if "No permissions to create a new namespace" in complaint or "user namespace" in complaint:
        return "; mend with: sudo sysctl -w kernel.unprivileged_userns_clone=1 user.max_user_namespaces=15000"
    if "setting up uid map" in complaint:
        return "; mend with: sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
    if "Operation not permitted" in complaint:
        return "; mend with: docker run --security-opt seccomp=unconfined --cap-add SYS_ADMIN, or run outside the container"
    return ""
