"""What this machine offers, found out by trying. For `doctor` commands."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sandbox.building import Builder, LanguageUnavailable, ProvenLanguages
from sandbox.contracts import SandboxUnavailable
from sandbox.isolation import (
    KIND_VARIABLE,
    Isolation,
    JailDied,
    Kind,
    establish,
    requested_kind,
    supervisor_in_c,
)
from sandbox.languages import LANGUAGES, toolchain
from sandbox.workers import default_cache


@dataclass(frozen=True)
class Report:
    """`tier` is None where nothing can be judged; `why_not` then says why, and how to fix it.

    `supervisor` says what runs executables: C, or the slower Python, and then how to fix it. `languages` maps
    each language that can be judged to its tool chain's version, or to None where it is missing.
    """

    tier: str | None
    why_not: str
    engine: str
    supervisor: str
    languages: dict[str, str | None]


def probe() -> Report:
    """The report. Raises nothing."""
    tier, why_not, engine = None, "", ""
    languages: dict[str, str | None] = {row.name: toolchain(row) for row in LANGUAGES if row.is_judged}
    cache = default_cache()
    try:
        requested = requested_kind()
        isolation = establish(cache, requested)
        try:
            tier, engine = isolation.tier, engine_of(isolation, requested, cache)
            languages = languages_of(isolation, cache)
        finally:
            isolation.close()
    except (SandboxUnavailable, OSError) as error:
        why_not = str(error)
    in_c = supervisor_in_c(cache) is not None
    supervisor = "C" if in_c else "Python; fix it with: apt-get install gcc libc6-dev"
    return Report(tier, why_not, engine, supervisor, languages)


def languages_of(isolation: Isolation, cache: Path) -> dict[str, str | None]:
    """{language: tool chain}, None where its hello program does not run in a jail."""
    builder = Builder(isolation, cache)
    proven = ProvenLanguages(builder)
    found: dict[str, str | None] = {}
    try:
        for row in LANGUAGES:
            if row.is_judged:
                try:
                    found[row.name] = proven.require(row.name)[1]
                except (LanguageUnavailable, JailDied):
                    found[row.name] = None
    finally:
        builder.close()
    return found


def engine_of(isolation: Isolation, requested: Kind | None, cache: Path) -> str:
    """What builds the jails; for the second kind, also why it is not the first."""
    if isolation.kind == "bwrap":
        return isolation.engine
    reason = f"{KIND_VARIABLE} asks for it" if requested else refusal_of_bubblewrap(cache)
    return f"{isolation.engine}; not the first kind of jail: {reason}"


def refusal_of_bubblewrap(cache: Path) -> str:
    """Why bubblewrap cannot build a jail here; "" where it can by now."""
    try:
        establish(cache, "bwrap").close()
    except SandboxUnavailable as error:
        return str(error)
    return ""
