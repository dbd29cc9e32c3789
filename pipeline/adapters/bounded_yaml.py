"""YAML of strangers: bounded in size, nesting, and in what its aliases stand for, before anything is built
from it.

libyaml's events are counted first (PyYAML's `CSafeLoader`); only a text within the bounds is loaded, by the
safe loader.
"""

from __future__ import annotations

from typing import Any

import yaml

MAX_YAML_CHARACTERS = 256 << 10
MAX_YAML_DEPTH = 32
# Values after every alias is replaced by what it stands for.
MAX_YAML_VALUES = 20_000
# A number in base 60 takes time with the square of its length.
MAX_NUMBER_CHARACTERS = 1_000
NUMBER_BEGINS = tuple("+-.0123456789")
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def load_yaml(text: str, name: str) -> Any:
    """The value of a YAML text. Raises ValueError where it is beyond the bounds, and yaml.YAMLError."""
    if len(text) > MAX_YAML_CHARACTERS:
        raise ValueError(f"{name} has more than {MAX_YAML_CHARACTERS:,} characters")
    _check(text, name)
    return yaml.load(text, Loader=LOADER)


def _check(text: str, name: str) -> None:
    """Raises ValueError where loading the text would go beyond the bounds."""
    # Values below each open collection, the document last; and of each anchor: None while its collection is
    # open.
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
                raise ValueError(f"{name} has the alias *{event.anchor} inside of what it stands for")
            added = held
        counts[-1] += added
        if counts[-1] > MAX_YAML_VALUES:
            raise ValueError(f"{name} has more than {MAX_YAML_VALUES:,} values once its aliases are replaced")
