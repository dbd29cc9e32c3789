"""Training data of a run must not leak its evaluation set (`pipeline/dedup/decontamination.py` defines
leaks).
"""

from __future__ import annotations

from collections.abc import Collection

import polars as pl

from pipeline.corpora import load
from pipeline.dedup import EVALUATION, refuse_leaks
from pipeline.store import Store, connect, predicate, query
from trainer.data import Mixture


def refuse_leaking(
    store: Store,
    mixture: Mixture,
    evaluation: str | None,
    allowed: Collection[str] = (),
    sampled_where: str | None = None,
) -> None:
    """Raise LeakError if the rows that a mixture draws from, in the store as it is now, or the problems that
    the run samples, leak its evaluation set by evidence that is not allowed.

    Without an evaluation set it is `split = 'test'`, if there are such problems, and shared words are
    allowed.
    """
    sampled: Collection[str] = ()
    with connect(store) as connection:
        if evaluation is None:
            evaluation, allowed = EVALUATION, {*allowed, "ngrams"}
            there = f"select 1 from problems where {predicate(evaluation, name='evaluation')} limit 1"
            if not query(connection, there).height:
                return
        if sampled_where is not None:
            chosen = predicate(sampled_where, name="online.problems_where")
            problems = query(connection, f"select distinct problem_id from problems where {chosen}")
            sampled = problems["problem_id"].to_list()
        # A corpus is published to be learned from, so all of it counts, whatever a source takes of it.
        sources = [
            query(
                connection,
                "select distinct j.trajectory_id from judged j"
                f" where j.split = 'train' and {source.condition()}",
                source.parameters,
            )
            for source in mixture.source
            if not source.corpus
        ]
    rows = [frame["trajectory_id"] for frame in sources]
    rows += [
        load(store, corpus).rows
        for corpus in sorted({source.corpus for source in mixture.source if source.corpus})
    ]
    refuse_leaks(
        store, pl.concat([part.alias("trajectory_id") for part in rows]), evaluation, allowed, sampled
    )
