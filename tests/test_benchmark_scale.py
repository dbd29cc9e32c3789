"""The benchmark of scale on a small store: each look handles what its name says."""

from __future__ import annotations

import pytest

from pipeline.store import Store
from tests.benchmarks.scale import BenchmarkError, Look, Results, make_problems, measure_size
from tests.benchmarks.scale_rows import grow

ROWS = 2_000


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scale")
    make_problems(folder)
    grow(Store(folder / "store"), ROWS, lambda line: None)
    return folder


@pytest.mark.slow
def test_each_look_handles_its_own_rows_and_no_others(store):
    results = Results(store / "results.json", round_problems=1)
    measure_size(results, store, ROWS, ("ledger",))
    outcomes = {name: figures["outcome"] for name, figures in results.sizes[str(ROWS)].items()}
    expected = {"label_idle": 0, "grader": 20, "ingest": 20, "deduplicate": 20, "advance": 20}
    assert {name: outcomes[name] for name in expected} == expected
    assert outcomes["ledger"] == {"lost": 0, "doubled": 0}
    again = Results(store / "results.json", round_problems=1)
    measure_size(again, store, ROWS, ("ledger",))
    assert again.sizes == results.sizes


def test_a_look_at_other_rows_than_the_new_ones_is_an_error(store):
    results = Results(store / "other.json", round_problems=1)
    with pytest.raises(BenchmarkError, match="ingest: 20 rows instead of 0"):
        results.measure(ROWS, Look("ingest", "ingest", handles="none"), store)
