"""Constants of Kattis packages (2025-09): named values of problem.yaml, for `{{name}}` and `{{name.variant}}`
in statements, validators, included files, submissions and test_group.yaml, and for `\\constant{name}` in TeX.

https://www.kattis.com/problem-package-format/spec/2025-09.html#constants. Sequences that name nothing stay.
"""

from __future__ import annotations

import re
from typing import Any

VALUE = "value"
SEQUENCE = re.compile(r"\{\{[ \t]*([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)?)[ \t]*\}\}", re.ASCII)
COMMAND = re.compile(r"\\constant\{[ \t]*([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)?)[ \t]*\}", re.ASCII)
Constants = dict[str, str]  # {name or name.variant: value}


def package_constants(settings: dict[str, Any]) -> Constants:
    """The constants in problem.yaml. Raises ValueError for what is not a number or a text."""
    entries = settings.get("constants") or {}
    if not isinstance(entries, dict):
        raise ValueError("constants is not a mapping")
    constants: Constants = {}
    for name, value in entries.items():
        variants = value if isinstance(value, dict) else {VALUE: value}
        if VALUE not in variants:
            raise ValueError(f"the constant {str(name)[:40]!r} has no value")
        for variant, text in variants.items():
            if isinstance(text, bool) or not isinstance(text, int | float | str):
                raise ValueError(f"the constant {str(name)[:40]!r} is not a number or a text")
            constants[f"{name}.{variant}"] = str(text)
        constants[str(name)] = str(variants[VALUE])
    return constants


def with_constants(text: str, constants: Constants) -> str:
    """A text with the values of its sequences."""
    return SEQUENCE.sub(lambda match: constants.get(match[1], match[0]), text) if constants else text


def tex_with_constants(text: str, constants: Constants) -> str:
    """TeX with the values of its commands."""
    return COMMAND.sub(lambda match: constants.get(match[1], match[0]), text) if constants else text


def bytes_with_constants(content: bytes, constants: Constants) -> bytes:
    """A file with the values of its sequences; as it is where it is not UTF-8."""
    if not constants or b"{{" not in content:
        return content
    try:
        return with_constants(content.decode(), constants).encode()
    except UnicodeDecodeError:
        return content
