"""Find out which kind of jail this machine allows, by starting one and trying to get out of it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from sandbox.contracts import Limits, SandboxUnavailable
from sandbox.isolation import cgroups, landlock, native, seccomp, selftest
from sandbox.isolation.jail import JailSpec
from sandbox.isolation.kinds import KINDS, Isolation, Kind, program_uid
from sandbox.isolation.run import JailDied
from sandbox.isolation.session import Session

KIND_VARIABLE = "SPO_SANDBOX_TIER"
USERNS_SWITCH = Path("/proc/sys/kernel/unprivileged_userns_clone")  # on Debian and its descendants


def requested_kind() -> Kind | None:
    """The kind of jail that $SPO_SANDBOX_TIER asks for; None where it leaves the choice.

    Raises SandboxUnavailable.
    """
    requested = os.environ.get(KIND_VARIABLE) or None
    kind = next((kind for kind in KINDS if kind == requested), None)
    if kind != requested:
        raise SandboxUnavailable(
            f"{KIND_VARIABLE} is {requested!r}; it names a kind of jail: {' or '.join(KINDS)}"
        )
    return kind


def establish(cache: Path, kind: Kind | None = None) -> Isolation:
    """The isolation of this process, tried by escapes from a jail.

    Without a `kind`, the first one that holds is chosen.

    `cache` is the folder for the supervisor in C. The caller closes the result. Raises SandboxUnavailable:
    one line with the command that fixes it.
    """
    if not seccomp.supported():
        raise SandboxUnavailable("the system-call filter knows x86-64 only; run on an x86-64 machine")
    uid = program_uid(os.getpid()) if os.geteuid() == 0 else 0
    groups = (cgroups.make(), cgroups.make("syntax"), cgroups.make("shared"))
    isolation = Isolation("bwrap", uid, *groups)
    try:
        return _with_supervisor(_first_that_holds(isolation, [kind] if kind else KINDS), cache)
    except BaseException:
        isolation.close()
        raise


def _first_that_holds(isolation: Isolation, kinds: Iterable[Kind]) -> Isolation:
    """The same with the first of some kinds from which no escape works. Raises SandboxUnavailable."""
    refusals = []
    for kind in kinds:
        candidate = replace(isolation, kind=kind)
        try:
            _try(candidate)
            return candidate
        except SandboxUnavailable as error:
            refusals.append(str(error))
    raise SandboxUnavailable("; nor is there a second kind of jail: ".join(refusals))


def _with_supervisor(isolation: Isolation, cache: Path) -> Isolation:
    """The same with the supervisor in C, which only bubblewrap can start."""
    if isolation.kind == "landlock":
        return isolation
    return replace(isolation, supervisor=native.supervisor(cache), library=native.library(cache))


def _try(isolation: Isolation) -> None:
    """Start a jail and try to get out of it. Raises SandboxUnavailable with the command that fixes it."""
    if isolation.kind == "landlock":
        landlock.require_reachable_interpreter()
    try:
        with Session(isolation, JailSpec(), Limits(), isolation.group) as session:
            selftest.check(session)
    except (JailDied, OSError) as error:
        raise SandboxUnavailable(f"the sandbox does not start: {error}") from error
    except SandboxUnavailable as error:
        fix = fix_for(str(error), bool(isolation.uid)) if isolation.kind == "bwrap" else ""
        raise SandboxUnavailable(f"{error}{fix}") from error


def fix_for(complaint: str, as_root: bool) -> str:
    """The command that fixes what bubblewrap complains about; "" for an unknown complaint.

    Docker's were tried in Docker.
    """
    if "namespaces exceeded" in complaint:
        return "; fix it with: sudo sysctl -w user.max_user_namespaces=15000"
    if "setting up uid map" in complaint:
        return "; fix it with: sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
    if not as_root and USERNS_SWITCH.exists() and USERNS_SWITCH.read_text().strip() == "0":
        return "; fix it with: sudo sysctl -w kernel.unprivileged_userns_clone=1"
    if any(
        sign in complaint for sign in ("Operation not permitted", "No permissions to creat", "RTM_NEWADDR")
    ):
        allowed = (
            "--cap-add SYS_ADMIN --cap-add NET_ADMIN" if as_root else "--security-opt systempaths=unconfined"
        )
        command = f"docker run --security-opt seccomp=unconfined {allowed}"
        return f"; fix it with: {command}, or run outside the container"
    return ""
