"""Signatures of programs: what deduplication compares. A pure function of program and language, in batches.

* `raw_hash`: of the bytes;
* `token_hash`: of the tokens (`pipeline/dedup/lexers.py`): the same program under other comments and another layout;
* `abstract_hash`: of the tokens with names numbered in the order they first occur: the same program under other names. It
  annotates and never merges, because distinct short programs agree in it;
* `shingles`: the distinct 32-bit hashes of all 5 consecutive tokens (Broder 1997); a shorter program is one shingle;
* `minhash`: 125 minima over those (rensa's RMinHash), 25 bands of 5 for locality-sensitive hashing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from importlib.metadata import version
from itertools import pairwise
from struct import Struct

import numpy as np
import polars as pl
import pyarrow as pa
from rensa import RMinHash

from pipeline.dedup.lexers import IS_NAME, LEXER_VERSION, Tokens, lex, lexer_of, text_hashes
from pipeline.store import ID_BYTES

SHINGLE_TOKENS = 5
LONGEST_WINDOW = 16
PERMUTATIONS = 125
SEED = 42
# Programs at a time: their tokens stay in the processor's cache, which halves the time of 20,000.
SIGNED_TOGETHER = 2_000
SIGNATURE_VERSION = 1
ALGORITHM = (
    f"lexer {LEXER_VERSION}, {SHINGLE_TOKENS}-token shingles {SIGNATURE_VERSION}, rensa {version('rensa')} rminhash "
    f"{PERMUTATIONS} permutations seed {SEED}"
)
# Odd constants for multiply-and-shift hashing of a window of tokens (Dietzfelbinger et al. 1997).
MULTIPLIERS = text_hashes([f"multiplier {place}" for place in range(LONGEST_WINDOW)]) | np.uint64(1)
# rensa gives lists of numbers; packing each is the fastest way out of them.
PACKED = Struct(f"<{PERMUTATIONS}I")
LINE_END, RENAMED = (text_hashes([name])[0] for name in ("\n line end", "\n name"))


@dataclass
class Signatures:
    """Signatures of a batch of programs, one entry a program; shingles lie end to end."""

    raw_hash: list[str]
    token_hash: list[str]
    abstract_hash: list[str]
    token_count: np.ndarray
    shingles: np.ndarray
    shingle_offsets: np.ndarray
    minhash: np.ndarray

    def frame(self) -> pl.DataFrame:
        """The columns of `program_signatures` that hang on the program alone."""
        flat, cuts = self.shingles.astype("<u4").tobytes(), (4 * self.shingle_offsets).tolist()
        rows = self.minhash.astype("<u4").tobytes()
        return pl.DataFrame(
            {
                "raw_hash": self.raw_hash,
                "token_hash": self.token_hash,
                "abstract_hash": self.abstract_hash,
                "token_count": pl.Series(self.token_count, dtype=pl.Int32),
                "shingles": pl.Series([flat[a:b] for a, b in pairwise(cuts)], dtype=pl.Binary),
                "minhash": pl.Series(
                    [rows[a : a + 4 * PERMUTATIONS] for a in range(0, len(rows), 4 * PERMUTATIONS)],
                    dtype=pl.Binary,
                ),
            }
        )


def sign(programs: pl.Series, language: str) -> Signatures:
    """Signatures of programs in one language."""
    parts = [
        _signed(programs[a : a + SIGNED_TOGETHER], language)
        for a in range(0, max(len(programs), 1), SIGNED_TOGETHER)
    ]
    ends = np.cumsum([0, *(len(part.shingles) for part in parts)])
    return Signatures(
        raw_hash=[name for part in parts for name in part.raw_hash],
        token_hash=[name for part in parts for name in part.token_hash],
        abstract_hash=[name for part in parts for name in part.abstract_hash],
        token_count=np.concatenate([part.token_count for part in parts]),
        shingles=np.concatenate([part.shingles for part in parts]),
        shingle_offsets=np.concatenate(
            [[0], *(part.shingle_offsets[1:] + end for part, end in zip(parts, ends[:-1], strict=True))]
        ),
        minhash=np.concatenate([part.minhash for part in parts]),
    )


def _signed(programs: pl.Series, language: str) -> Signatures:
    tokens = lex(programs, lexer_of(language))
    hashes = token_hashes(tokens)
    shingles, offsets = shingles_of(hashes, tokens.offsets)
    return Signatures(
        raw_hash=hexadecimal(
            blake2b(program.encode(), digest_size=ID_BYTES).digest() for program in programs.to_list()
        ),
        token_hash=span_hashes(hashes, tokens.offsets),
        abstract_hash=span_hashes(abstracted(tokens, hashes), tokens.offsets),
        token_count=np.diff(tokens.offsets),
        shingles=shingles,
        shingle_offsets=offsets,
        minhash=minhash_of(shingles, offsets),
    )


def token_hashes(tokens: Tokens) -> np.ndarray:
    """A 64-bit hash of each token, uint64 [tokens]; of a line end by its level."""
    if not len(tokens.codes):
        return np.zeros(0, np.uint64)
    hashes = text_hashes(tokens.texts)[tokens.codes]
    line = tokens.levels >= 0
    hashes[line] = mixed(LINE_END + tokens.levels[line].astype(np.uint64))
    return hashes


def abstracted(tokens: Tokens, hashes: np.ndarray) -> np.ndarray:
    """Token hashes in which each name that is free to choose is its number of first occurrence in the program.

    Keywords, names of the standard library and names after a dot keep their own.
    """
    if not len(tokens.codes):
        return hashes
    fixed = tokens.lexer.fixed
    free = np.array(
        [IS_NAME.fullmatch(text) is not None and text not in fixed for text in tokens.texts], dtype=bool
    )
    dot = np.array([text in (".", "->", "::") for text in tokens.texts], dtype=bool)
    places = np.flatnonzero(free[tokens.codes] & ~np.concatenate([[False], dot[tokens.codes[:-1]]]))
    rows = np.searchsorted(tokens.offsets, places, side="right") - 1
    keys = rows * len(tokens.texts) + tokens.codes[places]
    # Arrow numbers distinct values in the order of first occurrence, over all programs; a program's own begin at its first name.
    numbers = pa.array(keys).dictionary_encode().indices.to_numpy()
    begins = (
        np.flatnonzero(np.concatenate([[True], rows[1:] != rows[:-1]]))
        if len(rows)
        else np.zeros(0, np.int64)
    )
    base = np.repeat(numbers[begins], np.diff(np.append(begins, len(rows))))
    result = hashes.copy()
    result[places] = mixed(RENAMED + (numbers - base).astype(np.uint64))
    return result


def span_hashes(hashes: np.ndarray, offsets: np.ndarray) -> list[str]:
    """For each program the hash of its sequence of token hashes, as 32 hexadecimal characters."""
    flat, cuts = hashes.astype("<u8").tobytes(), (8 * offsets).tolist()
    return hexadecimal(blake2b(flat[a:b], digest_size=ID_BYTES).digest() for a, b in pairwise(cuts))


def hexadecimal(digests: Iterable[bytes]) -> list[str]:
    """Digests of ID_BYTES each as text, converted together."""
    text = b"".join(digests).hex()
    return [text[place : place + 2 * ID_BYTES] for place in range(0, len(text), 2 * ID_BYTES)]


def shingles_of(hashes: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sorted distinct shingles of each program, uint32 [shingles], and where each program's begin, int64 [programs + 1]."""
    rows, _, values = windows_of(hashes, offsets, SHINGLE_TOKENS)
    # Programs lie in order already, which the stable sort makes use of.
    keys = np.sort(rows << np.uint64(32) | values >> np.uint64(32), kind="stable")
    keys = keys[np.concatenate([[True], keys[1:] != keys[:-1]])] if len(keys) else keys
    return keys.astype(np.uint32), np.searchsorted(
        keys, np.arange(len(offsets), dtype=np.uint64) << np.uint64(32)
    )


