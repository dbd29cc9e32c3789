"""Parts of clustering by hand: bands, blocks of pairs, similarity; and small blocks against brute force."""

import itertools

import numpy as np
import polars as pl
import pytest

from pipeline.dedup import clusters
from pipeline.dedup.clusters import BandSet, Programs, components, jaccard, near_pairs, shared_bands
from pipeline.dedup.signatures import sign

LINES = [f"value_{number} = value_{number} * {number} + offset_{number}" for number in range(40)]


def programs_of(texts):
    """Programs of one group."""
    signed = sign(pl.Series(texts), "python3")
    token = np.unique(signed.token_hash, return_inverse=True)[1].astype(np.int64)
    group = np.zeros(len(texts), np.int64)
    return Programs(group, token, signed.minhash, signed.shingles, signed.shingle_offsets)


def brute_force(programs):
    """Pairs of at least 0.7, from sets."""
    sets = [
        set(programs.shingles[a:b].tolist()) for a, b in itertools.pairwise(programs.shingle_offsets.tolist())
    ]
    return {
        (left, right)
        for left, right in itertools.combinations(range(len(sets)), 2)
        if sets[left] and len(sets[left] & sets[right]) >= 0.7 * len(sets[left] | sets[right])
    }


def variants():
    """60 programs, each with a few lines of the same 40 left out."""
    generator = np.random.default_rng(4)
    return ["\n".join(np.array(LINES)[generator.random(40) > share]) for share in np.linspace(0.02, 0.3, 60)]


@pytest.mark.parametrize("pairs_at_once", [16, 64, 240, 1 << 18])
def test_the_size_of_blocks_does_not_change_the_pairs(monkeypatch, pairs_at_once):
    monkeypatch.setattr(clusters, "PAIRS_AT_ONCE", pairs_at_once)
    monkeypatch.setattr(clusters, "SHINGLES_AT_ONCE", 8 * pairs_at_once)
    programs = programs_of(variants())
    expected = brute_force(programs)
    actual = set(zip(*(side.tolist() for side in near_pairs(programs)), strict=True))
    assert actual <= expected
    assert len(actual) > 0.97 * len(expected) > 100


def test_the_first_two_programs_are_near():
    assert components(programs_of(["\n".join(LINES), "\n".join(LINES[:-1])])).tolist() == [0, 0]


def test_programs_without_shingles_are_in_no_pair():
    assert [len(side) for side in near_pairs(programs_of(["", ""]))] == [0, 0]
    assert [len(side) for side in near_pairs(programs_of([LINES[0], "import math"]))] == [0, 0]


def test_no_pairs_have_no_agreement():
    none = np.zeros(0, np.int64)
    assert clusters._agreement(np.zeros((2, 125), np.uint32), none, none).tolist() == []


def test_one_common_shingle_of_one_is_equal():
    one = Programs(
        np.zeros(2, np.int64),
        np.arange(2),
        np.zeros((2, 125), np.uint32),
        np.array([7, 7], np.uint32),
        np.array([0, 1, 2]),
    )
    assert jaccard(one, np.array([0]), np.array([1])).tolist() == [1.0]


def test_leaders_that_share_a_band_with_a_new_one():
    keys, leaders = np.array([3, 7, 7, 9, 9], np.uint64), np.array([10, 20, 30, 40, 50])
    members, bounds = shared_bands(keys, leaders, np.array([True, True, False, False, False]))
    assert (members.tolist(), bounds.tolist()) == ([20, 30], [0, 2])
    members, bounds = shared_bands(keys, leaders, np.ones(5, dtype=bool))
    assert (members.tolist(), bounds.tolist()) == ([20, 30, 40, 50], [0, 2, 4])


def test_without_a_new_leader_there_is_no_group():
    members, bounds = shared_bands(np.array([7, 7], np.uint64), np.array([1, 2]), np.zeros(2, dtype=bool))
    assert (members.tolist(), bounds.tolist()) == ([], [0])


def test_a_set_of_bands_knows_its_own_keys_and_no_others():
    own = np.full((25, 2), 5, np.uint64)
    own[:, 1] = 9
    bands = BandSet(own)
    assert bands.shared_with(own).tolist() == [True, True]
    # Equal first bits, but smaller than all keys, between two, and larger than all.
    others = np.tile(np.array([4, 6, 10], np.uint64), (25, 1))
    assert bands.shared_with(others).tolist() == [False, False, False]
    others[24, 2] = 9
    assert bands.shared_with(others).tolist() == [False, False, True]


def test_pairs_of_a_run_come_in_blocks_of_about_the_size_asked_for(monkeypatch):
    # A run of ten has 45 pairs: 9 of its first member, 8 of the second, and so on; cut at 20 and at 40.
    monkeypatch.setattr(clusters, "PAIRS_AT_ONCE", 20)
    blocks = list(clusters._all_pairs(np.arange(10), np.array([0, 10])))
    assert [len(left) for left, _ in blocks] == [24, 18, 3]
    assert {
        pair for left, right in blocks for pair in zip(left.tolist(), right.tolist(), strict=True)
    } == set(itertools.combinations(range(10), 2))
