"""Checks a store after crashes: no row is duplicated or lost, and no judge error counts as a reward."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pipeline.later import later
from pipeline.store.rewards import REWARDS, macro
from pipeline.store.sql import connect, query
from pipeline.store.store import Store
from pipeline.store.tables import TABLES
from pipeline.store.vocabularies import NOT_A_REWARD

if TYPE_CHECKING:
    import duckdb
    import polars as pl
else:
    pl = later("polars")

ROUND = re.compile(r"(?P<worker>.+)/round-(?P<number>\d+)")
# Tables whose rows refer to a trajectory.
ABOUT_TRAJECTORIES = ("verdicts", "reference_scores", "program_signatures")


@dataclass
class Ledger:
    """Counts of faulty rows; `details` has the count per place."""

    doubled: int = 0  # rows with the key of another row in their table
    lost: int = 0  # rows that a commit or a batch counts and the table does not have
    judge_errors_as_rewards: int = 0
    details: dict[str, int] = field(default_factory=dict)

    def add(self, kind: str, where: str, count: int) -> None:
        if count:
            setattr(self, kind, getattr(self, kind) + count)
            self.details[f"{kind}: {where}"] = count


def check_ledger(store: Store, pins: Mapping[str, int] | None = None) -> Ledger:
    """Check keys, rows of batches and rollout rounds, references to trajectories, and rewards of errors;
    at the current versions of the tables, or at those in `pins`.
    """
    with connect(store, pins) as connection:
        return ledger_of(store, connection)


def ledger_of(store: Store, connection: duckdb.DuckDBPyConnection) -> Ledger:
    """The same on an open connection."""
    faults, no_reward = Ledger(), {"no_reward": [*NOT_A_REWARD]}
    for name, table in TABLES.items():
        key = ", ".join(table.key)
        counts = query(connection, f"select count(*) - count(distinct ({key})) as twice from {name}")
        faults.add("doubled", name, counts["twice"][0])
    for name in ABOUT_TRAJECTORIES:
        orphans = query(
            connection, f"select count(*) as n from {name} anti join trajectories using (trajectory_id)"
        )
        faults.add("lost", f"trajectories of {name}", orphans["n"][0])
    for reward in REWARDS:
        wrong = query(
            connection,
            "select count(*) as n from verdicts where list_contains($no_reward, verdict)"
            f" and {macro(reward)}(verdict, passed, total) is not null",
            no_reward,
        )
        faults.add("judge_errors_as_rewards", f"reward {reward}", wrong["n"][0])
    judged = query(
        connection,
        "select count(*) as n from judged"
        " where list_contains($no_reward, verdict) and reward_binary is not null",
        no_reward,
    )
    faults.add("judge_errors_as_rewards", "judged", judged["n"][0])
    for batch, missing in query(connection, MISSING_OF_BATCHES).iter_rows():
        faults.add("lost", f"batch {batch}", missing)
    rollouts = query(connection, ROLLOUT_SIZES)
    for where, missing in missing_of_rounds(store, rollouts):
        faults.add("lost", where, missing)
    return faults


# A batch has the number of accepted rows; problems and trajectories have its id.
MISSING_OF_BATCHES = """
with present as (
    select batch_id, count(*) as rows
    from (select batch_id from problems union all select batch_id from trajectories) group by all
)
select batch_id, accepted - coalesce(rows, 0) as missing
from batches left join present using (batch_id) where accepted > coalesce(rows, 0)
"""

# Samples of a problem are numbered from 0, so a gap is a lost sample.
ROLLOUT_SIZES = """
select batch_id, sum(missing)::bigint as missing, sum(rows)::bigint as rows
from (
    select
        batch_id, problem_id, count(*) as rows,
        max(sample_index) + 1 - count(distinct sample_index) as missing
    from trajectories where starts_with(source_file, 'rollout/') and sample_index is not null group by all
)
group by all
"""


def missing_of_rounds(store: Store, rollouts: pl.DataFrame) -> list[tuple[str, int]]:
    """(where, count) of lost samples per rollout, and of committed rounds without rows per worker."""
    problems = [(f"rollout {batch}", missing) for batch, missing, _ in rollouts.iter_rows() if missing]
    rounds: dict[str, set[int]] = {}
    for batch in rollouts["batch_id"]:
        if match := ROUND.fullmatch(batch):
            rounds.setdefault(match["worker"], set()).add(int(match["number"]))
    for worker, present in sorted(rounds.items()):
        committed = store.last_sequence("trajectories", f"rollout/{worker}") + 1
        missing = set(range(committed)) - present
        problems.append((f"rounds of {worker}", len(missing)))
    return problems
