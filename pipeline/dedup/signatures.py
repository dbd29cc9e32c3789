"""Signatures of programs, which deduplication compares. Pure functions of program and language, in batches.

* `raw_hash`: hash of the bytes;
* `token_hash`: hash of the tokens (`pipeline/dedup/lexers.py`), the same for programs that differ in comments
  and layout only;
* `abstract_hash`: hash of the tokens with names numbered by first occurrence, the same for programs that
  differ in names only. It annotates and never merges clusters, because distinct short programs share it;
* `shingles`: distinct 32-bit hashes of every 5 consecutive tokens (Broder 1997); a shorter program is one
  shingle;
* `minhash`: 125 minima over the shingles (rensa's RMinHash), 25 bands of 5 for locality-sensitive hashing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from importlib.metadata import version
from itertools import pairwise, starmap
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
# Programs per block, so that their tokens stay in the processor's cache.
BLOCK_PROGRAMS = 2_000
SIGNATURE_VERSION = 1
ALGORITHM = (
    f"lexer {LEXER_VERSION}, {SHINGLE_TOKENS}-token shingles {SIGNATURE_VERSION}, "
    f"rensa {version('rensa')} rminhash {PERMUTATIONS} permutations seed {SEED}"
)
# Odd constants for multiply-and-shift hashing of a window of tokens (Dietzfelbinger et al. 1997).
MULTIPLIERS = text_hashes([f"multiplier {place}" for place in range(LONGEST_WINDOW)]) | np.uint64(1)
# rensa returns lists of Python integers; packing each list is the fastest conversion to an array, and the
# integers of this many programs stay in the processor's cache.
ROWS_AT_ONCE = 100
PACKED = Struct(f"<{PERMUTATIONS}I")
LINE_END, RENAMED = (text_hashes([name])[0] for name in ("\n line end", "\n name"))


@dataclass
class Signatures:
    """Signatures of a batch of programs, one entry per program; the shingles of all programs are
    concatenated."""

    raw_hash: list[str]
    token_hash: list[str]
    abstract_hash: list[str]
    token_count: np.ndarray
    shingles: np.ndarray
    shingle_offsets: np.ndarray
    minhash: np.ndarray

    def frame(self) -> pl.DataFrame:
        """The columns of `program_signatures` that depend only on the program."""
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
        _sign_block(programs[a : a + BLOCK_PROGRAMS], language)
        for a in range(0, max(len(programs), 1), BLOCK_PROGRAMS)
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


def _sign_block(programs: pl.Series, language: str) -> Signatures:
    tokens = lex(programs, lexer_of(language))
    hashes = token_hashes(tokens)
    shingles, offsets = shingles_of(hashes, tokens.offsets)
    return Signatures(
        raw_hash=_hexadecimal(
            blake2b(program.encode(), digest_size=ID_BYTES).digest() for program in programs.to_list()
        ),
        token_hash=span_hashes(hashes, tokens.offsets),
        abstract_hash=span_hashes(_abstract(tokens, hashes), tokens.offsets),
        token_count=np.diff(tokens.offsets),
        shingles=shingles,
        shingle_offsets=offsets,
        minhash=minhash_of(shingles, offsets),
    )


def token_hashes(tokens: Tokens) -> np.ndarray:
    """A 64-bit hash of each token, uint64 [tokens]; a line end is hashed by its indentation level."""
    if not len(tokens.codes):
        return np.zeros(0, np.uint64)
    hashes = text_hashes(tokens.texts)[tokens.codes]
    line = tokens.levels >= 0
    hashes[line] = mix_bits(LINE_END + tokens.levels[line].astype(np.uint64))
    return hashes


def _abstract(tokens: Tokens, hashes: np.ndarray) -> np.ndarray:
    """Token hashes in which each freely chosen name is replaced by its number, in order of first occurrence
    in the program.

    Keywords, names of the standard library and names after a dot keep their own hashes.
    """
    if not len(tokens.codes):
        return hashes
    fixed = tokens.lexer.fixed
    free = np.array(
        [IS_NAME.fullmatch(text) is not None and text not in fixed for text in tokens.texts], dtype=bool
    )
    dot = np.array([text in (".", "->", "::") for text in tokens.texts], dtype=bool)
    indices = np.flatnonzero(free[tokens.codes] & ~np.concatenate([[False], dot[tokens.codes[:-1]]]))
    rows = np.searchsorted(tokens.offsets, indices, side="right") - 1
    keys = rows * len(tokens.texts) + tokens.codes[indices]
    # Arrow numbers distinct values by first occurrence over all programs; the number of a program's first
    # name is its base.
    numbers = pa.array(keys).dictionary_encode().indices.to_numpy()
    begins = (
        np.flatnonzero(np.concatenate([[True], rows[1:] != rows[:-1]]))
        if len(rows)
        else np.zeros(0, np.int64)
    )
    base = np.repeat(numbers[begins], np.diff(np.append(begins, len(rows))))
    result = hashes.copy()
    result[indices] = mix_bits(RENAMED + (numbers - base).astype(np.uint64))
    return result


def span_hashes(hashes: np.ndarray, offsets: np.ndarray) -> list[str]:
    """The hash of each program's sequence of token hashes, as 32 hexadecimal characters."""
    flat, cuts = hashes.astype("<u8").tobytes(), (8 * offsets).tolist()
    return _hexadecimal(blake2b(flat[a:b], digest_size=ID_BYTES).digest() for a, b in pairwise(cuts))


