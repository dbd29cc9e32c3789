"""The error of the store, and messages of other libraries in one line."""

from __future__ import annotations

import re


class StoreError(RuntimeError):
    """The store cannot be opened, read or written; the message says what to do."""


def in_one_line(error: BaseException) -> str:
    """Its message without the colours and arrows that delta-rs draws."""
    words = re.sub(r"\x1b\[[0-9;]*m|↳", "", str(error) or type(error).__name__).split()
    return " ".join(words)[:500]
