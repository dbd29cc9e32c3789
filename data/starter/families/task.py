"""One contest problem as a family states it, before tests and claimed verdicts are worked out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random


@dataclass(frozen=True)
class Task:
    """A problem with its programs. `parts` holds one slug an axis; a test problem is a new combination of parts.

    `answer` is the reference solution: the text of stdin to the text of stdout. `example` draws a random input;
    hidden tests draw on `edges` before random inputs. `wrong` programs are candidates: those that pass are dropped.
    """

    family: str
    parts: tuple[str, ...]
    title: str
    statement: str
    difficulty: int
    answer: Callable[[str], str]
    example: Callable[[Random], str]
    edges: tuple[str, ...]
    correct: dict[str, str]
    wrong: dict[str, str]
    cpp: str = ""
    hang: str = ""


@dataclass(frozen=True)
class Family:
    """`tasks()` yields every combination of the family's parts; `count` says how many of them the data set takes."""

    name: str
    count: int
    tasks: Callable[[], Iterator[Task]]


def swaps(program: str, **changes: tuple[str, str]) -> dict[str, str]:
    """Wrong candidates made from a correct program: each named (old, new) replaces every occurrence of `old`."""
    made = {}
    for name, (old, new) in changes.items():
        changed = program.replace(old, new)
        if old and changed != program:
            made[name.replace("_", "-")] = changed
    return made


def lines(*parts: str) -> str:
    """A program's text: the parts that are not empty, one below the other, ending in a newline."""
    return "\n".join(part for part in parts if part) + "\n"


def title_of(phrase: str) -> str:
    return phrase[0].upper() + phrase[1:]
