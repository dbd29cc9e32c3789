"""Flags of the default output validator of Kattis problem packages, as they stand in a package.

    case_sensitive  space_change_sensitive
    float_absolute_tolerance E  float_relative_tolerance E  float_tolerance E (both)

https://www.kattis.com/problem-package-format/spec/legacy.html#default-output-validator-specification
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

SWITCHES = ("case_sensitive", "space_change_sensitive")
TOLERANCES = {
    "float_absolute_tolerance": ("absolute_tol",),
    "float_relative_tolerance": ("relative_tol",),
    "float_tolerance": ("absolute_tol", "relative_tol"),
}


@dataclass(frozen=True)
class ValidatorFlags:
    """How outputs are compared. A tolerance is None where none was given."""

    case_sensitive: bool = False
    space_change_sensitive: bool = False
    absolute_tol: float | None = None
    relative_tol: float | None = None

    @property
    def compares_numbers(self) -> bool:
        return self.absolute_tol is not None or self.relative_tol is not None


def parse_flags(words: Iterable[str]) -> ValidatorFlags:
    """The flags in some words. As in the original, a later one wins, and a negative tolerance is none.

    Raises ValueError for a word that is no flag, and for a tolerance that is no finite number.
    """
    flags, rest = ValidatorFlags(), iter(words)
    for word in rest:
        if word in SWITCHES:
            flags = replace(flags, **{word: True})
        elif word in TOLERANCES:
            tolerance = _tolerance(word, next(rest, None))
            flags = replace(flags, **dict.fromkeys(TOLERANCES[word], tolerance if tolerance >= 0 else None))
        else:
            known = ", ".join([*SWITCHES, *TOLERANCES])
            raise ValueError(f"the default validator has no flag {word[:40]!r}; there are: {known}")
    return flags


def _tolerance(flag: str, word: str | None) -> float:
    try:
        value = float(word or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or "_" in (word or ""):
        raise ValueError(f"{flag} needs a number, not {(word or 'nothing')[:40]!r}")
    return value
