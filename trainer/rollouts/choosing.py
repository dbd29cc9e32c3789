"""Which problems a rollout samples: a pure function of the seed, the round, and what the store counts at a
watermark.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import polars as pl

from pipeline.store import Store, connect, predicate, query
from trainer.data import generator

Choice = Literal["uniform", "difficulty", "uncertainty", "unsolved"]
WATERMARK_TABLES = ("problems", "trajectories", "verdicts")

# trials, successes: of the reference at temperature 1, what Q0 rests on; attempts, solved: of every policy at
# any setting.
COUNTS = """
with tried as (
    select problem_id,
        count(*) filter (policy_id = $reference and temperature = 1 and top_p = 1) as trials,
        count(*) filter (policy_id = $reference and temperature = 1 and top_p = 1 and verdict = 'accepted') as successes,
        count(*) filter (origin <> 'human') as attempts,
        count(*) filter (origin <> 'human' and verdict = 'accepted') as solved
    from judged where reward_binary is not null group by problem_id
)
select p.problem_id, p.statement, p.split, p.difficulty,
    coalesce(trials, 0) as trials, coalesce(successes, 0) as successes,
    coalesce(attempts, 0) as attempts, coalesce(solved, 0) as solved
from (select * from problems where {where}) p left join tried using (problem_id)
order by p.problem_id
"""


def counted(store: Store, where: str, reference: str, watermark: dict[str, int]) -> pl.DataFrame:
    """The problems that `where` (SQL on `problems`) selects, and what is known of each at a watermark; by
    problem_id.

    Raises ValueError if there is none.
    """
    with connect(store, watermark) as connection:
        problems = query(
            connection, COUNTS.format(where=predicate(where, name="problems")), {"reference": reference}
        )
    if problems.is_empty():
        raise ValueError(f"no problem fits: {where}")
    return problems


def choose(
    problems: pl.DataFrame,
    choice: Choice,
    count: int,
    *,
    seed: int,
    round_number: int,
    worker: int = 0,
    workers: int = 1,
) -> pl.DataFrame:
    """`count` of the problems (fewer if there are not as many), each once; workers of one round choose apart
    or at random.

    * uniform: in turn through one shuffle after another;
    * difficulty: as many of each level that the sources name, or of each quarter by measured success where
      they name none;
    * uncertainty: at random, by the variance of the reference's success rate, from which Q0 is computed;
    * unsolved: those no policy has solved first, the least tried of them before the others.
    """
    count, turn = min(count, problems.height), round_number * workers + worker
    if choice == "uniform":
        return problems[in_turn(problems.height, count, turn, seed, "choice")]
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


def in_turn(size: int, count: int, turn: int, seed: int, *names: object) -> list[int]:
    """Places of a turn, when `size` things are taken `count` at a time through one shuffle after another.

    Each once: a turn that begins in one shuffle and ends in the next may have fewer.
    """
    places = range(turn * count, (turn + 1) * count)
    orders = {
        epoch: generator(seed, *names, epoch).permutation(size)
        for epoch in {place // size for place in places}
    }
    return list(dict.fromkeys(int(orders[place // size][place % size]) for place in places))


def success_variance(problems: pl.DataFrame) -> np.ndarray:
    """Variance of each problem's success rate under the reference, Beta(successes + 1/2, failures + 1/2):
    [N].
    """
    a = problems["successes"].to_numpy() + 0.5
    b = (problems["trials"] - problems["successes"]).to_numpy() + 0.5
    return a * b / ((a + b) ** 2 * (a + b + 1))


def levels(problems: pl.DataFrame) -> pl.Series:
    """The difficulty of each problem as its source has it; where all have the same, quarters by the
    success measured so far.
    """
    named = problems["difficulty"].fill_null("none")
    if named.n_unique() > 1:
        return named
    rate = (problems["solved"] + 0.5) / (problems["attempts"] + 1)
    return pl.Series(((rate.rank("ordinal") - 1) * 4 // problems.height).cast(pl.String))
