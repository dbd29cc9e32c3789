"""The tables of `./run bench judge`, as Markdown, and their place in sandbox/README.md."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

README = Path(__file__).parents[2] / "sandbox" / "README.md"
MARKS = "<!-- bench judge, {}: begin -->", "<!-- bench judge, {}: end -->"


@dataclass(frozen=True)
class LanguageRow:
    """One language: what was tried of it, and its prices beside those of a bare run; 0.0: not measured.

    A program is one with its tests and its compilation; figures are per second of CPU time.
    """

    language: str
    tool_chain: str
    right: int
    tried: int
    programs: float = 0.0
    tests: float = 0.0
    bare_tests: float = 0.0


@dataclass(frozen=True)
class ClaimRow:
    """Solutions of a source in one language, and how many claims hold; `explained` are some of the others."""

    source: str
    language: str
    solutions: int
    agreeing: int
    explained: int


HEADS = {
    LanguageRow: (
        "language", "tool chain", "right", "tried", "programs / core-s", "tests / core-s",
        "bare runs / core-s",
    ),
    ClaimRow: ("source", "language", "solutions", "agreeing", "explained"),
}  # fmt: skip


def rendered(rows: list[LanguageRow] | list[ClaimRow]) -> list[str]:
    """The lines of a table of rows of one kind, of which there is one at least."""
    head = HEADS[type(rows[0])]
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    for row in rows:
        values = [value_text(getattr(row, field.name)) for field in dataclasses.fields(row)]
        lines.append(f"| {' | '.join(values)} |")
    return lines


def value_text(value: str | int | float) -> str:
    """A cell: nothing for a figure that was not measured, and no sign that would end it."""
    if isinstance(value, float):
        return f"{value:.2f}" if 0 < value < 10 else f"{value:.0f}" if value else ""
    return str(value).replace("|", "/")


def block(name: str, rows: list[LanguageRow] | list[ClaimRow]) -> str:
    """A table with the marks around it."""
    begin, end = (mark.format(name) for mark in MARKS)
    return "\n".join([begin, "", *rendered(rows), "", end])


def write(name: str, rows: list[LanguageRow] | list[ClaimRow], readme: Path = README) -> None:
    """Replace the table of a name in the README. Raises ValueError where it has no place for it."""
    text = readme.read_text()
    first, last = (mark.format(name) for mark in MARKS)
    before, begin, rest = text.partition(first)
    _, end, after = rest.partition(last)
    if not (begin and end):
        raise ValueError(f"{readme} has no lines {first} and {last}")
    readme.write_text(before + block(name, rows) + after)
