"""The ledger of a store, after any number of kills: every row is there once, and no failure of ours is a
reward.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import polars as pl

from pipeline.store.contracts import NOT_A_REWARD, TABLES
from pipeline.store.rewards import REWARDS, macro
from pipeline.store.sql import connect, query
from pipeline.store.store import Store

ROUND = re.compile(r"(?P<worker>.+)/round-(?P<number>\d+)")
# What points at a trajectory that must be there.
ABOUT_TRAJECTORIES = ("verdicts", "reference_scores", "program_signatures")


@dataclass
class Ledger:
    """Counts of rows; `details` says where for each that is not zero."""

    doubled: int = 0  # rows whose key another row of the table has
    lost: int = 0  # rows that a commit or a batch says are there, and are not
    judge_errors_as_rewards: int = 0
    details: dict[str, int] = field(default_factory=dict)

    def note(self, kind: str, where: str, count: int) -> None:
        if count:
            setattr(self, kind, getattr(self, kind) + count)
            self.details[f"{kind}: {where}"] = count


def ledger(store: Store) -> Ledger:
    """Look at keys, at batches and rounds of rollout workers against their rows, and at verdicts without a
    trajectory.
    """
    found, no_reward = Ledger(), {"no_reward": [*NOT_A_REWARD]}
    with connect(store) as connection:
        for name, table in TABLES.items():
            key = ", ".join(table.key)
            counts = query(connection, f"select count(*) - count(distinct ({key})) as twice from {name}")
            found.note("doubled", name, counts["twice"][0])
        for name in ABOUT_TRAJECTORIES:
            orphans = query(
                connection, f"select count(*) as n from {name} anti join trajectories using (trajectory_id)"
            )
            found.note("lost", f"trajectories of {name}", orphans["n"][0])
        for reward in REWARDS:
            wrong = query(
                connection,
                "select count(*) as n from verdicts where list_contains($no_reward, verdict)"
                f" and {macro(reward)}(verdict, passed, total) is not null",
                no_reward,
            )
            found.note("judge_errors_as_rewards", f"reward {reward}", wrong["n"][0])
        judged = query(
            connection,
            "select count(*) as n from judged where list_contains($no_reward, verdict) and reward_binary is not null",
            no_reward,
        )
        found.note("judge_errors_as_rewards", "judged", judged["n"][0])
        for batch, missing in query(connection, MISSING_OF_BATCHES).iter_rows():
            found.note("lost", f"batch {batch}", missing)
        rollouts = query(connection, ROLLOUT_SIZES)
    for where, missing in missing_of_rounds(store, rollouts):
        found.note("lost", where, missing)
    return found


# A batch counts the rows it brought; problems and trajectories bear its id.
MISSING_OF_BATCHES = """
with there as (
    select batch_id, count(*) as rows
    from (select batch_id from problems union all select batch_id from trajectories) group by all
)
select batch_id, accepted - coalesce(rows, 0) as missing
from batches left join there using (batch_id) where accepted > coalesce(rows, 0)
"""

# Samples of a problem are numbered from 0: a gap is a sample that is gone.
ROLLOUT_SIZES = """
select batch_id, sum(missing)::bigint as missing, sum(rows)::bigint as rows
from (
    select batch_id, problem_id, count(*) as rows, max(sample_index) + 1 - count(distinct sample_index) as missing
    from trajectories where starts_with(source_file, 'rollout/') and sample_index is not null group by all
)
group by all
"""


def missing_of_rounds(store: Store, rollouts: pl.DataFrame) -> list[tuple[str, int]]:
    """Samples that are gone from a rollout, and rounds that a worker has committed and that have no row."""
    found = [(f"rollout {batch}", missing) for batch, missing, _ in rollouts.iter_rows() if missing]
    rounds: dict[str, set[int]] = {}
    for batch in rollouts["batch_id"]:
        if match := ROUND.fullmatch(batch):
            rounds.setdefault(match["worker"], set()).add(int(match["number"]))
    for worker, there in sorted(rounds.items()):
        committed = store.last_sequence("trajectories", f"rollout/{worker}") + 1
        gone = set(range(committed)) - there
        found.append((f"rounds of {worker}", len(gone)))
    return found
