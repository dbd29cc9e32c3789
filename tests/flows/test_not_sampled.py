"""Rollouts, searches and evaluations leave out the problems that are not to be sampled."""

from __future__ import annotations

import polars as pl

from flows.work.rollouts import select_problems
from pipeline.ingest.ingestion import ingest
from pipeline.store.store import Store
from trainer.rollouts import WATERMARK_TABLES, problem_counts


def test_problems_without_a_statement_are_left_out(tmp_path):
    for name, files in {"pdf": {}, "text": {"problem.txt": "Print it twice."}}.items():
        root = tmp_path / "contest" / name
        tests = {"problem.yaml": "name: A\n", "data/secret/1.in": "4\n", "data/secret/1.ans": "8\n"}
        for path, content in (tests | files).items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(content)
    store = Store(tmp_path / "store")
    ingest(store, "kattis", str(tmp_path / "contest"))
    assert store.read("problems").height == 2
    chosen = select_problems(str(store.location), "true")
    named = select_problems(str(store.location), "true", ["contest/pdf", "contest/text"])
    counted = problem_counts(store, "true", "reference", store.pins(list(WATERMARK_TABLES)))
    for frame in (chosen, named, counted):
        assert isinstance(frame, pl.DataFrame) and frame["problem_id"].to_list() == ["contest/text"]
