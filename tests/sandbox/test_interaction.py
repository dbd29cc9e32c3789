"""Interactive runs: one and the same verdict, whoever is faster."""

from __future__ import annotations

import pytest

from tests.sandbox.interaction_cases import CASES, verdict_flips


@pytest.mark.slow
def test_one_verdict_in_repeated_runs(pool):
    assert verdict_flips(pool, 4) == {}


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case in CASES if case != "reads for ever"])
def test_one_verdict_in_100_runs(pool, case):
    assert verdict_flips(pool, 100, [case]) == {}
