"""Versions of a store in a URL: the version of every table that exists, such as `problems1.trajectories6`.

A page read at these versions shows the same rows later, whatever was appended, until maintenance deletes
files that no pin keeps.
"""

from __future__ import annotations

import re

from pipeline.store import TABLES, Store, StoreError

_PART = re.compile(r"([a-z_]+)(\d{1,15})")


def text_of(versions: dict[str, int]) -> str:
    """Tables that were never written to are left out; of an empty store the text is `empty`."""
    parts = [f"{name}{versions[name]}" for name in TABLES if versions.get(name, -1) >= 0]
    return ".".join(parts) or "empty"


def newest(store: Store) -> str:
    return text_of(store.pins())


def parse(text: str) -> dict[str, int]:
    """The version of every table; -1 for those that are not named. Raises StoreError for another text."""
    versions = dict.fromkeys(TABLES, -1)
    if text == "empty":
        return versions
    for part in text.split("."):
        match = _PART.fullmatch(part)
        if match is None or match[1] not in TABLES:
            raise StoreError(f"at: {part[:60]!r} is not TABLE and VERSION, such as trajectories6")
        versions[match[1]] = int(match[2])
    return versions


def resolve(store: Store, text: str | None) -> str:
    """Versions for what a user named: nothing (the newest), the text itself, or the label of a pin.

    The text comes first: pins, which are rows of the store, are not read for an address that names its
    versions. Raises StoreError that lists the pins.
    """
    if not text:
        return newest(store)
    try:
        return text_of(parse(text))
    except StoreError as error:
        pinned = store.pinned()
        if text in pinned:
            # A pin of some tables says nothing about the others: they are read at their newest version.
            return text_of(store.pins() | pinned[text])
        known = ", ".join(sorted(pinned)[:20]) or "none"
        raise StoreError(f"{error}; a pin is accepted too, there are: {known}") from error
