"""Which problems a rollout samples: a pure function of the seed, the round, and what the store counts at a
watermark.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import polars as pl

from pipeline.store import MAY_BE_SAMPLED, Store, connect, predicate, query, report_not_sampled
from trainer.data import generator

Choice = Literal["uniform", "difficulty", "uncertainty", "unsolved"]
WATERMARK_TABLES = ("problems", "trajectories", "verdicts")

# trials, successes: of the reference at temperature 1, from which Q0 is computed; attempts, solved: of all
# policies at any settings.
COUNTS = """
with tried as (
    select problem_id,
        count(*) filter (policy_id = $reference and temperature = 1 and top_p = 1) as trials,
        count(*) filter (
            policy_id = $reference and temperature = 1 and top_p = 1 and verdict = 'accepted'
        ) as successes,
        count(*) filter (origin <> 'human') as attempts,
        count(*) filter (origin <> 'human' and verdict = 'accepted') as solved
    from judged where reward_binary is not null group by problem_id
)
select p.problem_id, p.statement, p.split, p.difficulty,
    coalesce(trials, 0) as trials, coalesce(successes, 0) as successes,
    coalesce(attempts, 0) as attempts, coalesce(solved, 0) as solved
from (select * from problems where {where} and {may_be_sampled}) p left join tried using (problem_id)
order by p.problem_id
"""


def problem_counts(store: Store, where: str, reference: str, watermark: dict[str, int]) -> pl.DataFrame:
    """The problems that `where` (SQL on `problems`) selects and that may be sampled, with their counts at a
    watermark, sorted by problem_id.

    Raises ValueError if there is none.
    """
    with connect(store, watermark) as connection:
        condition = predicate(where, name="problems")
        report_not_sampled(connection, condition)
        counts = COUNTS.format(where=condition, may_be_sampled=MAY_BE_SAMPLED)
        problems = query(connection, counts, {"reference": reference})
    if problems.is_empty():
        raise ValueError(f"no problem fits: {where}")
    return problems


def choose_problems(
    problems: pl.DataFrame,
    choice: Choice,
    count: int,
    *,
    seed: int,
    round_number: int,
    worker: int = 0,
    workers: int = 1,
) -> pl.DataFrame:
    """`count` of the problems (fewer if there are fewer), each once. Workers of one round choose different
    ones, or at random.

    * uniform: passes over a shuffled order;
    * difficulty: the same number per level that the sources name, or per quarter by measured success if they
      name none;
    * uncertainty: at random, weighted by the variance of the reference's success rate, from which Q0 is
      computed;
    * unsolved: those that no policy has solved first, those with the fewest attempts before the others.
    """
    count, turn = min(count, problems.height), round_number * workers + worker
    if choice == "uniform":
        return problems[shuffled_indices(problems.height, count, turn, seed, "choice")]
    draws = generator(seed, "choice", choice, turn)
    if choice == "uncertainty":
        # Efraimidis and Spirakis 2006: the largest log(u) / weight are a weighted sample without replacement.
        keys = np.log(draws.random(problems.height)) / success_variance(problems)
        return problems[np.argsort(-keys, kind="stable")[:count]]
    shuffled = problems[draws.permutation(problems.height)]
    if choice == "unsolved":
        return shuffled.sort(pl.col("solved") > 0, "attempts", maintain_order=True).head(count)
    level = levels(shuffled)
    place = (
        shuffled.select(pl.lit(level).alias("level")).select(pl.int_range(pl.len()).over("level")).to_series()
    )
    # The first of each level, then the second of each; which level comes first changes from round to round.
    names = sorted(level.unique())
    order = {name: (number + turn) % len(names) for number, name in enumerate(names)}
    rank = pl.Series([order[name] for name in level])
    return (
        shuffled.with_columns(_place=place, _rank=rank)
        .sort("_place", "_rank")
        .head(count)
        .drop("_place", "_rank")
    )


def shuffled_indices(size: int, count: int, turn: int, seed: int, *names: object) -> list[int]:
    """Indices of a turn, when passes over shuffled orders of `size` items give `count` items per turn.

    Each index occurs once: a turn that begins in one pass and ends in the next may have fewer.
    """
    positions = range(turn * count, (turn + 1) * count)
    orders = {
        epoch: generator(seed, *names, epoch).permutation(size)
        for epoch in {position // size for position in positions}
    }
    return list(dict.fromkeys(int(orders[position // size][position % size]) for position in positions))


def success_variance(problems: pl.DataFrame) -> np.ndarray:
    """Variance of each problem's success rate under the reference, Beta(successes + 1/2, failures + 1/2):
    [N].
    """
    a = problems["successes"].to_numpy() + 0.5
    b = (problems["trials"] - problems["successes"]).to_numpy() + 0.5
    return a * b / ((a + b) ** 2 * (a + b + 1))


def levels(problems: pl.DataFrame) -> pl.Series:
    """The difficulty of each problem as its source gives it; if all are equal, quarters by the success rate
    measured so far.
    """
    named = problems["difficulty"].fill_null("none")
    if named.n_unique() > 1:
        return named
    rate = (problems["solved"] + 0.5) / (problems["attempts"] + 1)
    return pl.Series(((rate.rank("ordinal") - 1) * 4 // problems.height).cast(pl.String))
