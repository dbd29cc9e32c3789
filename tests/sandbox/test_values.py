"""Values of function tests: tolerances, orders, and what `is` and long integers mean."""

from __future__ import annotations

import pytest

from sandbox import Checker, Test
from sandbox.judging.values import is_identical, normalised, shown_value, values_match

FLOAT = Checker("float", float_tol=1e-6)
SAME = [
    (Checker(), [1, 2], (1, 2)),
    (Checker(), True, 1),  # equal in Python
    (FLOAT, [0.1 + 0.2, "a"], [0.3, "a"]),
    (FLOAT, {0.1 + 0.2, 7.0}, {7.0, 0.3}),
    (FLOAT, {(1, 0.1 + 0.2), (2, 5.0)}, {(2, 5.0), (1, 0.3)}),
    (FLOAT, {"a": (0.1 + 0.2,)}, {"a": (0.3,)}),
    (FLOAT, {0.1 + 0.2: 1}, {0.3: 1}),
    (FLOAT, 1000001.0, 1000000),  # relative
    (FLOAT, float("nan"), float("nan")),
    (FLOAT, [1, "x", None], [1, "x", None]),
    (Checker("float", float_abs_tol=0.5), 10.4, 10),
    (FLOAT, 10**400, 10**400),
    (Checker(unordered_levels=1), [3, 1, 2, 1], [1, 1, 2, 3]),
    (Checker(unordered_levels=1), [[2, 1], [3]], [[3], [2, 1]]),
    (Checker(unordered_levels=2), [[1, 2], [3]], [[3], [2, 1]]),
    (Checker(unordered_levels=1), [{"a": 1}, {"b": 2}], [{"b": 2}, {"a": 1}]),
    (Checker("float", unordered_levels=1), [2.0, 0.1 + 0.2], [0.3, 2]),
    # The first item is close to both, the second to one: pairing in order would fail.
    (Checker("float", float_tol=0.1, unordered_levels=1), [("a", 0.15), ("a", 0.05)],
     [("a", 0.1), ("a", 0.2)]),
]  # fmt: skip
DIFFERENT = [
    (Checker(), 0.1 + 0.2, 0.3),
    (FLOAT, {0.31}, {0.3}),
    (FLOAT, {0.3, 0.4}, {0.3}),
    (FLOAT, {"a": 1.1}, {"a": 1.0}),
    (FLOAT, {"b": 1.0}, {"a": 1.0}),
    (FLOAT, 10**400, 10**400 + 1),
    (FLOAT, 10**400, 1.0),
    (FLOAT, 3, 4),
    (FLOAT, True, 1.5),
    (Checker("float", float_rel_tol=1e-9), 1e-12, 0.0),
    (Checker(), [2, 1], [1, 2]),
    (Checker(unordered_levels=1), [1, 1, 2], [1, 2, 2]),
    (Checker(unordered_levels=1), [[1, 2], [3]], [[3], [2, 1]]),
    (Checker("float", unordered_levels=1), [["a", 1.0], ["b", 1.0]], [["a", 1.0], ["a", 1.0]]),
]


@pytest.mark.parametrize(("checker", "actual", "expected"), SAME)
def test_same(checker, actual, expected):
    assert values_match(normalised(actual), normalised(expected), checker)


@pytest.mark.parametrize(("checker", "actual", "expected"), DIFFERENT)
def test_different(checker, actual, expected):
    assert not values_match(normalised(actual), normalised(expected), checker)


def test_many_items_without_order():
    """Equal items are paired by their hash; 100,000 of them one by one would take hours."""
    items = [[number, number + 1] for number in range(100_000)]
    assert values_match(items[::-1], items, Checker(unordered_levels=1))
    assert not values_match([[7, 7], *items[:0:-1]], items, Checker(unordered_levels=1))


@pytest.mark.parametrize(("actual", "same"), [(True, True), (1, False), (1.0, False), (None, False)])
def test_true_is_not_one(actual, same):
    assert is_identical(actual, True) == same


def test_a_long_integer_is_not_written_out():
    assert shown_value([1, 10**5000]) == "[1, a number of 16610 bits]"


@pytest.mark.parametrize(
    ("program", "code", "verdict"),
    [
        ("def f(): return True", "assert f() is True", "accepted"),
        ("def f(): return 1", "assert f() is True", "wrong_answer"),
        ("def f(): return 1", "assert f() == True", "accepted"),
        ("def f(): return 0", "assert f() is None", "wrong_answer"),
        ("def f(): return None", "assert f() is None", "accepted"),
        ("def f(): return 0", "assert abs(f()) is False", "wrong_answer"),
    ],
)
def test_assertions_with_is(judge, program, code, verdict):
    assert judge("python3", program, Test("1", "assert", code)).verdict == verdict


LONG = "1" + "0" * 5000


@pytest.mark.parametrize(
    ("program", "test"),
    [
        ("def f(): return 10 ** 5000", Test("1", "call", "f()", LONG)),
        ("def f(): return 10 ** 5000", Test("1", "assert", f"assert f() == {LONG}")),
        ("def f(n): return n // 10 ** 4999", Test("1", "call", f"f({LONG})", "10")),
        ("def f(): return 10 ** 5000", Test("1", "check", f"def check(f):\n assert f() == {LONG}\n")),
        ("print(int(input()) + 1)", Test("1", "stdin", LONG, LONG[:-1] + "1")),
        (f"print({LONG} // 10 ** 4999)", Test("1", "stdin", "", "10")),
    ],
    ids=["call", "assert", "argument", "check", "stdin", "literal in the program"],
)
def test_integers_of_more_than_4300_digits(judge, program, test):
    judgement = judge("python3", program, test, entry_point="" if test.mode != "check" else "f")
    assert judgement.verdict == "accepted", judgement
