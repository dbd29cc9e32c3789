"""Clusters of equal and nearly equal programs: connected components of the graph whose edges are equal token hashes, and pairs
that share a MinHash band, agree in enough of their signatures, and have an exact Jaccard similarity of at least 0.7.

Bands only propose; every edge is verified on the shingles themselves. Components do not hang on the order in which edges are
found, so the clusters are the same whatever the order of programs, and new programs can be added to clusters known before.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from pipeline.dedup.signatures import MULTIPLIERS, PERMUTATIONS, mixed

BANDS = 25
BAND_ROWS = PERMUTATIONS // BANDS
# A pair at the threshold agrees in 0.7 +- 0.041 of 125 permutations: 0.55 loses one pair in 10,000 and spares most of the rest.
PREFILTER = 0.55
THRESHOLD = 0.7
PAIRS_AT_ONCE = 1 << 18
SHINGLES_AT_ONCE = 1 << 23
KEYED_TOGETHER = 2_048
MAYBE_BITS = 16
MAYBE_SHIFT = np.uint64(64 - MAYBE_BITS)


@dataclass
class Programs:
    """What clustering needs of n programs: `group` int64 [n], programs of different groups are never compared;
    `token` int64 [n], equal numbers for equal token hashes; MinHash uint32 [n, PERMUTATIONS]; shingles end to end."""

    group: np.ndarray
    token: np.ndarray
    minhash: np.ndarray
    shingles: np.ndarray
    shingle_offsets: np.ndarray


def components(
    programs: Programs, known: np.ndarray | None = None, is_new: np.ndarray | None = None
) -> np.ndarray:
    """For each program the index of the first member of its cluster, int64 [n].

    `known` int64 [n]: the same for clusters found before; then only pairs with a program of `is_new` bool [n] are looked at.
    """
    labels = np.arange(len(programs.group)) if known is None else known.copy()
    if is_new is None:
        is_new = np.ones(len(labels), dtype=bool)
    if not is_new.any():
        return labels
    # Programs with equal tokens have equal shingles: the first stands for all. It is a new one only if all are.
    order = np.lexsort((programs.token, programs.group))
    same = (programs.group[order][1:] == programs.group[order][:-1]) & (
        programs.token[order][1:] == programs.token[order][:-1]
    )
    labels = joined(labels, order[:-1][same], order[1:][same])
    begins = np.flatnonzero(np.concatenate([[True], ~same]))
    fresh = np.zeros(len(labels), dtype=bool)
    fresh[order[begins]] = np.logical_and.reduceat(is_new[order], begins)
    leaders = np.sort(order[begins])
    leaders = leaders[programs.shingle_offsets[leaders + 1] > programs.shingle_offsets[leaders]]
    # Pairs found too far apart, as one number each, sorted; the first is none.
    failed = np.full(1, -1, dtype=np.int64)
    for keys in band_keys(programs, leaders):
        members, bounds = shared_bands(keys, leaders, fresh[leaders])
        for pairs in (star_pairs(members, bounds), all_pairs(members, bounds)):
            for left, right in pairs:
                labels, failed = _joined_where_near(programs, labels, failed, fresh, left, right)
    return labels


def near_pairs(programs: Programs) -> tuple[np.ndarray, np.ndarray]:
    """All pairs within a group at or above the threshold, each once, int64 [pairs] twice; programs without shingles have none."""
    leaders = np.flatnonzero(np.diff(programs.shingle_offsets))
    found = [np.zeros(0, np.int64)]
    for keys in band_keys(programs, leaders):
        for left, right in all_pairs(*shared_bands(keys, leaders, np.ones(len(leaders), dtype=bool))):
            agreeing = agreement(programs.minhash, left, right) >= PREFILTER
            left, right = np.minimum(left, right)[agreeing], np.maximum(left, right)[agreeing]
            found.append(np.unique(left * len(programs.group) + right))
    left, right = np.divmod(np.unique(np.concatenate(found)), len(programs.group))
    near = jaccard(programs, left, right) >= THRESHOLD
    return left[near], right[near]


def shared_bands(keys: np.ndarray, leaders: np.ndarray, fresh: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(members, bounds): the leaders that share a band, of which these are their keys, at least one of them fresh, in runs."""
    if not fresh.all():
        wanted = np.sort(keys[fresh])
        if not len(wanted):
            return leaders[:0], np.zeros(1, dtype=np.int64)
        held = wanted[np.minimum(np.searchsorted(wanted, keys), len(wanted) - 1)] == keys
        leaders, keys = leaders[held], keys[held]
    order, bounds = runs_of(keys)
    return leaders[order], bounds


