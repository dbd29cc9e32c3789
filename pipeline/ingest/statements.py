"""Which problem does a prompt ask? The one whose statement stands in it, word for word.

Dumps of rollouts hold prompts and no ids. Words are compared without case, punctuation and markup, so a chat
template around the statement, or another way to set its formulas apart, changes nothing. Of several
statements in one prompt the longest counts (a shorter one is part of it, or an example), of several problems
with one statement the first by id.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable

from pipeline.store import digest

WORD = re.compile(r"\w+")
# A statement is looked up by its first words; one of fewer than MIN_WORDS says too little to be told from
# others.
KEY_WORDS, MIN_WORDS = 8, 4
KEPT_ANSWERS = 10_000


# Runs of words are compared by a rolling hash (Karp and Rabin 1987), modulo a Mersenne prime, with a base
# that no text can know.
MODULUS = (1 << 61) - 1


class Statements:
    """An index of problems by their statements. Takes a few hundred bytes a problem, and time in
    proportion to a prompt's words.
    """

    def __init__(self, problems: Iterable[tuple[str, str]]):
        """`problems`: (problem_id, statement)."""
        self._base = secrets.randbelow(MODULUS - (1 << 32)) + (1 << 31)
        # (its first words) -> {number of words: {rolling hash: {digest of the words: problem_id}}}
        self._found: dict[tuple[str, ...], dict[int, dict[int, dict[bytes, str]]]] = {}
        for problem_id, statement in problems:
            words = words_of(statement)
            if len(words) < MIN_WORDS:
                continue
            by_count = self._found.setdefault(tuple(words[:KEY_WORDS]), {})
            held = by_count.setdefault(len(words), {}).setdefault(self._hashes(words)[-1], {})
            name = digest(*words)
            held[name] = min(problem_id, held.get(name, problem_id))
        for key, by_count in self._found.items():
            self._found[key] = dict(sorted(by_count.items(), reverse=True))
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
        hashes, powers = self._hashes(words), self._powers(len(words))
        for begin, word in enumerate(words):
            if word not in self._first_words:
                continue
            for length in self._key_lengths:
                by_count = self._found.get(tuple(words[begin : begin + length]), {})
                for count, by_hash in by_count.items():
                    end = begin + count
                    if count <= best[0]:
                        break
                    if end > len(words):
                        continue
                    held = by_hash.get((hashes[end] - hashes[begin] * powers[count]) % MODULUS)
                    problem_id = held.get(digest(*words[begin:end])) if held else None
                    if problem_id is not None:
                        best = (count, problem_id)
        return best[1] or None

    def _hashes(self, words: list[str]) -> list[int]:
        """The hash of the first n words, for every n."""
        found = [0]
        for word in words:
            found.append((found[-1] * self._base + hash(word)) % MODULUS)
        return found

    def _powers(self, count: int) -> list[int]:
        found = [1]
        for _ in range(count):
            found.append(found[-1] * self._base % MODULUS)
        return found


def words_of(text: str) -> list[str]:
    return WORD.findall(text.lower())