def _hexadecimal(digests: Iterable[bytes]) -> list[str]:
    """Digests of ID_BYTES each as hexadecimal text."""
    text = b"".join(digests).hex()
    return [text[place : place + 2 * ID_BYTES] for place in range(0, len(text), 2 * ID_BYTES)]


def shingles_of(hashes: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sorted distinct shingles of each program, uint32 [shingles], and their offsets by program, int64
    [programs + 1]."""
    rows, _, values = windows_of(hashes, offsets, SHINGLE_TOKENS)
    # The keys are already sorted by program; the stable sort uses that.
    keys = np.sort(rows << np.uint64(32) | values >> np.uint64(32), kind="stable")
    keys = keys[np.concatenate([[True], keys[1:] != keys[:-1]])] if len(keys) else keys
    return keys.astype(np.uint32), np.searchsorted(
        keys, np.arange(len(offsets), dtype=np.uint64) << np.uint64(32)
    )


def windows_of(
    hashes: np.ndarray, offsets: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All windows of `size` consecutive tokens: index of the text, uint64; first token, int64; 64-bit hash,
    uint64 [windows].

    A text with fewer tokens is one window; an empty text has none.
    """
    lengths = np.diff(offsets)
    windows = np.where(lengths > 0, np.maximum(lengths - size + 1, 1), 0)
    # One window begins at each token; those that reach into the next text are not selected below.
    padded = np.append(hashes, np.zeros(size, np.uint64))
    values = padded[: len(hashes)] * MULTIPLIERS[0]
    for place in range(1, size):
        values += padded[place : place + len(hashes)] * MULTIPLIERS[place]
    for text in np.flatnonzero((lengths > 0) & (lengths < size)):
        begin, end = offsets[text], offsets[text + 1]
        values[begin] = (hashes[begin:end] * MULTIPLIERS[: end - begin]).sum()
    rows = np.repeat(np.arange(len(lengths), dtype=np.uint64), windows)
    starts = np.arange(windows.sum()) + np.repeat(offsets[:-1] - (np.cumsum(windows) - windows), windows)
    return rows, starts, mix_bits(values[starts])


def minhash_of(shingles: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """MinHash of each program's shingles, uint32 [programs, PERMUTATIONS]."""
    hashes, cuts = mix_bits(shingles.astype(np.uint64)), offsets.astype(np.uint64)
    packed: list[bytes] = []
    for first in range(0, len(cuts) - 1, ROWS_AT_ONCE):
        ends = cuts[first : first + ROWS_AT_ONCE + 1]
        digest = RMinHash.digest_matrix_from_flat_token_hashes(
            hashes[ends[0] : ends[-1]], ends - ends[0], PERMUTATIONS, SEED
        )
        packed += starmap(PACKED.pack, digest.to_rows())
    return np.frombuffer(b"".join(packed), dtype="<u4").reshape(-1, PERMUTATIONS)


def mix_bits(values: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser (Steele et al. 2014): every bit of the result depends on every bit of the
    value."""
    values = np.array(values, dtype=np.uint64)
    for shift, multiplier in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        values ^= values >> np.uint64(shift)
        values *= np.uint64(multiplier)
    return values ^ (values >> np.uint64(31))
