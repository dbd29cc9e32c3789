"""Rewards: functions of a verdict, applied when rows are read and never stored in one.

One definition serves both engines: a reward is an SQL expression over `verdict`, `passed` and `total`, which
DuckDB runs as the macro `reward_<name>(verdict, passed, total)` and polars as the expression it parses to. A
verdict that says nothing about the program (`NOT_A_REWARD`: the judge failed, or lacks the language) gives
null, never a number.

`binary` and `fraction` are at most 0, as the cross-entropy form of Soft Policy Optimization asks (arXiv
2503.05453: exp(r / beta) is then the probability that the outcome is optimal); `signed` and `success` serve
methods that want another scale.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from functools import cached_property

import polars as pl

from pipeline.store.contracts import NOT_A_REWARD, VERDICTS

DEFAULT = "binary"


class RewardError(ValueError):
    """No reward of that name, or one that is taken; the message says which there are."""


@dataclass(frozen=True)
class Reward:
    """A reward by name, with its range; `scored` is SQL over verdict, passed and total for a verdict that
    counts.
    """

    name: str
    description: str
    lowest: float
    highest: float
    scored: str

    @property
    def sql(self) -> str:
        """SQL expression (DOUBLE or NULL) over columns or macro parameters named verdict, passed, total."""
        kept_out = ", ".join(f"'{verdict}'" for verdict in NOT_A_REWARD)
        return f"CASE WHEN verdict IN ({kept_out}) THEN NULL WHEN verdict IS NULL THEN NULL ELSE {self.scored} END"

    @cached_property
    def expression(self) -> pl.Expr:
        """The same as a polars expression (Float64) over columns verdict, passed and total."""
        return pl.sql_expr(self.sql).cast(pl.Float64).alias("reward")

    def of(self, verdict: str, passed: int, total: int) -> float | None:
        """Reward of one verdict; None where there is none. Raises RewardError for a verdict the contracts
        don't know.
        """
        if verdict not in VERDICTS:
            raise RewardError(f"no verdict {verdict!r}; there are: {', '.join(VERDICTS)}")
        row = pl.DataFrame({"verdict": [verdict], "passed": [passed], "total": [total]})
        return row.select(self.expression).item()


REWARDS: dict[str, Reward] = {}


def register(reward: Reward) -> Reward:
    """Make a reward known by its name, for corpora and for SQL, where it is part of the name of a macro.

    Raises RewardError if another one has the name, or if it is not a word of small letters, digits and
    underscores.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", reward.name):
        raise RewardError(f"reward {reward.name!r}: a name is small letters, digits and underscores")
    if REWARDS.get(reward.name, reward) != reward:
        raise RewardError(f"reward {reward.name} is defined already; choose another name")
    REWARDS[reward.name] = reward
    return reward


def reward(name: str = DEFAULT) -> Reward:
    """The reward of that name; RewardError says which was meant, or names those there are."""
    try:
        return REWARDS[name]
    except KeyError:
        near = difflib.get_close_matches(name, REWARDS, n=1)
        meant = f"; did you mean {near[0]}?" if near else ""
        raise RewardError(f"no reward {name}; there are: {', '.join(REWARDS)}{meant}") from None


def macro(name: str) -> str:
    """The macro that gives the reward of that name, as SQL. Raises RewardError where there is none."""
    return f"reward_{reward(name).name}"


def with_reward(frame: pl.DataFrame, name: str = DEFAULT) -> pl.DataFrame:
    """`frame` (columns verdict, passed, total) with a column `reward`."""
    return frame.with_columns(reward(name).expression)


def macros() -> list[str]:
    """DuckDB statements that make every registered reward a macro `reward_<name>(verdict, passed, total)`."""
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
        # Judging may stop at the first failure: `passed` then counts the tests before it, and the share is a
        # lower bound.
        f"CASE WHEN {ACCEPTED} THEN 0.0 WHEN total = 0 THEN -1.0 ELSE CAST(passed AS DOUBLE) / total - 1.0 END",
    )
)
register(Reward("signed", "accepted 1, else -1", -1.0, 1.0, f"CASE WHEN {ACCEPTED} THEN 1.0 ELSE -1.0 END"))
register(Reward("success", "accepted 1, else 0", 0.0, 1.0, f"CASE WHEN {ACCEPTED} THEN 1.0 ELSE 0.0 END"))
