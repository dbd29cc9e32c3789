"""Clusters of equal and nearly equal programs: the connected components of a graph.

Two programs are merge_clusters by an edge if their token hashes are equal, or if they share a MinHash band,
agree in enough of their signatures, and have an exact Jaccard similarity of at least 0.7.

Bands only propose pairs; every edge is verified on the shingles themselves. Components do not depend on the
order of the edges. So the clusters are the same for every order of programs, and new programs can be added to
existing clusters.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from pipeline.dedup.signatures import MULTIPLIERS, PERMUTATIONS, mix_bits

BANDS = 25
BAND_ROWS = PERMUTATIONS // BANDS
# A pair at the threshold agrees in 0.7 +- 0.041 of 125 permutations: 0.55 loses one pair in 10,000 and
# rejects most of the others.
PREFILTER = 0.55
THRESHOLD = 0.7
PAIRS_AT_ONCE = 1 << 18
SHINGLES_AT_ONCE = 1 << 23
KEY_BLOCK_PROGRAMS = 2_048
MAYBE_BITS = 16
MAYBE_SHIFT = np.uint64(64 - MAYBE_BITS)


@dataclass
class Programs:
    """What clustering needs to know about n programs.

    `group` int64 [n]: programs of different groups are never compared. `token` int64 [n]: equal numbers for
    equal token hashes. `minhash` uint32 [n, PERMUTATIONS]. `shingles` uint32: those of all programs,
    concatenated. `shingle_offsets` int64 [n + 1]: where the shingles of each program begin.
    """

    group: np.ndarray
    token: np.ndarray
    minhash: np.ndarray
    shingles: np.ndarray
    shingle_offsets: np.ndarray


def components(
    programs: Programs, known: np.ndarray | None = None, is_new: np.ndarray | None = None
) -> np.ndarray:
    """For each program, the index of the first member of its cluster, int64 [n].

    `known` int64 [n] is the result of an earlier call; then only pairs with at least one program of `is_new`
    bool [n] are compared.
    """
    labels = np.arange(len(programs.group)) if known is None else known.copy()
    if is_new is None:
        is_new = np.ones(len(labels), dtype=bool)
    if not is_new.any():
        return labels
    # Programs with equal tokens have equal shingles, so the first one is their leader. It counts as new only
    # if all are new.
    order = np.lexsort((programs.token, programs.group))
    same = (programs.group[order][1:] == programs.group[order][:-1]) & (
        programs.token[order][1:] == programs.token[order][:-1]
    )
    labels = merge_clusters(labels, order[:-1][same], order[1:][same])
    begins = np.flatnonzero(np.concatenate([[True], ~same]))
    fresh = np.zeros(len(labels), dtype=bool)
    fresh[order[begins]] = np.logical_and.reduceat(is_new[order], begins)
    leaders = np.sort(order[begins])
    leaders = leaders[programs.shingle_offsets[leaders + 1] > programs.shingle_offsets[leaders]]
    # Sorted codes (left * n + right) of the pairs below the threshold; -1 is not a pair.
    failed = np.full(1, -1, dtype=np.int64)
    for keys in band_keys(programs, leaders):
        members, bounds = shared_bands(keys, leaders, fresh[leaders])
        for pairs in (_star_pairs(members, bounds), _all_pairs(members, bounds)):
            for left, right in pairs:
                labels, failed = _merge_near_pairs(programs, labels, failed, fresh, left, right)
    return labels


def near_pairs(programs: Programs) -> tuple[np.ndarray, np.ndarray]:
    """(left, right), int64 [pairs] each: all pairs within a group at or above the threshold, each once.

    Programs without shingles are in no pair.
    """
    leaders = np.flatnonzero(np.diff(programs.shingle_offsets))
    candidates = [np.zeros(0, np.int64)]
    for keys in band_keys(programs, leaders):
        for left, right in _all_pairs(*shared_bands(keys, leaders, np.ones(len(leaders), dtype=bool))):
            agreeing = _agreement(programs.minhash, left, right) >= PREFILTER
            left, right = np.minimum(left, right)[agreeing], np.maximum(left, right)[agreeing]
            candidates.append(np.unique(left * len(programs.group) + right))
    left, right = np.divmod(np.unique(np.concatenate(candidates)), len(programs.group))
    near = jaccard(programs, left, right) >= THRESHOLD
    return left[near], right[near]


def shared_bands(keys: np.ndarray, leaders: np.ndarray, is_new: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Groups leaders that share an LSH band, keeping groups with at least one new program; `keys` are the
    band keys.

    `is_new` bool [leaders]. Returns (members, bounds): group i is `members[bounds[i] : bounds[i + 1]]`.
    """
    if not is_new.all():
        new_keys = np.sort(keys[is_new])
        if not len(new_keys):
            return leaders[:0], np.zeros(1, dtype=np.int64)
        shared = new_keys[np.minimum(np.searchsorted(new_keys, keys), len(new_keys) - 1)] == keys
        leaders, keys = leaders[shared], keys[shared]
    order, bounds = _equal_runs(keys)
    return leaders[order], bounds


