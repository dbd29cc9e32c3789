"""Rewards: functions of a verdict, computed when rows are read and never stored.

A reward is an SQL expression over `verdict`, `passed` and `total`. DuckDB runs it as the macro
`reward_<name>(verdict, passed, total)`, polars as a parsed expression, so there is one definition. A verdict
that says nothing about the program (`NOT_A_REWARD`: judge error, or language not available) gives null.

`binary` and `fraction` are at most 0, as required by the cross-entropy form of Soft Policy Optimization
(arXiv:2503.05453), where exp(r / beta) is the probability that the outcome is optimal. `signed` and `success`
are for methods with another scale.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from pipeline.later import later
from pipeline.store.vocabularies import NOT_A_REWARD, VERDICTS

if TYPE_CHECKING:
    import polars as pl
else:
    pl = later("polars")

DEFAULT = "binary"


class RewardError(ValueError):
    """No reward has that name, or the name is in use; the message lists the rewards."""


@dataclass(frozen=True)
class Reward:
    """A reward with its range.

    `judged_sql`: SQL over verdict, passed and total, for verdicts with a reward. `needs_all_tests`: it has no
    meaning for a program that was judged up to its first failure, because it would depend on their order.
    """

    name: str
    description: str
    lowest: float
    highest: float
    judged_sql: str
    needs_all_tests: bool = False

    @property
    def sql(self) -> str:
        """SQL expression (DOUBLE or NULL) over columns or macro parameters named verdict, passed, total."""
        excluded = ", ".join(f"'{verdict}'" for verdict in NOT_A_REWARD)
        return (
            f"CASE WHEN verdict IN ({excluded}) THEN NULL WHEN verdict IS NULL THEN NULL"
            f" ELSE {self.judged_sql} END"
        )

    @cached_property
    def expression(self) -> pl.Expr:
        """The same as a polars expression (Float64) over columns verdict, passed and total."""
        return pl.sql_expr(self.sql).cast(pl.Float64).alias("reward")

    def value(self, verdict: str, passed: int, total: int) -> float | None:
        """Reward of one verdict; None if it has none. Raises RewardError for an unknown verdict."""
        if verdict not in VERDICTS:
            raise RewardError(f"no verdict {verdict!r}; there are: {', '.join(VERDICTS)}")
        row = pl.DataFrame({"verdict": [verdict], "passed": [passed], "total": [total]})
        return row.select(self.expression).item()


REWARDS: dict[str, Reward] = {}


def register(reward: Reward) -> Reward:
    """Register a reward by its name, for corpora and as SQL macro `reward_<name>`.

    Raises RewardError if another reward has the name, or if the name is not a word of lower-case letters,
    digits and underscores.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", reward.name):
        raise RewardError(f"reward {reward.name!r}: use only lower-case letters, digits and underscores")
    if REWARDS.get(reward.name, reward) != reward:
        raise RewardError(f"reward {reward.name} exists already; choose another name")
    REWARDS[reward.name] = reward
    return reward


def reward(name: str = DEFAULT) -> Reward:
    """The reward with that name. Raises RewardError with the known names and the nearest one."""
    try:
        return REWARDS[name]
    except KeyError:
        near = difflib.get_close_matches(name, REWARDS, n=1)
        meant = f"; did you mean {near[0]}?" if near else ""
        raise RewardError(f"no reward {name}; there are: {', '.join(REWARDS)}{meant}") from None


def macro(name: str) -> str:
    """Name of the SQL macro of a reward. Raises RewardError if there is no such reward."""
    return f"reward_{reward(name).name}"


def macros() -> list[str]:
    """DuckDB statements that define `reward_<name>(verdict, passed, total)` for every registered reward."""
    return [
        f"CREATE OR REPLACE MACRO reward_{known.name}(verdict, passed, total) AS CAST({known.sql} AS DOUBLE)"
        for known in REWARDS.values()
    ]


ACCEPTED = "verdict = 'accepted'"
register(Reward("binary", "accepted 0, else -1", -1.0, 0.0, f"CASE WHEN {ACCEPTED} THEN 0.0 ELSE -1.0 END"))
register(
    Reward(
        "fraction",
        "share of tests passed, minus 1; accepted 0",
        -1.0,
        0.0,
        f"CASE WHEN {ACCEPTED} THEN 0.0 WHEN total = 0 THEN -1.0"
        " ELSE CAST(passed AS DOUBLE) / total - 1.0 END",
        needs_all_tests=True,
    )
)
register(Reward("signed", "accepted 1, else -1", -1.0, 1.0, f"CASE WHEN {ACCEPTED} THEN 1.0 ELSE -1.0 END"))
register(Reward("success", "accepted 1, else 0", 0.0, 1.0, f"CASE WHEN {ACCEPTED} THEN 1.0 ELSE 0.0 END"))
