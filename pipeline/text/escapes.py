"""Text from data as it can be shown: what a terminal or a browser would obey, hide or reorder is shown as
an escape.
"""

from __future__ import annotations

import re

# Control characters, lone surrogates, and marks that reorder text (https://trojansource.codes).
INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)


def visible(text: str) -> str:
    """Text without control sequences, which can be written as UTF-8; lines and tabs stay."""
    return INVISIBLE.sub(lambda match: _escape(match[0]), text.replace("\r\n", "\n"))


def visible_line(text: str) -> str:
    """The same in one line: no text from data begins a line of its own."""
    return visible(text).replace("\n", "\\n")


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
