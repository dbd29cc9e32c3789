"""Scores, worked out by hand from the rules of the two formats."""

from __future__ import annotations

import pytest

from sandbox import TestResult
from sandbox.scoring import Group, Scoring

NAMES = ("sample/1", "secret/a/1", "secret/a/2", "secret/b/1", "secret/b/2")


def results(verdicts, **scores):
    """One result per letter: A accepted, W wrong, J judge error, - not run."""
    kinds = {"A": "accepted", "W": "wrong_answer", "J": "judge_error"}
    return {
        name: TestResult(name, kinds[letter], score=scores.get(name.replace("/", "_")))
        for name, letter in zip(NAMES, verdicts, strict=True)
        if letter != "-"
    }


def grader(root=(), secret=(), reject="continue", **points):
    return Scoring(
        "grader",
        (
            Group("", reject, root),
            Group("sample", reject, (), 0.0),
            Group("secret", reject, secret),
            Group("secret/a", "break", ("min",), points.get("a", 40.0)),
            Group("secret/b", "break", ("min",), points.get("b", 60.0)),
        ),
    )


ANY = ("accept_if_any_accepted",)
LEGACY = [
    (grader(), "AAAAA", 100.0),
    (grader(), "AAAWA", None),  # not accepted, so no score
    (grader(ANY, ANY), "AAAWA", 40.0),
    (grader(ANY, ANY), "AW-AA", 60.0),
    (grader(("always_accept",), ("always_accept",)), "WW-W-", 0.0),
    (grader(("always_accept", "ignore_sample"), ("always_accept", "max")), "WAAAA", 60.0),
    (grader(("ignore_sample",)), "WAAAA", 100.0),
    (grader(("always_accept", "ignore_sample"), ("always_accept", "avg")), "AAAAA", 50.0),
    (grader(ANY, ANY), "AAAJA", None),
]


@pytest.mark.parametrize(("scoring", "verdicts", "expected"), LEGACY)
def test_the_default_grader(scoring, verdicts, expected):
    assert scoring.score(NAMES, results(verdicts)) == expected


def test_points_of_a_validator_replace_those_of_the_group():
    scoring = Scoring("grader", (Group("", "continue"), Group("secret", "continue"), Group("sample")))
    actual = results("AAAAA", secret_a_1=2.5, secret_b_2=0.25)
    # sample 1; secret: a 2.5 + 1, b 1 + 0.25
    assert scoring.score(NAMES, actual) == 1 + 3.5 + 1.25


@pytest.mark.parametrize(
    ("name", "verdicts", "skipped"),
    [
        ("secret/a/2", "AW---", True),
        ("secret/b/1", "AW---", False),
        ("secret/b/2", "AAAW-", True),
        ("secret/b/2", "AAAA-", False),
    ],
)
def test_a_group_is_broken_off(name, verdicts, skipped):
    assert grader().skips(name, NAMES, results(verdicts)) is skipped


def test_everything_after_a_failure_is_skipped_by_default():
    scoring = Scoring("grader")
    assert scoring.skips("secret/b/1", NAMES, results("AW---"))
    assert scoring.score(NAMES, results("AAAAA")) == 5.0


def aggregation(secret="sum", **groups):
    return Scoring(
        "aggregation",
        (
            Group("secret", aggregation=secret, max_score=100.0),
            *(Group(f"secret/{name}", **fields) for name, fields in groups.items()),
        ),
    )


PASS, SUM, MIN = ({"aggregation": one, "max_score": 50.0} for one in ("pass-fail", "sum", "min"))
NEWER = [
    (aggregation(a=PASS, b=PASS), "AAAAA", 100.0),
    (aggregation(a=PASS, b=PASS), "AAAWA", 50.0),
    (aggregation(a=SUM, b=SUM), "AAWWA", 50.0),
    (aggregation(a=MIN, b=SUM), "AAWWA", 25.0),
    (aggregation(a=PASS, b=PASS | {"require_pass": ("secret/a",)}), "AW-AA", 0.0),
    (aggregation(a=PASS, b=PASS | {"require_pass": ("sample",)}), "WAAAA", 50.0),
    (aggregation("min", a=PASS, b=PASS), "AAAAA", 50.0),
    (aggregation("pass-fail", a=PASS, b=PASS), "AAAAA", 100.0),
    (aggregation("pass-fail", a=PASS, b=PASS), "AAAAW", 0.0),
    (aggregation(), "AAAAW", 75.0),
    (aggregation(a={"aggregation": "sum"}, b=PASS), "AAAAA", None),  # unbounded, and no score was written
]


@pytest.mark.parametrize(("scoring", "verdicts", "expected"), NEWER)
def test_the_aggregation_of_2025(scoring, verdicts, expected):
    assert scoring.score(NAMES, results(verdicts)) == expected


def test_a_multiplier_is_a_share_of_the_largest_score():
    actual = results("AAAAA") | {"secret/a/1": TestResult("secret/a/1", "accepted", multiplier=0.5)}
    assert aggregation(a=SUM, b=SUM).score(NAMES, actual) == 12.5 + 25 + 50


def test_a_group_waits_for_those_it_requires():
    scoring = aggregation(a=PASS, b=PASS | {"require_pass": ("secret/a",)})
    assert scoring.skips("secret/b/1", NAMES, results("AAW--"))
    assert not scoring.skips("secret/b/1", NAMES, results("AAA--"))


def test_an_unknown_flag_is_refused():
    with pytest.raises(ValueError, match="no flag 'median'"):
        Group("", flags=("median",))
