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
    protections_of,
    requested_kind,
    supervisor_in_c,
)
from sandbox.languages import LANGUAGES, BadEnvironment, Language, toolchain
from sandbox.workers import default_cache


@dataclass(frozen=True)
class Report:
    """`tier` is None where nothing can be judged; `why_not` then says why, and how to fix it.

    `supervisor` says what runs executables: C, or the slower Python, and then how to fix it. `languages` maps
    each language that can be judged to its tool chain's version, or to None where it is missing.
    `protections` says by name what isolates programs: namespaces, control groups, filters.
    """

    tier: str | None
    why_not: str
    engine: str
    supervisor: str
    languages: dict[str, str | None]
    protections: dict[str, str]


def probe() -> Report:
    """The report. Raises nothing."""
    tier, why_not, engine = None, "", ""
    languages = {row.name: installed_toolchain(row) for row in LANGUAGES if row.is_judged}
    cache = default_cache()
    protections = protections_of(None)
    try:
        requested = requested_kind()
        isolation = establish(cache, requested)
        try:
            tier, engine = isolation.tier, engine_line(isolation, requested, cache)
            languages = usable_languages(isolation, cache)
            protections = protections_of(isolation)
        finally:
            isolation.close()
    except (SandboxUnavailable, OSError) as error:
        why_not = str(error)
    in_c = supervisor_in_c(cache) is not None
    supervisor = "C" if in_c else "Python; fix it with: apt-get install gcc libc6-dev"
    return Report(tier, why_not, engine, supervisor, languages, protections)


def installed_toolchain(row: Language) -> str | None:
    """Its tool chain, working or not."""
    try:
        return toolchain(row)
    except BadEnvironment:
        return None


def usable_languages(isolation: Isolation, cache: Path) -> dict[str, str | None]:
    """{language: tool chain}, None where its hello program does not run in a jail."""
    builder = Builder(isolation, cache)
    proven = ProvenLanguages(builder)
    usable: dict[str, str | None] = {}
    try:
        for row in LANGUAGES:
            if row.is_judged:
                try:
                    usable[row.name] = proven.require(row.name)[1]
                except (LanguageUnavailable, JailDied):
                    usable[row.name] = None
    finally:
        builder.close()
    return usable


def engine_line(isolation: Isolation, requested: Kind | None, cache: Path) -> str:
    """What builds the jails; for the second kind, also why it is not the first."""
    if isolation.kind == "bwrap":
        return isolation.engine
    reason = f"{KIND_VARIABLE} asks for it" if requested else bubblewrap_refusal(cache)
    return f"{isolation.engine}; not the first kind of jail: {reason}"


def bubblewrap_refusal(cache: Path) -> str:
    """Why bubblewrap cannot build a jail here; "" where it can by now."""
    try:
        establish(cache, "bwrap").close()
    except SandboxUnavailable as error:
        return str(error)
    return ""
