"""Which problem does a prompt ask? The one whose statement stands in it, word for word.

Dumps of rollouts hold prompts and no ids. Words are compared without case, punctuation and markup, so a chat template around the
statement, or another way to set its formulas apart, changes nothing. Of several statements in one prompt the longest counts (a
shorter one is part of it, or an example), of several problems with one statement the first by id.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable

from pipeline.store import digest

WORD = re.compile(r"\w+")
# A statement is looked up by its first words; one of fewer than MIN_WORDS says too little to be told from others.
KEY_WORDS, MIN_WORDS = 8, 4
KEPT_ANSWERS = 10_000


class Statements:
    """An index of problems by their statements. Takes a few hundred bytes a problem."""

    def __init__(self, problems: Iterable[tuple[str, str]]):
        """`problems`: (problem_id, statement)."""
        # (its first words) -> {(number of words, digest of all of them): problem_id}
        self._found: dict[tuple[str, ...], dict[tuple[int, bytes], str]] = defaultdict(dict)
        for problem_id, statement in problems:
            words = words_of(statement)
            if len(words) < MIN_WORDS:
                continue
            held = self._found[tuple(words[:KEY_WORDS])]
            name = (len(words), digest(*words))
            held[name] = min(problem_id, held.get(name, problem_id))
        self._key_lengths = sorted({len(key) for key in self._found}, reverse=True)
        self._first_words = {key[0] for key in self._found}
        self._answers: dict[bytes, str | None] = {}

    def find(self, prompt: str) -> str | None:
        """The problem that a prompt asks, or None."""
        name = digest(prompt)
        if name not in self._answers:
            if len(self._answers) >= KEPT_ANSWERS:
                self._answers.clear()
            self._answers[name] = self._find(words_of(prompt))
        return self._answers[name]

    def _find(self, words: list[str]) -> str | None:
        best = (0, "")
        for begin, word in enumerate(words):
            if word not in self._first_words:
                continue
            for length in self._key_lengths:
                for (count, name), problem_id in self._found.get(
                    tuple(words[begin : begin + length]), {}
                ).items():
                    if count > best[0] and digest(*words[begin : begin + count]) == name:
                        best = (count, problem_id)
        return best[1] or None


def words_of(text: str) -> list[str]:
    return WORD.findall(text.lower())
