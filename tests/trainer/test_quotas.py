"""Rows per source and batch, against counts made by hand and bounds that any fair cut must keep."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.data.quotas import row_quotas


def test_the_first_batches_by_hand():
    # Shares 1/2 and 1/2 of 3 rows: cumulated 1.5 and 3. Phases of steps 0 to 3: 0, 0.618, 0.236, 0.854.
    halves = np.array([1.0, 1.0])
    assert [row_quotas(halves, 3, step) for step in range(4)] == [[1, 2], [2, 1], [1, 2], [2, 1]]


def test_a_third_of_ten_rows_by_hand():
    # Cumulated 3.33, 6.67, 10. Step 1 (0.618): 3, 7, 10. Step 3 (0.854): 4, 7, 10. Step 0: 3, 6, 10.
    thirds = np.ones(3)
    assert row_quotas(thirds, 10, 0) == [3, 3, 4]
    assert row_quotas(thirds, 10, 1) == [3, 4, 3]
    assert row_quotas(thirds, 10, 3) == [4, 3, 3]


def test_only_the_ratio_of_weights_counts():
    assert row_quotas(np.array([0.2, 0.6]), 8, 5) == row_quotas(np.array([1.0, 3.0]), 8, 5)


@pytest.mark.parametrize("share", [0.1, 1 / 3, 0.47, 0.9])
def test_a_share_holds_over_many_batches(share):
    given_rows = 0
    for step in range(2000):
        given_rows += row_quotas(np.array([share, 1 - share]), 3, step)[0]
        assert abs(given_rows - 3 * share * (step + 1)) < 4


def test_rounding_gives_no_row_to_a_source_without_weight():
    tenths = np.array([*[0.1] * 10, 0.0])
    assert math.fsum(tenths) == 1.0 and np.cumsum(tenths)[-1] != 1.0
    for step in range(2000):
        quotas = row_quotas(tenths, 7, step)
        assert quotas[-1] == 0
        assert sum(quotas) == 7


@given(st.lists(st.floats(0.0, 1e6), min_size=1, max_size=8), st.integers(1, 300), st.integers(0, 10**6))
def test_quotas_fill_the_batch_and_are_shares_rounded_down_or_up(weights, rows, step):
    weights = np.array(weights)
    if not weights.sum() > 0:
        return
    quotas = row_quotas(weights, rows, step)
    assert sum(quotas) == rows
    for quota, share in zip(quotas, weights / weights.sum() * rows, strict=True):
        assert math.floor(share - 1e-5) <= quota <= math.ceil(share + 1e-5)
