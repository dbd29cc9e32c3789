"""Which languages can be judged on this machine and in the kind of jail in use."""

from __future__ import annotations

from sandbox.isolation import Kind
from sandbox.languages import Language, UnknownLanguage, require_language, toolchain


class LanguageUnavailable(Exception):
    """A language cannot be judged here: one line that says why."""


def usable_toolchain(language: Language, kind: Kind | None = None) -> str | None:
    """Name and version of the tool chain; None where it is missing or cannot run in this kind of jail."""
    if kind == "landlock" and not language.in_landlock:
        return None
    return toolchain(language)


def require_usable(name: str, kind: Kind | None = None) -> tuple[Language, str]:
    """The language of a name with its tool chain, for this kind of jail (None: any).

    Raises LanguageUnavailable.
    """
    try:
        language = require_language(name)
    except UnknownLanguage as error:
        raise LanguageUnavailable(str(error)) from error
    found = usable_toolchain(language, kind)
    if found is None:
        raise LanguageUnavailable(f"language {name} is not on this machine")
    return language, found
