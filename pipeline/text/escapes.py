"""Makes untrusted text safe to show: characters that a terminal or browser would execute, hide or reorder
become escapes.
"""

from __future__ import annotations

import re

# Control characters, lone surrogates, and marks that reorder text (https://trojansource.codes).
INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)


def visible(text: str) -> str:
    """Text without control sequences that can be encoded as UTF-8; line ends and tabs stay."""
    return INVISIBLE.sub(lambda match: _escape(match[0]), text.replace("\r\n", "\n"))


def visible_line(text: str) -> str:
    """Like `visible`, in one line: line ends become escapes too."""
    return visible(text).replace("\n", "\\n")


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
