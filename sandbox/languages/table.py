"""The language table: all rows of `definitions/`, and how to find one by any of its names.

To add a language, add a file to `definitions/` with a tuple `LANGUAGES` of one row or more.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from sandbox.languages import definitions
from sandbox.languages.language import Language

ADDITIONS = re.compile(r"\([^)]*\)|\b(?:32|64)[ -]?bit\b")
BRACKETS = re.compile(r"[()]")
TRAILING_NUMBER = re.compile(r"[\s._-]*v?\d+$")


class UnknownLanguage(ValueError):
    """No row has this name. The message is one line that names similar ones."""

    def __init__(self, name: str) -> None:
        known = ", ".join(language.name for language in LANGUAGES if not language.variant_of)
        super().__init__(f"unknown language {name!r}{did_you_mean(name)}; known are: {known}")


def _collect() -> tuple[Language, ...]:
    modules = (
        import_module(f"{definitions.__name__}.{info.name}") for info in iter_modules(definitions.__path__)
    )
    rows = [row for module in modules for row in module.LANGUAGES]
    return tuple(sorted(rows, key=lambda row: row.name))


def _index(kind: str, words_of: Callable[[Language], Iterable[str]]) -> dict[str, Language]:
    """{word: row}. Raises ValueError for a word of two rows."""
    index: dict[str, Language] = {}
    for row in LANGUAGES:
        for word in words_of(row):
            if index.setdefault(word, row) is not row:
                raise ValueError(f"languages {index[word].name} and {row.name} share the {kind} {word!r}")
    return index


LANGUAGES = _collect()
BY_NAME = _index("name", lambda row: (row.name, *row.aliases))
BY_SUFFIX = _index("suffix", lambda row: row.suffixes)
BY_FENCE = _index("fence", lambda row: {row.name, *row.aliases, *row.fences})


@cache
def find_language(name: str) -> Language | None:
    """The row of a language by its name or an alias, in any case and with any version, or None."""
    return next((BY_NAME[spelling] for spelling in _spellings(name) if spelling in BY_NAME), None)


def require_language(name: str) -> Language:
    """The row of a language by any of its names. Raises UnknownLanguage."""
    language = find_language(name)
    if language is None:
        raise UnknownLanguage(name)
    return language


def language_of_suffix(suffix: str) -> Language | None:
    """The row that owns a file suffix such as `.py`. Case counts only where a row says so: `.C` is C++."""
    return BY_SUFFIX.get(suffix) or BY_SUFFIX.get(suffix.lower())


def language_of_fence(word: str) -> Language | None:
    """The row that a word behind a Markdown fence names."""
    return BY_FENCE.get(word.lower())


def did_you_mean(name: str) -> str:
    """`; did you mean ...?` with the languages that are spelled alike; "" where there are none."""
    similar = get_close_matches(name.strip().lower(), BY_NAME, n=5, cutoff=0.7)
    names = dict.fromkeys(BY_NAME[word].name for word in similar)
    return f"; did you mean {' or '.join(names)}?" if names else ""


def _spellings(name: str) -> Iterator[str]:
    """A name as it is, and with less and less of what sites add: `GNU C++17 7.3.0 (64 bit)` -> ...

    -> `gnu c++17`. What is in brackets may say more, as in `Python (PyPy 3.10)`.
    """
    text = " ".join(name.lower().split())
    texts = (
        text,
        BRACKETS.sub("", text),
        ADDITIONS.sub("", text).strip(),
        text.partition(",")[0],
        text.replace("_", " "),
    )
    for shortened in dict.fromkeys(texts):
        while True:
            yield shortened
            yield shortened.replace(" ", "")
            if not TRAILING_NUMBER.search(shortened):
                break
            shortened = TRAILING_NUMBER.sub("", shortened)
