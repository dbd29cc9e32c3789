"""Loads untrusted YAML with limits on size, nesting and alias expansion.

The parser events are counted first (PyYAML's `CSafeLoader`). Only text within the limits is loaded, by the
safe loader.
"""

from __future__ import annotations

from typing import Any

import yaml

MAX_YAML_CHARACTERS = 256 << 10
MAX_YAML_DEPTH = 32
# Number of values after all aliases are expanded.
MAX_YAML_VALUES = 20_000
# Parsing a base 60 number takes quadratic time.
MAX_NUMBER_CHARACTERS = 1_000
NUMBER_BEGINS = tuple("+-.0123456789")
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def load_yaml(text: str, name: str) -> Any:
    """The value of a YAML text. Raises ValueError if it exceeds a limit, and yaml.YAMLError."""
    if len(text) > MAX_YAML_CHARACTERS:
        raise ValueError(f"{name} has more than {MAX_YAML_CHARACTERS:,} characters")
    _check(text, name)
    return yaml.load(text, Loader=LOADER)


def _check(text: str, name: str) -> None:
    """Raise ValueError if loading the text would exceed a limit."""
    # Number of values in each open collection, the document first; and of each anchor, None while its
    # collection is open.
    counts: list[int] = [0]
    anchors: list[str | None] = []
    values_of: dict[str, int | None] = {}
    for event in yaml.parse(text, Loader=LOADER):
        added = 0
        if isinstance(event, yaml.CollectionStartEvent):
            if len(counts) > MAX_YAML_DEPTH:
                raise ValueError(f"{name} is nested deeper than {MAX_YAML_DEPTH}")
            counts.append(1)
            anchors.append(event.anchor)
            values_of |= {event.anchor: None} if event.anchor else {}
        elif isinstance(event, yaml.CollectionEndEvent):
            added, anchor = counts.pop(), anchors.pop()
            values_of |= {anchor: added} if anchor else {}
        elif isinstance(event, yaml.ScalarEvent):
            is_number = not event.style and event.value.startswith(NUMBER_BEGINS)
            if is_number and len(event.value) > MAX_NUMBER_CHARACTERS:
                raise ValueError(f"{name} has a number of more than {MAX_NUMBER_CHARACTERS:,} characters")
            added = 1
            values_of |= {event.anchor: 1} if event.anchor else {}
        elif isinstance(event, yaml.AliasEvent):
            held = values_of.get(event.anchor, 0)
            if held is None:
                raise ValueError(f"{name} has the alias *{event.anchor} inside its own anchor")
            added = held
        counts[-1] += added
        if counts[-1] > MAX_YAML_VALUES:
            raise ValueError(
                f"{name} has more than {MAX_YAML_VALUES:,} values after its aliases are expanded"
            )
