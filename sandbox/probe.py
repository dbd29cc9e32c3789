"""What this machine offers, found out by doing. For `doctor` commands."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass

from sandbox import languages, tiers, wall
from sandbox.contracts import SandboxUnavailable


@dataclass(frozen=True)
class Report:
    """`tier` is None where nothing can be judged, and `why_not` then says why, and what mends it.

    `languages` maps each known language to its tool chain's version, or None where it is absent.
    """

    tier: str | None
    why_not: str
    engine: str
    languages: dict[str, str | None]


def probe() -> Report:
    """Look, without raising."""
    tier, why_not, engine = None, "", ""
    try:
        engine = subprocess.run([wall.find_bwrap(), "--version"], capture_output=True, text=True).stdout.strip()
        tier = tiers.require()
    except (SandboxUnavailable, OSError) as error:
        why_not = str(error)
    return Report(tier, why_not, engine, {language.name: languages.toolchain(language) for language in languages.LANGUAGES})
