"""Sampling: a policy in this process samples problems, and its trajectories are appended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flows.display.terminal import progress
from pipeline.store import MAY_BE_SAMPLED, Store, connect, predicate, query, report_not_sampled

if TYPE_CHECKING:
    import polars as pl

    from trainer.rollouts import Provenance, SamplingSettings


def sample_policy(
    store: str,
    folder: str,
    provenance: Provenance,
    sampling: SamplingSettings,
    problems_sql: str,
    problem_ids: list[str] | None,
    seed: int,
) -> int:
    """Sample a policy on the problems `problem_ids`, or else on those that `problems_sql` selects. Returns
    the number of samples.
    """
    from trainer.policies import load_policy
    from trainer.rollouts import rollout

    policy = load_policy(folder)
    with progress(f"sample {provenance.name}", "samples") as update:
        return rollout(
            Store(store),
            policy,
            select_problems(store, problems_sql, problem_ids),
            sampling,
            provenance,
            seed=seed,
            on_progress=update,
        )


def select_problems(store: str, sql: str, problem_ids: list[str] | None = None) -> pl.DataFrame:
    """problem_id, statement and split of the problems `problem_ids`, or else of those that `sql` selects;
    without those that may not be sampled."""
    where, values = sql, None
    if problem_ids is not None:
        where, values = "list_contains($problem_ids, problem_id)", {"problem_ids": problem_ids}
    with connect(Store(store)) as connection:
        condition = predicate(where, values, name="problems")
        report_not_sampled(connection, condition, values)
        return query(
            connection,
            "select problem_id, statement, split from problems"
            f" where {condition} and {MAY_BE_SAMPLED} order by md5(problem_id)",
            values,
        )


def count_problems(store: str, sql: str) -> int:
    """How many problems `sql` selects that may be sampled."""
    with connect(Store(store)) as connection:
        condition = predicate(sql, name="problems")
        counted = query(
            connection, f"select count(*) as n from problems where {condition} and {MAY_BE_SAMPLED}"
        )
    return int(counted["n"][0])
