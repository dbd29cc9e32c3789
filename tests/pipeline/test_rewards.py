"""Each reward against its definition worked out by hand, and DuckDB against polars."""

import itertools

import duckdb
import polars as pl
import pytest

from pipeline.store import rewards
from pipeline.store.vocabularies import NOT_A_REWARD, VERDICTS

CASES = [
    ("binary", "accepted", 4, 4, 0.0),
    ("binary", "wrong_answer", 3, 4, -1.0),
    ("binary", "compile_error", 0, 4, -1.0),
    ("fraction", "accepted", 4, 4, 0.0),
    ("fraction", "wrong_answer", 3, 4, -0.25),
    ("fraction", "time_limit_exceeded", 1, 3, 1 / 3 - 1),
    ("fraction", "compile_error", 0, 0, -1.0),
    ("fraction", "accepted", 0, 0, 0.0),
    ("signed", "accepted", 4, 4, 1.0),
    ("signed", "runtime_error", 0, 4, -1.0),
    ("success", "accepted", 4, 4, 1.0),
    ("success", "memory_limit_exceeded", 2, 4, 0.0),
]


@pytest.mark.parametrize(("name", "verdict", "passed", "total", "expected"), CASES)
def test_reward_of_one_verdict(name, verdict, passed, total, expected):
    assert rewards.reward(name).value(verdict, passed, total) == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize("name", rewards.REWARDS)
@pytest.mark.parametrize("verdict", NOT_A_REWARD)
def test_a_failure_of_the_judge_is_no_reward(name, verdict):
    assert rewards.reward(name).value(verdict, 4, 4) is None


@pytest.mark.parametrize(
    ("name", "lowest", "highest"),
    [("binary", -1.0, 0.0), ("fraction", -1.0, 0.0), ("signed", -1.0, 1.0), ("success", 0.0, 1.0)],
)
def test_the_range_of_a_reward(name, lowest, highest):
    """The ends are where the soft value puts its pseudo-samples."""
    assert (rewards.reward(name).lowest, rewards.reward(name).highest) == (lowest, highest)


def test_the_rewards_there_are_and_the_one_that_is_used():
    assert list(rewards.REWARDS) == ["binary", "fraction", "signed", "success"]
    assert rewards.reward().name == "binary"


@pytest.mark.parametrize("name", ["", "2x", "Halved", "half-of", "half of", "x)", "half\n"])
def test_a_name_is_part_of_the_name_of_a_macro(name):
    with pytest.raises(rewards.RewardError, match="use only lower-case letters, digits and underscores"):
        rewards.register(rewards.Reward(name, "of no use", -1.0, 0.0, "0.0"))


def test_a_name_that_is_nearly_right_is_suggested():
    with pytest.raises(rewards.RewardError, match=r"success; did you mean fraction\?$"):
        rewards.reward("fractoin")


def test_the_macro_of_a_reward():
    assert rewards.macro("signed") == "reward_signed"
    with pytest.raises(rewards.RewardError, match="no reward best"):
        rewards.macro("best")


def every_verdict():
    combinations = itertools.product([*VERDICTS, None], [0, 1, 3, 7], [0, 7])
    return pl.DataFrame(list(combinations), schema=["verdict", "passed", "total"], orient="row")


@pytest.mark.parametrize("name", rewards.REWARDS)
def test_sql_and_polars_agree_and_stay_within_the_stated_range(name):
    cases = every_verdict()
    connection = duckdb.connect()
    for macro in rewards.macros():
        connection.execute(macro)
    connection.register("cases", cases.to_arrow())
    in_sql = connection.sql(
        f"SELECT verdict, passed, total, reward_{name}(verdict, passed, total) AS reward FROM cases"
    ).pl()
    in_polars = cases.with_columns(rewards.reward(name).expression)
    assert in_sql.schema["reward"] == in_polars.schema["reward"] == pl.Float64
    assert in_sql.equals(in_polars)
    possible = in_polars.filter((pl.col("passed") <= pl.col("total")) & pl.col("reward").is_not_null())[
        "reward"
    ]
    assert possible.min() >= rewards.reward(name).lowest and possible.max() <= rewards.reward(name).highest
    assert in_polars.filter(pl.col("verdict").is_null())["reward"].null_count() == 8


def test_unknown_reward_and_verdict_are_named():
    with pytest.raises(
        rewards.RewardError, match="no reward best; there are: binary, fraction, signed, success"
    ):
        rewards.reward("best")
    with pytest.raises(rewards.RewardError, match="no verdict 'ok'"):
        rewards.reward().value("ok", 1, 1)


def test_a_name_is_given_once(monkeypatch):
    monkeypatch.setattr(rewards, "REWARDS", dict(rewards.REWARDS))
    halved = rewards.Reward(
        "halved", "half of binary", -0.5, 0.0, "CASE WHEN verdict = 'accepted' THEN 0.0 ELSE -0.5 END"
    )
    assert rewards.register(halved) is rewards.register(halved)
    assert rewards.reward("halved").value("wrong_answer", 0, 1) == -0.5
    with pytest.raises(rewards.RewardError, match="halved exists already"):
        rewards.register(rewards.Reward("halved", "another", -1.0, 0.0, "0.0"))


def test_only_the_share_of_tests_needs_all_tests_run():
    needs = {name: one.needs_all_tests for name, one in rewards.REWARDS.items()}
    assert needs == {"binary": False, "fraction": True, "signed": False, "success": False}
