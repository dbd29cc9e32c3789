"""What this machine offers, found out by doing. For `doctor` commands."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass

from sandbox.building import usable_toolchain
from sandbox.contracts import SandboxUnavailable
from sandbox.isolation import jail, native, tiers
from sandbox.isolation.guest import confine
from sandbox.languages import LANGUAGES
from sandbox.workers.pool import default_cache


@dataclass(frozen=True)
class Report:
    """`tier` is None where nothing can be judged, and `why_not` then says why, and what mends it.

    `supervisor` says what runs executed programs: C, or Python at a higher price, and then how to mend it.
    `languages` maps each known language to its tool chain's version, or None where it is absent.
    """

    tier: str | None
    why_not: str
    engine: str
    supervisor: str
    languages: dict[str, str | None]


def probe() -> Report:
    """Look, without raising."""
    tier, why_not, engine = None, "", ""
    try:
        tier = tiers.require()
        if jail.kind == "landlock":
            engine = f"Landlock {confine.version()}; the first kind of jail does not stand: {first_refusal()}"
        else:
            engine = subprocess.run(
                [jail.find_bwrap(), "--version"], capture_output=True, text=True
            ).stdout.strip()
    except (SandboxUnavailable, OSError) as error:
        why_not = str(error)
    supervisor = (
        "C"
        if native.supervisor(default_cache()) is not None
        else "Python; mend with: apt-get install gcc libc6-dev"
    )
    offered = {language.name: usable_toolchain(language) for language in LANGUAGES if language.is_judged}
    return Report(tier, why_not, engine, supervisor, offered)


def first_refusal() -> str:
    """Why the second kind of jail stands."""
    try:
        tiers.try_jail("bwrap")
    except SandboxUnavailable as error:
        return str(error)
    finally:
        jail.kind = "landlock"
    return f"{tiers.FORCED} asks for the second"
