"""A growing set of 16-byte ids that uses 16 bytes per id and answers many lookups at once."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
import polars as pl

from pipeline.store.identity import ID_BYTES

ID_TYPE = f"S{ID_BYTES}"


def binary_ids(hex_ids: pl.Series) -> np.ndarray:
    """The ids that are 16 bytes in hexadecimal, as ID_TYPE; those of any other form are left out."""
    binary = hex_ids.filter(hex_ids.str.len_bytes() == 2 * ID_BYTES).str.decode("hex", strict=False)
    return np.frombuffer(b"".join(binary.drop_nulls().to_list()), dtype=ID_TYPE)


def hashed_ids(ids: pl.Series) -> np.ndarray:
    """Ids of any form as ID_TYPE: their hashes, [ids]."""
    hashes = (blake2b(name.encode(), digest_size=ID_BYTES).digest() for name in ids.to_list())
    return np.frombuffer(b"".join(hashes), dtype=ID_TYPE)


class IdSet:
    """Sorted runs of ids, each at least twice as long as the next, as in a log-structured merge tree (O'Neil
    et al. 1996).

    10 million ids take 160 MB. Ids of any other form are not stored, because they cannot equal a 16-byte id.
    """

    def __init__(self, hex_ids: pl.Series | None = None):
        self._runs: list[np.ndarray] = []
        if hex_ids is not None:
            self.add(binary_ids(hex_ids))

    def __len__(self) -> int:
        return sum(len(run) for run in self._runs)

    def add(self, ids: np.ndarray) -> None:
        """Add ids of dtype `ID_TYPE`."""
        if not len(ids):
            return
        run = np.sort(ids)
        while self._runs and len(self._runs[-1]) < 2 * len(run):
            run = np.sort(np.concatenate([self._runs.pop(), run]), kind="stable")
        self._runs.append(run)

    def contains(self, ids: np.ndarray) -> np.ndarray:
        """Whether each id is in the set, bool [len(ids)]."""
        contained = np.zeros(len(ids), dtype=bool)
        for run in self._runs:
            position = np.minimum(np.searchsorted(run, ids), len(run) - 1)
            contained |= run[position] == ids
        return contained
