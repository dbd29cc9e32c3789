"""Values of function tests: back from JSON, and whether one is as good as the expected one."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sandbox.bounds import shown
from sandbox.contracts import Checker
from sandbox.judging.numbers import Tolerance, floats_match

LITERAL_DIGITS = 200_000  # of an integer in a test: Python reads them in quadratic time
MAX_UNORDERED = 500  # items without an order that are not equal to any other, and may be close to several
LONGEST_SHOWN = 200

Match = Callable[[Any, Any], bool]


@dataclass(frozen=True)
class Opaque:
    """A value that is not plain data: truthy, equal to nothing."""

    type_name: str

    def __eq__(self, other: object) -> bool:
        return False

    __hash__ = None  # type: ignore[assignment]


@contextmanager
def long_integers() -> Iterator[None]:
    """Lets literals of problems have more than Python's default of 4,300 digits."""
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(LITERAL_DIGITS)
    try:
        yield
    finally:
        sys.set_int_max_str_digits(before)


def decode(value: Any, hashable: bool = False) -> Any:
    """The inverse of the supervisor's `encode`. Tuples become lists, except where they must be hashable."""
    if not isinstance(value, list):
        return value
    kind, *rest = value
    if kind == "int":
        return int(rest[0], 16)
    if kind == "float":
        return float(rest[0])
    if kind == "complex":
        return complex(float(rest[0]), float(rest[1]))
    if kind == "bytes":
        return bytes.fromhex(rest[0])
    if kind == "list":
        items = [decode(item, hashable) for item in rest[0]]
        return tuple(items) if hashable else items
    if kind == "set":
        return frozenset(decode(item, True) for item in rest[0])
    if kind == "dict":
        return {decode(key, True): decode(item) for key, item in rest[0]}
    return Opaque(str(rest[0]))


def normalised(value: Any, hashable: bool = False) -> Any:
    """A literal in the form that `decode` returns."""
    if isinstance(value, list | tuple):
        items = [normalised(item, hashable) for item in value]
        return tuple(items) if hashable else items
    if isinstance(value, set | frozenset):
        return frozenset(normalised(item, True) for item in value)
    if isinstance(value, dict):
        return {normalised(key, True): normalised(item) for key, item in value.items()}
    return value


def values_match(actual: Any, expected: Any, checker: Checker) -> bool:
    """Python equality; with a float checker, floats within its tolerance, also inside lists, sets and dicts;
    where the checker says so, lists with their items in any order.
    """
    tolerance = Tolerance(*checker.tolerances) if checker.kind == "float" else None
    return _match(actual, expected, tolerance, checker.unordered_levels)


def is_identical(actual: Any, expected: Any) -> bool:
    """What `is` says of a constant: True is not 1, though they are equal."""
    return type(actual) is type(expected) and bool(actual == expected)


def shown_value(value: Any) -> str:
    """A value for a person, cut. Integers of many digits would take quadratic time to write."""
    return repr(_without_long_integers(value))[:LONGEST_SHOWN]


def _match(actual: Any, expected: Any, tolerance: Tolerance | None, levels: int) -> bool:
    if tolerance is None and not levels:
        return bool(actual == expected)

    def match(one: Any, other: Any) -> bool:
        return _match(one, other, tolerance, max(levels - 1, 0))

    if isinstance(actual, list | tuple) and isinstance(expected, list | tuple):
        if levels:
            return _match_unordered(actual, expected, match)
        return len(actual) == len(expected) and all(map(match, actual, expected))
    if isinstance(actual, frozenset) and isinstance(expected, frozenset):
        return _match_unordered([*actual - expected], [*expected - actual], match)
    if isinstance(actual, dict) and isinstance(expected, dict):
        return _dicts_match(actual, expected, match)
    if tolerance and is_real(actual) and is_real(expected):
        return _reals_match(actual, expected, tolerance)
    return bool(actual == expected)


def _reals_match(actual: Any, expected: Any, tolerance: Tolerance) -> bool:
    if not (isinstance(expected, float) or isinstance(actual, float)):
        return bool(actual == expected)
    try:
        return floats_match(float(actual), float(expected), tolerance)
    except OverflowError:  # an integer that is larger than every double
        return bool(actual == expected)


def is_real(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _dicts_match(actual: dict[Any, Any], expected: dict[Any, Any], match: Match) -> bool:
    """Keys may be close, too: those that are equal to none belong to the ones that they are close to."""
    if len(actual) != len(expected):
        return False
    others = [key for key in actual if key not in expected]
    missing = [key for key in expected if key not in actual]
    if not all(match(actual[key], expected[key]) for key in expected if key in actual):
        return False
    return _match_unordered(
        [(key, actual[key]) for key in others], [(key, expected[key]) for key in missing], match
    )


def _match_unordered(actual: Sequence[Any], expected: Sequence[Any], match: Match) -> bool:
    """Whether the items can be paired so that every pair matches."""
    if len(actual) != len(expected):
        return False
    actual, expected = _without_equals(actual, expected)
    if all(map(is_real, actual)) and all(map(is_real, expected)):
        return all(map(match, sorted(actual), sorted(expected)))
    if len(actual) > MAX_UNORDERED:
        return False
    candidates = [[index for index, a in enumerate(actual) if match(a, e)] for e in expected]
    partner: dict[int, int] = {}
    return all(_find_partner(number, candidates, partner, set()) for number in range(len(expected)))


def _without_equals(actual: Sequence[Any], expected: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """What is left of both where equal items are paired. Items that have no hash are all left."""
    try:
        frozen = [[(normalised(item, True), item) for item in items] for items in (actual, expected)]
        left = [Counter(key for key, _ in items) for items in frozen]
    except TypeError:
        return list(actual), list(expected)
    common = left[0] & left[1]
    return tuple(_drop(items, common.copy()) for items in frozen)  # type: ignore[return-value]


def _drop(items: list[tuple[Any, Any]], counts: Counter[Any]) -> list[Any]:
    rest = []
    for key, item in items:
        if counts[key]:
            counts[key] -= 1
        else:
            rest.append(item)
    return rest


def _find_partner(number: int, candidates: list[list[int]], partner: dict[int, int], tried: set[int]) -> bool:
    """An augmenting path of the bipartite matching."""
    for index in candidates[number]:
        if index not in tried:
            tried.add(index)
            if index not in partner or _find_partner(partner[index], candidates, partner, tried):
                partner[index] = number
                return True
    return False


def _without_long_integers(value: Any) -> Any:
    if isinstance(value, int) and abs(value) >> 1024:
        return _Shown(shown(value))
    if isinstance(value, list | tuple):
        return type(value)(map(_without_long_integers, value[:LONGEST_SHOWN]))
    if isinstance(value, frozenset):
        return {_without_long_integers(item) for item in list(value)[:LONGEST_SHOWN]}
    if isinstance(value, dict):
        pairs = list(value.items())[:LONGEST_SHOWN]
        return {_without_long_integers(key): _without_long_integers(item) for key, item in pairs}
    return value


class _Shown(str):
    """Words in the place of a value."""

    def __repr__(self) -> str:
        return str(self)