def _merge_near_pairs(
    programs: Programs,
    labels: np.ndarray,
    failed: np.ndarray,
    fresh: np.ndarray,
    left: np.ndarray,
    right: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    wanted = (labels[left] != labels[right]) & (fresh[left] | fresh[right])
    left, right = left[wanted], right[wanted]
    if not len(left):
        return labels, failed
    agreeing = _agreement(programs.minhash, left, right) >= PREFILTER
    left, right = np.minimum(left[agreeing], right[agreeing]), np.maximum(left[agreeing], right[agreeing])
    names = left * len(labels) + right
    untried = failed[np.minimum(np.searchsorted(failed, names), len(failed) - 1)] != names
    left, right, names = left[untried], right[untried], names[untried]
    near = jaccard(programs, left, right) >= THRESHOLD
    return merge_clusters(labels, left[near], right[near]), np.sort(np.concatenate([failed, names[~near]]))


def band_keys(programs: Programs, chosen: np.ndarray) -> np.ndarray:
    """Hashes of the group and the MinHash values of each band, uint64 [BANDS, chosen]."""
    groups = mix_bits(programs.group[chosen].astype(np.uint64) + np.uint64(1))
    keys = np.empty((BANDS, len(chosen)), dtype=np.uint64)
    # Small blocks, so that their values stay in the processor's cache.
    for begin in range(0, len(chosen), KEY_BLOCK_PROGRAMS):
        part = slice(begin, begin + KEY_BLOCK_PROGRAMS)
        values = programs.minhash[chosen[part]].reshape(-1, BANDS, BAND_ROWS)
        sums = np.repeat(groups[part, None], BANDS, axis=1)
        for place in range(BAND_ROWS):
            # MinHash values are already random, so multiply-and-add is enough (Dietzfelbinger et al. 1997).
            sums += values[:, :, place] * MULTIPLIERS[place]
        keys[:, part] = sums.T
    return keys


class BandSet:
    """The bands of some programs, for testing which other programs share a band with any of them."""

    def __init__(self, keys: np.ndarray):
        """`keys`: the result of `band_keys` for at least one program."""
        self._sorted = np.sort(keys, axis=1)
        # A table of first bits rejects most keys without a binary search.
        self._maybe = np.zeros((BANDS, 1 << MAYBE_BITS), dtype=bool)
        for band in range(BANDS):
            self._maybe[band, keys[band] >> MAYBE_SHIFT] = True

    def shared_with(self, keys: np.ndarray) -> np.ndarray:
        """Which programs share a band, bool [programs]; `keys` uint64 [BANDS, programs]."""
        shared = np.zeros(keys.shape[1], dtype=bool)
        for own, maybe, others in zip(self._sorted, self._maybe, keys, strict=True):
            indices = np.flatnonzero(maybe[others >> MAYBE_SHIFT])
            candidates = others[indices]
            shared[indices[own[np.minimum(np.searchsorted(own, candidates), len(own) - 1)] == candidates]] = (
                True
            )
        return shared


def _equal_runs(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(order, bounds): the indices of the keys that occur more than once, equal keys together, and the bounds
    of these runs."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    begins = (
        np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
        if len(keys)
        else np.zeros(0, np.int64)
    )
    sizes = np.diff(np.append(begins, len(keys)))
    repeated = np.repeat(sizes > 1, sizes)
    return order[repeated], np.concatenate([[0], np.cumsum(sizes[sizes > 1])])


def _star_pairs(members: np.ndarray, bounds: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of the first member of each run with every other member: joins large runs of similar programs at
    low cost."""
    sizes = np.diff(bounds)
    first = np.repeat(members[bounds[:-1]], sizes)
    yield first[first != members], members[first != members]


def _all_pairs(members: np.ndarray, bounds: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """All pairs within each run, in blocks of about PAIRS_AT_ONCE pairs."""
    ends = np.repeat(bounds[1:], np.diff(bounds))
    partners = ends - np.arange(len(members)) - 1
    reach = np.cumsum(partners)
    cuts = np.searchsorted(reach, np.arange(PAIRS_AT_ONCE, reach[-1] if len(reach) else 0, PAIRS_AT_ONCE)) + 1
    edges = np.unique(np.concatenate([[0], cuts, [len(members)]]))
    for begin, end in pairwise(edges):
        count = partners[begin:end]
        left = np.repeat(np.arange(begin, end), count)
        right = left + 1 + np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        yield members[left], members[right]


def _agreement(minhash: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Fraction of permutations in which two signatures agree, float64 [pairs]: an estimate of their Jaccard
    similarity."""
    shares = [
        (minhash[left[a : a + PAIRS_AT_ONCE // 16]] == minhash[right[a : a + PAIRS_AT_ONCE // 16]]).mean(
            axis=1
        )
        for a in range(0, len(left), PAIRS_AT_ONCE // 16)
    ]
    return np.concatenate(shares) if shares else np.zeros(0)


def jaccard(programs: Programs, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Exact Jaccard similarity of the shingles of each pair, float64 [pairs]."""
    sizes = np.diff(programs.shingle_offsets)
    total = sizes[left] + sizes[right]
    common = np.zeros(len(left), dtype=np.int64)
    edges = np.searchsorted(np.cumsum(total), np.arange(0, total.sum(), SHINGLES_AT_ONCE))
    edges = np.unique(np.append(edges, len(left)))
    for begin, end in pairwise(edges):
        common[begin:end] = _common(programs, left[begin:end], right[begin:end])
    return common / np.maximum(total - common, 1)


def _common(programs: Programs, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    starts, sizes = programs.shingle_offsets[:-1], np.diff(programs.shingle_offsets)
    both = np.concatenate([left, right])
    pair = np.concatenate([np.arange(len(left)), np.arange(len(left))])
    count = sizes[both]
    indices = np.repeat(starts[both] - (np.cumsum(count) - count), count) + np.arange(count.sum())
    # Both halves are sorted, and the stable sort only merges sorted runs.
    keys = np.sort(
        np.repeat(pair, count).astype(np.uint64) << np.uint64(32) | programs.shingles[indices], kind="stable"
    )
    twice = keys[1:][keys[1:] == keys[:-1]]
    return np.bincount((twice >> np.uint64(32)).astype(np.int64), minlength=len(left))


def merge_clusters(labels: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Labels after joining the clusters of each pair; a label is the smallest index of its cluster."""
    parent = labels.copy()
    while True:
        a, b = parent[left], parent[right]
        apart = a != b
        if not apart.any():
            return parent
        left, right, a, b = left[apart], right[apart], a[apart], b[apart]
        # Attach the larger root to the smaller one, then point every program at its root again.
        np.minimum.at(parent, np.maximum(a, b), np.minimum(a, b))
        while (parent[parent] != parent).any():
            parent = parent[parent]