def windows_of(
    hashes: np.ndarray, offsets: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All runs of `size` consecutive tokens: their text's number, uint64, first token, int64, and 64-bit hash, uint64 [windows].

    A text with fewer tokens is one window, an empty one has none.
    """
    lengths = np.diff(offsets)
    windows = np.where(lengths > 0, np.maximum(lengths - size + 1, 1), 0)
    # The window that begins at each token; those that reach into the next text are not taken.
    padded = np.append(hashes, np.zeros(size, np.uint64))
    values = padded[: len(hashes)] * MULTIPLIERS[0]
    for place in range(1, size):
        values += padded[place : place + len(hashes)] * MULTIPLIERS[place]
    for text in np.flatnonzero((lengths > 0) & (lengths < size)):
        begin, end = offsets[text], offsets[text + 1]
        values[begin] = (hashes[begin:end] * MULTIPLIERS[: end - begin]).sum()
    rows = np.repeat(np.arange(len(lengths), dtype=np.uint64), windows)
    starts = np.arange(windows.sum()) + np.repeat(offsets[:-1] - (np.cumsum(windows) - windows), windows)
    return rows, starts, mixed(values[starts])


def minhash_of(shingles: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """MinHash of each program's shingles, uint32 [programs, PERMUTATIONS]."""
    digest = RMinHash.digest_matrix_from_flat_token_hashes(
        mixed(shingles.astype(np.uint64)), offsets.astype(np.uint64), PERMUTATIONS, SEED
    )
    packed = b"".join([PACKED.pack(*row) for row in digest.to_rows()])
    return np.frombuffer(packed, dtype="<u4").reshape(-1, PERMUTATIONS)


def mixed(values: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser (Steele et al. 2014): every bit of the result hangs on every bit of the value."""
    values = np.array(values, dtype=np.uint64)
    for shift, multiplier in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        values ^= values >> np.uint64(shift)
        values *= np.uint64(multiplier)
    return values ^ (values >> np.uint64(31))
