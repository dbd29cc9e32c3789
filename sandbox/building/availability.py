"""Which languages can be judged here: the tool chain is on this machine, and its programs can run in the kind of jail in use."""

from __future__ import annotations

from sandbox.isolation import jail
from sandbox.languages import Language, UnknownLanguage, require_language, toolchain


class LanguageUnavailable(Exception):
    """A language cannot be judged here: one line that says why."""


def usable_toolchain(language: Language) -> str | None:
    """Name and version of the tool chain, or None where the language cannot be judged."""
    if jail.kind == "landlock" and not language.in_landlock:
        return None
    return toolchain(language)


def require_usable(name: str) -> tuple[Language, str]:
    """The language of a name with its tool chain. Raises LanguageUnavailable."""
    try:
        language = require_language(name)
    except UnknownLanguage as error:
        raise LanguageUnavailable(str(error)) from error
    found = usable_toolchain(language)
    if found is None:
        raise LanguageUnavailable(f"language {name} is not on this machine")
    return language, found
