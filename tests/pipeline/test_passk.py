"""pass@k of one problem against exact binomials, against all subsets, and in SQL."""

import itertools
import math
from fractions import Fraction

import duckdb
import numpy as np
import pytest

from pipeline.store import passk


def exact(n, c, k):
    return 1 - Fraction(math.comb(n - c, k), math.comb(n, k))


def test_worked_by_hand():
    # Of 4 samples 1 is right; of the 6 pairs 3 hold it.
    assert passk.pass_at_k(4, 1, 2) == pytest.approx(0.5)
    assert passk.pass_at_k(20, 3, 1) == pytest.approx(0.15)
    assert passk.pass_at_k(5, 0, 5) == 0.0 and not np.signbit(passk.pass_at_k(5, 0, 5))
    assert passk.pass_at_k(5, 1, 5) == 1.0


@pytest.mark.parametrize("k", [1, 2, 7, 10])
def test_equals_exact_binomials_everywhere(k):
    counts = [(n, c) for n in range(k, 30) for c in range(n + 1)]
    got = passk.pass_at_k([n for n, _ in counts], [c for _, c in counts], k)
    assert got == pytest.approx([float(exact(n, c, k)) for n, c in counts], rel=1e-13, abs=0)


def test_small_and_large_counts_keep_their_digits():
    # c = 1: pass@k is k / n exactly, which 1 - product loses to rounding.
    assert passk.pass_at_k(10**12, 1, 10) == pytest.approx(1e-11, rel=1e-12)
    assert passk.pass_at_k(100_000, 500, 1000) == pytest.approx(float(exact(100_000, 500, 1000)), rel=1e-12)


def test_equals_the_mean_over_all_subsets():
    outcome = [1, 1, 0, 0, 0, 0, 0]
    subsets = list(itertools.combinations(outcome, 3))
    assert passk.pass_at_k(7, 2, 3) == pytest.approx(np.mean([any(s) for s in subsets]))


def test_unbiased_where_the_plug_in_is_not():
    # Success rate 0.1, 20 samples, k = 10: truth 1 - 0.9^10. The mean over the binomial distribution of
    # counts is exact.
    weights = [math.comb(20, c) * 0.1**c * 0.9 ** (20 - c) for c in range(21)]
    estimates = passk.pass_at_k(np.full(21, 20), np.arange(21), 10)
    assert np.dot(weights, estimates) == pytest.approx(1 - 0.9**10, abs=1e-12)
    assert np.dot(weights, 1 - (1 - np.arange(21) / 20) ** 10) < 1 - 0.9**10 - 0.01


def test_what_has_no_estimate_is_an_error():
    with pytest.raises(ValueError, match="pass@10 needs 10 samples per problem, one has 4"):
        passk.pass_at_k([20, 4], [1, 1], 10)
    with pytest.raises(ValueError, match="k >= 1"):
        passk.pass_at_k(3, 1, 0)
    with pytest.raises(ValueError, match="0 <= correct <= samples"):
        passk.pass_at_k(3, 4, 1)
    with pytest.raises(ValueError, match="0 <= correct <= samples"):
        passk.pass_at_k(3, -1, 1)


def test_sql_gives_the_same_and_null_where_python_raises():
    connection = duckdb.connect()
    connection.execute(passk.MACRO)
    counts = [(n, c, k) for k in (1, 3, 10, 100) for n in range(k, k + 25) for c in range(n + 1)]
    connection.execute("CREATE TABLE counts (n BIGINT, c BIGINT, k INTEGER)")
    connection.execute(f"INSERT INTO counts VALUES {', '.join(map(str, counts))}")
    rows = connection.execute("SELECT pass_at(n, c, k) FROM counts ORDER BY rowid").fetchall()
    in_sql = np.array([row[0] for row in rows])
    expected = np.array([float(exact(*row)) for row in counts])
    in_python = np.array([float(passk.pass_at_k(*row)) for row in counts])
    assert np.abs(in_sql - expected).max() < 1e-12
    assert np.abs(in_sql - in_python).max() < 1e-12
    nulls = connection.execute(
        "SELECT pass_at(4, 1, 10), pass_at(4, 1, 0), pass_at(4, 5, 1), pass_at(4, NULL, 1), pass_at(0, 0, 1)"
    ).fetchall()
    assert nulls == [(None,) * 5]
