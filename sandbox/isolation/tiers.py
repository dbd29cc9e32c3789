"""Which jail this machine allows, found out by standing one up."""

from __future__ import annotations

import atexit
import os
import tempfile
from functools import cache
from pathlib import Path

from sandbox.contracts import Limits, SandboxUnavailable
from sandbox.isolation import cgroups, jail, landlock, seccomp, selftest
from sandbox.isolation.cgroups import Group
from sandbox.isolation.session import JailDied, Session

FORCED = "SPO_SANDBOX_TIER"
USERNS_SWITCH = Path("/proc/sys/kernel/unprivileged_userns_clone")  # on Debian and its descendants


@cache
def group() -> Group | None:
    """This process's control group, made once; None where the machine does not let us."""
    return made_group("")


@cache
def syntax_group() -> Group | None:
    """The one of its jails that stand beside those of the programs."""
    return made_group("syntax")


def made_group(purpose: str) -> Group | None:
    made = cgroups.make(purpose)
    if made:
        atexit.register(made.close)
    return made


def current_tier() -> str:
    """The tier of this process: what the jail is made of, and what enforces memory."""
    made = group()
    names = {"bwrap": ("bwrap-root", "bwrap-userns"), "landlock": ("landlock-root", "landlock-user")}
    return names[jail.kind][not jail.as_root()] + (f"+{made.name}" if made else "+rlimits")


def require() -> str:
    """Stand up a jail and try to get out. Gives the tier; raises SandboxUnavailable with the command that mends it.

    Bubblewrap's jail is the first choice, Landlock's the second; $SPO_SANDBOX_TIER (bwrap, landlock) leaves no choice.
    """
    if not seccomp.supported():
        raise SandboxUnavailable("the system-call filter knows x86-64 only; run on an x86-64 machine")
    forced = os.environ.get(FORCED)
    if forced not in (None, "", "bwrap", "landlock"):
        raise SandboxUnavailable(f"{FORCED} is {forced!r}; it names a kind of jail: bwrap or landlock")
    if forced:
        return try_jail(forced)
    try:
        return try_jail("bwrap")
    except SandboxUnavailable as error:
        try:
            return try_jail("landlock")
        except SandboxUnavailable as second:
            raise SandboxUnavailable(f"{error}; nor is there a second kind of jail: {second}") from error


def try_jail(kind: str) -> str:
    """Stand up this kind of jail, which is then this process's. Raises SandboxUnavailable with the command that mends it."""
    if kind == "landlock":
        binary, needs = jail.interpreter()
        landlock.require([binary, *needs, str(landlock.GUEST), tempfile.gettempdir()])
    jail.kind = kind
    try:
        with Session(jail.JailSpec(), Limits(), group()) as session:
            selftest.check(session)
    except (JailDied, OSError) as error:
        raise SandboxUnavailable(f"the sandbox does not start: {error}") from error
    except SandboxUnavailable as error:
        raise SandboxUnavailable(f"{error}{mend(str(error)) if kind == 'bwrap' else ''}") from error
    return current_tier()


def mend(complaint: str) -> str:
    """The command that mends what bubblewrap complains about. Docker's were tried in Docker."""
    if "namespaces exceeded" in complaint:
        return "; mend with: sudo sysctl -w user.max_user_namespaces=15000"
    if "setting up uid map" in complaint:
        return "; mend with: sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
    if not jail.as_root() and USERNS_SWITCH.exists() and USERNS_SWITCH.read_text().strip() == "0":
        return "; mend with: sudo sysctl -w kernel.unprivileged_userns_clone=1"
    if any(
        sign in complaint for sign in ("Operation not permitted", "No permissions to creat", "RTM_NEWADDR")
    ):
        allowed = (
            "--cap-add SYS_ADMIN --cap-add NET_ADMIN"
            if jail.as_root()
            else "--security-opt systempaths=unconfined"
        )
        return f"; mend with: docker run --security-opt seccomp=unconfined {allowed}, or run outside the container"
    return ""
