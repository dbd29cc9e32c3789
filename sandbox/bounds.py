"""Bounds of what the judge accepts, and names of files that stay inside their folder."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from sandbox.validator_flags import parse_flags

MIB = 1 << 20
Files = tuple[tuple[str, str | bytes], ...]  # (path, contents): text is written as UTF-8


# What any program may be given; each fits into the system calls that enforce it.
LARGEST: dict[str, tuple[tuple[type, ...], float]] = {
    "time_s": ((int, float), 86_400.0),
    "memory_mb": ((int,), 1 << 20),
    "output_bytes": ((int,), 1 << 30),
    "processes": ((int,), 10_000),
    "wall_limit_s": ((int, float), 10 * 86_400.0),
}
MAX_FILES, MAX_ARGUMENTS = 500, 500  # of a checker or a submission
MAX_PATH_CHARACTERS = 400
MAX_PASSES = 1_000
MAX_LEVELS = 10  # of lists
PLAIN_NAME = re.compile(r"[A-Za-z0-9_$][A-Za-z0-9_$.+\-]{0,200}")
DATA_NAME = re.compile(r"[\w$][\w$.+\- ]*")  # of what a program reads: letters of all languages, and spaces
MAX_NAME_BYTES = 200


def is_number(value: Any, kinds: tuple[type, ...]) -> bool:
    """Whether it is one of these kinds of number, of which a truth value is none."""
    return isinstance(value, kinds) and not isinstance(value, bool)


def is_plain_name(name: str) -> bool:
    """Whether it names a file in a folder and nothing outside it."""
    return PLAIN_NAME.fullmatch(name) is not None


def is_plain_path(name: str) -> bool:
    """Whether it names a file in a folder or in folders below it."""
    return all(map(is_plain_name, name.split("/"))) and len(name) <= MAX_PATH_CHARACTERS


def is_data_path(name: str) -> bool:
    """The same for data, whose names people choose more freely."""
    parts = name.split("/")
    return (
        len(name) <= MAX_PATH_CHARACTERS
        and all(map(DATA_NAME.fullmatch, parts))
        and all(len(part.encode()) <= MAX_NAME_BYTES for part in parts)
    )


def shown(value: object) -> str:
    """A value for a message: cut, because numbers and names from outside may be of any length."""
    if isinstance(value, int) and abs(value) >> 64:
        return f"a number of {value.bit_length()} bits"
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def check_files(record: str, files: Files, is_allowed: Callable[[str], bool] = is_plain_path) -> None:
    """Raises ValueError for files that cannot be put beside a program."""
    if len(files) > MAX_FILES:
        raise ValueError(f"{record}.files: {MAX_FILES} files at most")
    for name, _ in files:
        if not is_allowed(name):
            raise ValueError(f"{record}.files: {shown(name)} is not a plain file name")


def check_arguments(kind: str, arguments: tuple[str, ...]) -> None:
    """Raises ValueError for arguments that a checker of this kind cannot be given."""
    if len(arguments) > MAX_ARGUMENTS:
        raise ValueError(f"a checker has {MAX_ARGUMENTS} arguments at most")
    if any("\0" in word for word in arguments):
        raise ValueError("Checker.arguments: a word holds a NUL")
    if kind in ("default_validator", "domjudge"):
        parse_flags(arguments)
