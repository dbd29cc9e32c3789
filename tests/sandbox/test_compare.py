"""Comparators against values worked out by hand."""

import pytest

from sandbox.contracts import Checker
from sandbox.judging.compare import first_difference, outputs_match

BIG = b"1" + b"0" * 5000

SAME = [
    (Checker(), b"1 2\n3", b"1  2\r\n3\n\n"),
    (Checker(), b"", b" \n"),
    (Checker(case_sensitive=False), b"YES no", b"Yes NO"),
    (Checker("exact"), b"a \n", b"a \n"),
    (Checker("lines"), b"a b  \nc\n\n\n", b"a b\r\nc"),
    (Checker("lines"), b"\na", b"\na\n"),
    (Checker("float"), b"0.3333333 yes", b"0.33333333 yes"),
    (Checker("float"), b"1000000.5", b"1000000.0"),  # relative
    (Checker("float", float_tol=1e-3), b"1e-4", b"0"),  # absolute
    (Checker("float", float_tol=0.25), b"1.25", b"1.5"),  # the edge belongs to it
    (Checker("float", float_tol=0.25), b"0.25", b"0.5"),
    (Checker("float"), b"-0", b"0"),
    (Checker("float"), b"007", b"+7"),
    (Checker("float"), b"1e3 .5 5.", b"1000.0 0.5 5"),
    (Checker("float"), b"inf -Infinity", b"Inf -inf"),
    (Checker("float"), BIG, b"+" + BIG),
    (Checker("float"), b"nan", b"-NaN"),
    (Checker("float"), b"1000000500", b"1000000000"),
    (Checker("float"), b"9007199254740993", b"9007199254740992"),
    (Checker("float"), BIG + b"1", BIG + b"2"),
    (Checker("float"), b"7" * 400, b"7" * 400 + b".0"),
    (Checker("float", float_tol=0), b"1" + b"0" * 400, b"10e399"),
    (Checker("float", float_abs_tol=1.0), b"1000001", b"1000000"),
    (Checker("float", float_rel_tol=1e-6), b"1000001", b"1000000"),
    (Checker("float", float_rel_tol=1e-6), b"1e-400", b"1.0000001e-400"),
    (Checker("float", float_tol=0.5, float_abs_tol=1e-3, float_rel_tol=1e-3), b"0.001", b"0"),
]
DIFFERENT = [
    (Checker(), b"12", b"1 2"),
    (Checker(), b"1.0", b"1"),
    (Checker(), b"Yes", b"YES"),
    (Checker(), b"1 2 3", b"1 2"),
    (Checker("exact"), b"a\n", b"a"),
    (Checker("lines"), b"a  b", b"a b"),
    (Checker("lines"), b"a\n\nb", b"a\nb"),
    (Checker("lines"), b" a", b"a"),
    (Checker("float", float_tol=0), b"9007199254740993", b"9007199254740992"),  # equal as doubles
    (Checker("float", float_tol=0), BIG + b"1", BIG + b"2"),
    (Checker("float"), b"7" * 400, b"3" * 400 + b".0"),
    (Checker("float"), b"7" * 400, b"inf"),
    (Checker("float", float_abs_tol=0.5), b"1000001", b"1000000"),
    (Checker("float", float_rel_tol=1e-7), b"1000001", b"1000000"),
    (Checker("float", float_rel_tol=1e-6), b"1e-400", b"2e-400"),  # both 0 as doubles
    (Checker("float", float_rel_tol=1e-6), b"1e-400", b"0"),
    (Checker("float", float_tol=0.5, float_abs_tol=1e-3, float_rel_tol=1e-3), b"1.01", b"1"),
    (Checker("float"), b"inf", b"-inf"),
    (Checker("float"), b"1e308", b"inf"),
    (Checker("float"), b"1.0 2.0", b"1.0"),
    (Checker("float"), b"0x10", b"16"),
    (Checker("float"), b"1_000", b"1000"),  # a number to Python, not to a grader
    (Checker("float"), b"1,5", b"1.5"),
    (Checker("float"), b"yes", b"1.0"),
    (Checker("float"), b"0.34", b"0.33"),
    (Checker("float", float_tol=0.25), b"0.24", b"0.5"),  # absolute below 1
    (Checker("float"), b"nan", b"1.0"),
    (Checker(), "é".encode("latin-1"), "é".encode()),
]


@pytest.mark.parametrize(("checker", "actual", "expected"), SAME)
def test_same(checker, actual, expected):
    assert outputs_match(actual, expected, checker)
    assert outputs_match(expected, actual, checker)


@pytest.mark.parametrize(("checker", "actual", "expected"), DIFFERENT)
def test_different(checker, actual, expected):
    assert not outputs_match(actual, expected, checker)
    assert not outputs_match(expected, actual, checker)


def test_first_difference_names_the_place():
    assert first_difference(b"1 2 4", b"1 2 3", Checker()) == "token 3: '4' instead of '3'"
    assert first_difference(b"1 2", b"1 2 3", Checker()) == "2 tokens instead of 3"
    assert first_difference(b"a\nb x", b"a\nb", Checker("lines")) == "line 2: 'b x' instead of 'b'"


@pytest.mark.parametrize("name", ["float_tol", "float_abs_tol", "float_rel_tol", "unordered_levels"])
@pytest.mark.parametrize("number", [-1, float("inf"), float("nan"), True, "1"])
def test_what_is_no_tolerance_is_refused(name, number):
    with pytest.raises(ValueError, match=rf"Checker\.{name} must be "):
        Checker("float", **{name: number})


def test_unknown_kind_is_refused():
    with pytest.raises(ValueError, match=r"Checker\.kind"):
        Checker("fuzzy")


@pytest.mark.parametrize(
    ("checker", "actual", "expected", "difference"),
    [
        (Checker("lines"), b"a \nb\nc", b"a\nB\nc", "line 2: 'b' instead of 'B'"),
        (Checker("exact"), b"a \nb", b"a\nb", "line 1: 'a ' instead of 'a'"),
        (Checker("exact"), b"a\n", b"a", "2 lines instead of 1"),
        (Checker("tokens"), b"1 2 4", b"1 2 3", "token 3: '4' instead of '3'"),
        (Checker("float"), b"1.0 2.5", b"1.0 2.0", "token 2: '2.5' instead of '2.0'"),
        (Checker("float", float_tol=1e-6), b"1.0 2", b"1.00 3", "token 2: '2' instead of '3'"),
        # What follows the one number that the checker reads is no difference.
        (Checker("icmp"), b"1 x", b"1 abc", "equal tokens with other white space between them"),
        (Checker("tokens"), b"a" * 61, b"b" * 60, f"token 1: '{'a' * 60}...' instead of '{'b' * 60}'"),
    ],
)
def test_the_first_difference_in_words(checker, actual, expected, difference):
    assert first_difference(actual, expected, checker) == difference
