"""SQL that selects what a source may draw, and the rewards of the reference policy's samples.

Values reach SQL as parameters, reward names are checked, and a source's `where`, which the user wrote, is one
condition.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from pipeline.store import Store, connect, macro, query
from trainer.data.mixture import Mixture, Source


@dataclass(frozen=True)
class ReferenceRewards:
    """Rewards of the reference policy's samples per problem, raw: any estimate can be made of them."""

    indices: dict[str, int]  # problem_id -> index in `rewards`
    rewards: list[np.ndarray]  # [K] fp64, ascending


def select_rows(
    connection: Any, source: Source, reward_name: str, reference: str | None, among: pl.Series | None = None
) -> pl.DataFrame:
    """The candidates of a source, oldest policy step first, each trajectory once; `group_key` is what the
    programs of a group have in common where the source takes one of each.

    With a reference's fingerprint only rows scored under it; without one, the log-probability is null and
    only programs in the language that the policy writes are taken. `among`: of these trajectories only.
    """
    own = {"reference": reference, "corpus": source.corpus}
    parameters = source.parameters | {name: value for name, value in own.items() if value is not None}
    if among is not None:
        connection.register("_among", pl.DataFrame({"trajectory_id": among}).to_arrow())
    sql = _rows_sql(source, reward_name, reference is not None, among is not None)
    return query(connection, sql, parameters).unique("trajectory_id", keep="first", maintain_order=True)


def may_be_scored(store: Store, mixture: Mixture) -> bool:
    """Whether a source may draw rows that are stored already, if they were scored."""
    if any(source.corpus for source in mixture.source):
        return True
    with connect(store) as connection:
        return any(
            select_rows(connection, source, mixture.reward_of(source), None).height
            for source in mixture.source
        )


def select_reference_rewards(
    connection: Any, reference_policy: str, reward_name: str
) -> tuple[ReferenceRewards, pl.Series]:
    """Rewards of each problem's judged samples of the reference policy at temperature 1 and top_p 1, and
    whether all tests of each of these samples were run.
    """
    value = f"{macro(reward_name)}(verdict, passed, total)"
    rows = query(
        connection,
        f"""
        select problem_id, list({value} order by {value}) as rewards, list(all_tests_run) as ran from judged
        where policy_id = $policy and temperature = 1 and top_p = 1 and {value} is not null
        group by problem_id order by problem_id
        """,
        {"policy": reference_policy},
    )
    samples = rows["rewards"].to_list() if rows.height else []
    problems = rows["problem_id"].to_list() if rows.height else []
    indices = {problem: index for index, problem in enumerate(problems)}
    ran = rows["ran"].explode() if rows.height else pl.Series([], dtype=pl.Boolean)
    return ReferenceRewards(indices, [np.array(values, dtype=np.float64) for values in samples]), ran


def _rows_sql(source: Source, reward_name: str, scored: bool, among: bool) -> str:
    value, unique = f"{macro(reward_name)}(j.verdict, j.passed, j.total)", _UNIQUE_BY[source.unique]
    scores = "join reference_scores s on s.trajectory_id = j.trajectory_id and s.reference = $reference"
    corpus = "and j.trajectory_id in (select unnest(rows) from corpora where corpus_id = $corpus)"
    order = ["step", "j.trajectory_id", *(["s.scored_at", "s.logprob_sum"] if scored else []), *unique.order]
    return f"""
        select j.trajectory_id, j.problem_id,
               {"s.logprob_sum" if scored else "null::double"} as reference_logprob,
               j.behaviour_logprob, j.verdict, {value} as reward,
               coalesce(j.policy_step, 0)::bigint as step,
               j.policy_step as own_step, j.created_at, j.policy_id, j.run_id,
               j.all_tests_run, {unique.key} as group_key
        from judged j {scores if scored else ""}
        {unique.join}
        where j.split = 'train' and {value} is not null and {source.condition()}
        {corpus if source.corpus else ""} {"" if scored else "and j.language = 'python3'"}
        {"and j.trajectory_id in (select trajectory_id from _among)" if among else ""}
        order by {", ".join(order)}
    """


@dataclass(frozen=True)
class _Unique:
    """SQL of what programs of a group have in common; a row that deduplication has not seen is a group of its
    own. Groups are also apart by verdict, see `pipeline/store/unique.py`, which has the same definition.
    """

    join: str = ""
    key: str = "null::varchar"
    order: tuple[str, ...] = ()


_UNIQUE_BY = {
    "all": _Unique(),
    "token": _Unique(
        "left join program_signatures g on g.trajectory_id = j.trajectory_id",
        "coalesce(g.token_hash, j.trajectory_id)",
        ("g.algorithm desc",),
    ),
    "near": _Unique(
        "left join clusters c on c.trajectory_id = j.trajectory_id", "coalesce(c.cluster_id, j.trajectory_id)"
    ),
}