def _joined_where_near(
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
    agreeing = agreement(programs.minhash, left, right) >= PREFILTER
    left, right = np.minimum(left[agreeing], right[agreeing]), np.maximum(left[agreeing], right[agreeing])
    names = left * len(labels) + right
    untried = failed[np.minimum(np.searchsorted(failed, names), len(failed) - 1)] != names
    left, right, names = left[untried], right[untried], names[untried]
    near = jaccard(programs, left, right) >= THRESHOLD
    return joined(labels, left[near], right[near]), np.sort(np.concatenate([failed, names[~near]]))


def band_keys(programs: Programs, chosen: np.ndarray) -> np.ndarray:
    """A hash of the group and the MinHash values of each band, uint64 [BANDS, chosen]."""
    groups = mixed(programs.group[chosen].astype(np.uint64) + np.uint64(1))
    keys = np.empty((BANDS, len(chosen)), dtype=np.uint64)
    # Few at a time: their values stay in the processor's cache, which takes a seventh of the time.
    for begin in range(0, len(chosen), KEYED_TOGETHER):
        part = slice(begin, begin + KEYED_TOGETHER)
        values = programs.minhash[chosen[part]].reshape(-1, BANDS, BAND_ROWS)
        sums = np.repeat(groups[part, None], BANDS, axis=1)
        for place in range(BAND_ROWS):
            # MinHash values are random numbers already, so multiplying and adding is enough (Dietzfelbinger et al. 1997).
            sums += values[:, :, place] * MULTIPLIERS[place]
        keys[:, part] = sums.T
    return keys


class BandSet:
    """The bands of some programs, to be asked which of many others share one with any of them."""

    def __init__(self, keys: np.ndarray):
        """`keys` as `band_keys` gives them, of one program at least."""
        self._sorted = np.sort(keys, axis=1)
        # By its first bits alone a table answers for most keys; a search is ten times slower.
        self._maybe = np.zeros((BANDS, 1 << MAYBE_BITS), dtype=bool)
        for band in range(BANDS):
            self._maybe[band, keys[band] >> MAYBE_SHIFT] = True

    def shared_with(self, keys: np.ndarray) -> np.ndarray:
        """bool [programs] for keys uint64 [BANDS, programs]."""
        found = np.zeros(keys.shape[1], dtype=bool)
        for mine, maybe, theirs in zip(self._sorted, self._maybe, keys, strict=True):
            places = np.flatnonzero(maybe[theirs >> MAYBE_SHIFT])
            wanted = theirs[places]
            found[places[mine[np.minimum(np.searchsorted(mine, wanted), len(mine) - 1)] == wanted]] = True
        return found


def runs_of(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(order, bounds): places of the keys that occur more than once, equal ones together, and the bounds of these runs."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    begins = (
        np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
        if len(keys)
        else np.zeros(0, np.int64)
    )
    sizes = np.diff(np.append(begins, len(keys)))
    kept = np.repeat(sizes > 1, sizes)
    return order[kept], np.concatenate([[0], np.cumsum(sizes[sizes > 1])])


def star_pairs(members: np.ndarray, bounds: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The first of each run with each other one: joins large runs of like programs at little cost."""
    sizes = np.diff(bounds)
    first = np.repeat(members[bounds[:-1]], sizes)
    yield first[first != members], members[first != members]


def all_pairs(members: np.ndarray, bounds: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """All pairs within each run, at most about PAIRS_AT_ONCE at a time."""
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


def agreement(minhash: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Share of permutations in which two signatures agree, an estimate of their Jaccard similarity; float64 [pairs]."""
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
    places = np.repeat(starts[both] - (np.cumsum(count) - count), count) + np.arange(count.sum())
    # Both halves are in order: the stable sort merges them, which takes a fifth of the time of sorting anew.
    keys = np.sort(
        np.repeat(pair, count).astype(np.uint64) << np.uint64(32) | programs.shingles[places], kind="stable"
    )
    twice = keys[1:][keys[1:] == keys[:-1]]
    return np.bincount((twice >> np.uint64(32)).astype(np.int64), minlength=len(left))


def joined(labels: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Labels after joining the clusters of each pair; a label is the smallest index of its cluster."""
    parent = labels.copy()
    while True:
        a, b = parent[left], parent[right]
        apart = a != b
        if not apart.any():
            return parent
        left, right, a, b = left[apart], right[apart], a[apart], b[apart]
        # Hook the larger root to the smaller one, then let every program point at its root again.
        np.minimum.at(parent, np.maximum(a, b), np.minimum(a, b))
        while (parent[parent] != parent).any():
            parent = parent[parent]
