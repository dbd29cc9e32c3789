"""Which files of a table have the rows of some trajectories: kept in memory by one process that follows a
store, 12 bytes per row.

It is made from a snapshot and from what was added since, and is never written down. It names files of the
versions that it was told of: compaction leaves them in place until maintenance deletes them, and reading one
that is gone raises StoreError.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from pipeline.later import later
from pipeline.store.snapshot import Snapshot

if TYPE_CHECKING:
    import polars as pl
else:
    pl = later("polars")

# Rows that are added are merged with each other, and with the others once they are this many and more than a
# quarter of them, so that adding rows costs little.
MERGED_ROWS = 500_000


@dataclass(frozen=True)
class _Run:
    """Hashes of ids, ascending, and for each the number of its file: uint64 [N] and int32 [N]."""

    hashes: np.ndarray
    files: np.ndarray

    def merged(self, other: _Run) -> _Run:
        if not len(self.hashes):
            return other
        places = np.searchsorted(self.hashes, other.hashes)
        return _Run(np.insert(self.hashes, places, other.hashes), np.insert(self.files, places, other.files))

    def files_with(self, hashes: np.ndarray) -> np.ndarray:
        first = np.searchsorted(self.hashes, hashes)
        counts = np.searchsorted(self.hashes, hashes, side="right") - first
        starts = np.repeat(first - (np.cumsum(counts) - counts), counts)
        return np.unique(self.files[starts + np.arange(counts.sum())])

    def contains(self, hashes: np.ndarray) -> np.ndarray:
        if not len(self.hashes):
            return np.zeros(len(hashes), dtype=bool)
        places = np.minimum(np.searchsorted(self.hashes, hashes), len(self.hashes) - 1)
        return self.hashes[places] == hashes


_EMPTY = _Run(np.zeros(0, np.uint64), np.zeros(0, np.int32))


@dataclass(frozen=True)
class RowFiles:
    """The files of one table by trajectory_id. Two ids may share a hash: then a file too many is named."""

    snapshot: Snapshot  # all files, in the order of their numbers
    _old: _Run = _EMPTY
    _new: _Run = _EMPTY

    @classmethod
    def of(cls, snapshot: Snapshot) -> RowFiles:
        """All rows of a snapshot. Raises StoreError for a damaged file."""
        return cls(snapshot, _run_of(snapshot, 0))

    @staticmethod
    def hashes(ids: pl.Series) -> np.ndarray:
        """64-bit hashes of ids: uint64 [ids]. They hold within this process."""
        return ids.hash().to_numpy()

    def with_added(self, added: Snapshot) -> RowFiles:
        """The same and rows that were added. Raises StoreError for a file that is gone or damaged."""
        if not added.files:
            return replace(self, snapshot=replace(self.snapshot, version=added.version))
        new = self._new.merged(_run_of(added, len(self.snapshot.files)))
        files = replace(self.snapshot, version=added.version, files=(*self.snapshot.files, *added.files))
        if len(new.hashes) > max(MERGED_ROWS, len(self._old.hashes) // 4):
            return RowFiles(files, self._old.merged(new))
        return RowFiles(files, self._old, new)

    def files_with(self, hashes: np.ndarray) -> Snapshot:
        """A snapshot of the files that have rows of these ids, given as `hashes`; a few others may be
        among them.
        """
        numbers = np.union1d(self._old.files_with(hashes), self._new.files_with(hashes))
        return replace(self.snapshot, files=tuple(self.snapshot.files[number] for number in numbers))

    def contains(self, hashes: np.ndarray) -> np.ndarray:
        """Whether there are rows of each of these ids: bool [hashes]."""
        return self._old.contains(hashes) | self._new.contains(hashes)


def _run_of(snapshot: Snapshot, first: int) -> _Run:
    """The rows of the files of a snapshot, whose numbers begin with `first`."""
    parts = []
    for number, file in enumerate(snapshot.files, first):
        ids = replace(snapshot, files=(file,)).read(["trajectory_id"])["trajectory_id"]
        hashes = np.unique(RowFiles.hashes(ids))
        parts.append((hashes, np.full(len(hashes), number, dtype=np.int32)))
    if not parts:
        return _EMPTY
    hashes, files = (np.concatenate(part) for part in zip(*parts, strict=True))
    order = np.argsort(hashes, kind="stable")
    return _Run(hashes[order], files[order])
