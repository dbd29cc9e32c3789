"""Finds the problem of a prompt: the one whose statement the prompt contains word for word.

Rollout dumps often have prompts but no problem ids. Words are compared without case, punctuation and markup,
so a chat template around the statement or other delimiters of formulas do not matter. If a prompt contains
several statements, the longest one wins (a shorter one is part of it, or an example). If several problems
have the same statement, the first by id wins.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable

from pipeline.store import digest

WORD = re.compile(r"\w+")
# A statement is looked up by its first words. One with fewer than MIN_WORDS is too short to identify a
# problem.
KEY_WORDS, MIN_WORDS = 8, 4
CACHED_ANSWERS = 10_000


# Word sequences are compared by a rolling hash (Karp and Rabin 1987) modulo a Mersenne prime. The base is
# secret, so no text can be made to collide.
MODULUS = (1 << 61) - 1


class StatementIndex:
    """Index of problems by statement.

    A lookup takes time proportional to the number of words in the prompt.
    """

    def __init__(self, problems: Iterable[tuple[str, str]]):
        """`problems`: (problem_id, statement)."""
        self._base = secrets.randbelow(MODULUS - (1 << 32)) + (1 << 31)
        # (its first words) -> {number of words: {rolling hash: {digest of the words: problem_id}}}
        self._index: dict[tuple[str, ...], dict[int, dict[int, dict[bytes, str]]]] = {}
        for problem_id, statement in problems:
            words = split_words(statement)
            if len(words) < MIN_WORDS:
                continue
            by_count = self._index.setdefault(tuple(words[:KEY_WORDS]), {})
            by_digest = by_count.setdefault(len(words), {}).setdefault(self._hashes(words)[-1], {})
            key = digest(*words)
            by_digest[key] = min(problem_id, by_digest.get(key, problem_id))
        for first_words, by_count in self._index.items():
            self._index[first_words] = dict(sorted(by_count.items(), reverse=True))
        self._key_lengths = sorted({len(key) for key in self._index}, reverse=True)
        self._first_words = {key[0] for key in self._index}
        self._answers: dict[bytes, str | None] = {}

    def find(self, prompt: str) -> str | None:
        """The problem_id of the statement in a prompt, or None."""
        key = digest(prompt)
        if key not in self._answers:
            if len(self._answers) >= CACHED_ANSWERS:
                self._answers.clear()
            self._answers[key] = self._find(split_words(prompt))
        return self._answers[key]

    def _find(self, words: list[str]) -> str | None:
        best = (0, "")
        hashes, powers = self._hashes(words), self._powers(len(words))
        for begin, word in enumerate(words):
            if word not in self._first_words:
                continue
            for length in self._key_lengths:
                by_count = self._index.get(tuple(words[begin : begin + length]), {})
                for count, by_hash in by_count.items():
                    end = begin + count
                    if count <= best[0]:
                        break
                    if end > len(words):
                        continue
                    by_digest = by_hash.get((hashes[end] - hashes[begin] * powers[count]) % MODULUS)
                    problem_id = by_digest.get(digest(*words[begin:end])) if by_digest else None
                    if problem_id is not None:
                        best = (count, problem_id)
        return best[1] or None

    def _hashes(self, words: list[str]) -> list[int]:
        """The hash of the first n words, for every n."""
        hashes = [0]
        for word in words:
            hashes.append((hashes[-1] * self._base + hash(word)) % MODULUS)
        return hashes

    def _powers(self, count: int) -> list[int]:
        powers = [1]
        for _ in range(count):
            powers.append(powers[-1] * self._base % MODULUS)
        return powers


def split_words(text: str) -> list[str]:
    return WORD.findall(text.lower())
