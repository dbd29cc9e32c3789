"""The language of searches: words that a row has to have, and quoted text.

A word is a run of letters, digits, `_` and characters outside ASCII; the case of ASCII letters does not
count. A row is selected if its texts have every word, each as a whole word, in any order. Text in double
quotes has to be there as typed, case included, with whole words at its ends; so has a term without any word,
such as `!=`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

MOST_TERMS = 20
WORD = re.compile(r"[0-9A-Za-z_\u0080-\U0010ffff]+")
PUNCTUATION = re.compile(r"[!-/:-@\[-^`{-~]")
TERM = re.compile(r'"([^"]*)"|(\S+)')
# The same characters as WORD, for DuckDB's RE2.
WORD_CLASS = r"0-9A-Za-z_\x{80}-\x{10FFFF}"
# Of FTS5: the same words. Without `tokenchars`, `_` would part them.
TOKENIZER = "ascii tokenchars '_'"


@dataclass(frozen=True)
class Query:
    """Lower-case words, and texts that have to be there as typed."""

    words: tuple[str, ...]
    phrases: tuple[str, ...] = ()

    @property
    def expression(self) -> str:
        """The match of FTS5 that every selected row fulfils; empty if only a reading can tell."""
        needed = [*self.words, *(folded(word) for phrase in self.phrases for word in WORD.findall(phrase))]
        return " AND ".join(f'"{word}"' for word in dict.fromkeys(needed))


def folded(word: str) -> str:
    """The word with ASCII letters in lower case, as FTS5's tokenizer has it."""
    return "".join(letter.lower() if letter.isascii() else letter for letter in word)


def parse_query(text: str) -> Query:
    """The query that a text asks for; terms beyond MOST_TERMS are left out."""
    words: list[str] = []
    phrases: list[str] = []
    for match in list(TERM.finditer(text))[:MOST_TERMS]:
        quoted, term = match.groups()
        plain = WORD.findall(term or "")
        if quoted:
            phrases.append(quoted)
        elif plain:
            words += map(folded, plain)
        elif term and term.strip('"'):
            phrases.append(term)
    return Query(tuple(dict.fromkeys(words)), tuple(dict.fromkeys(phrases)))


def condition(columns: Sequence[str], query: Query, parameters: dict[str, Any]) -> str:
    """SQL that is true for the selected rows, given the SQL of the text columns; adds to `parameters`."""
    tests = []
    for number, word in enumerate(query.words):
        parameters[f"word{number}"] = whole(word_pattern(word), word)
        tests.append(_any(f"regexp_matches({{}}, $word{number})", columns))
    for number, phrase in enumerate(query.phrases):
        parameters[f"phrase{number}"] = phrase
        test = f"contains({{}}, $phrase{number})"
        if WORD.match(phrase) or WORD.match(phrase[-1]):
            # Plain text is looked for first: it takes a fraction of the time of the pattern.
            parameters[f"whole{number}"] = whole(PUNCTUATION.sub(r"\\\g<0>", phrase), phrase)
            test += f" AND regexp_matches({{}}, $whole{number})"
        tests.append(_any(test, columns))
    return "(" + " AND ".join(tests or ["true"]) + ")"


def _any(test: str, columns: Sequence[str]) -> str:
    return "(" + " OR ".join(test.replace("{}", column) for column in columns) + ")"


def word_pattern(word: str) -> str:
    """The word in upper or lower case. RE2's own folding would take letters of other alphabets for ours."""
    return "".join(f"[{c}{c.upper()}]" if c.isascii() and c.isalpha() else c for c in word)


def whole(pattern: str, text: str) -> str:
    """A pattern with whole words at its ends, where the ends of `text` are in words."""
    before = f"(?:^|[^{WORD_CLASS}])" if WORD.match(text) else ""
    after = f"(?:$|[^{WORD_CLASS}])" if WORD.match(text[-1]) else ""
    return f"{before}{pattern}{after}"
