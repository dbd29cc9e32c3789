"""Families on one to three single integers: a branch, a chain of changes, an operation, a pick."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import permutations, product
from random import Random

from families.parts import (
    ABSOLUTE,
    CHANGES,
    CONDITIONS,
    CUBES,
    DOUBLES,
    LAST_DIGITS,
    OPPOSITES,
    SQUARES,
    SUCCESSORS,
    TRIPLES,
    Change,
    Condition,
)
from families.sources import random_values
from families.task import Task, lines, swaps, title_of

# One value's name for each change: the squares of the numbers, the square of n.
SINGULAR = {
    "squares": "square",
    "cubes": "cube",
    "doubles": "double",
    "triples": "triple",
    "absolute": "absolute value",
    "opposites": "opposite",
    "last-digits": "last digit",
    "remainders-7": "remainder modulo 7",
    "successors": "successor",
}
READ_ONE, READ_TWO = "x = int(input())", "a, b = map(int, input().split())"
READ_THREE, READ_THREE_LISTED = "a, b, c = map(int, input().split())", "a = list(map(int, input().split()))"
GIVEN = ("Given an integer n", "Given integers a and b", "Given integers a, b and c")
EDGES = (
    ("0\n", "1\n", "5\n", "10\n", "-5\n", "-10\n", "3\n"),
    ("0 0\n", "1 1\n", "5 -5\n", "-3 -4\n", "10 3\n", "3 10\n"),
    ("0 0 0\n", "1 2 3\n", "3 2 1\n", "-1 -2 -3\n", "5 5 1\n", "2 -7 4\n"),
)


def single(change: Change, name: str) -> str:
    return f"the {SINGULAR[change.slug]} of {name}"


def _task(
    family: str,
    count: int,
    parts: tuple[str, ...],
    wanted: str,
    answer: Callable[..., object],
    correct: dict[str, str],
    wrong: dict[str, str],
) -> Task:
    """A task on `count` integers of one line; `answer` takes them as arguments."""

    def example(random: Random) -> str:
        return " ".join(map(str, random_values(random, count))) + "\n"

    def reference(text: str) -> str:
        return str(answer(*map(int, text.split())))

    statement = f"{GIVEN[count - 1]}, print {wanted}."
    return Task(family, parts, title_of(wanted), statement, 2, reference, example, EDGES[count - 1], correct, wrong)


def branch() -> Iterator[Task]:
    """If n meets a condition print one change of it, otherwise another."""
    for c, (then, other) in product(CONDITIONS, permutations((SQUARES, DOUBLES, TRIPLES, SUCCESSORS, OPPOSITES), 2)):
        yield _branch(c, then, other)


def _branch(c: Condition, then: Change, other: Change) -> Task:
    chosen, swapped = f"{then.code} if {c.code} else {other.code}", f"{other.code} if {c.code} else {then.code}"
    body = f"def f(x):\n    if {c.code}:\n        return {then.code}\n    return {other.code}"
    correct = {
        "expression": lines(READ_ONE, f"print({chosen})"),
        "branches": lines(READ_ONE, f"if {c.code}:\n    print({then.code})\nelse:\n    print({other.code})"),
        "function": lines(body, "print(f(int(input())))"),
    }
    wrong = swaps(
        correct["branches"],
        near_condition=(c.code, c.near),
        near_change=(f"print({then.code})", f"print({then.near})"),
        both=("else:\n    print", "print"),
        misspells=(f"print({other.code})", "print(y)"),
    ) | swaps(
        correct["expression"],
        swapped=(chosen, swapped),
        reads_text=("int(input())", "input()"),
        forgets=(chosen, then.code),
    )
    wanted = f"{single(then, 'n')} if n is {c.predicate}, else {single(other, 'n')}"
    parts = (c.slug, then.slug, other.slug)
    return _task("branch", 1, parts, wanted, lambda n: (then if c.holds(n) else other).of(n), correct, wrong)


def chain() -> Iterator[Task]:
    """Two changes, one of the other: the square of the successor of n."""
    for outer, inner in permutations(CHANGES, 2):
        yield _chain(outer, inner)


def _chain(outer: Change, inner: Change) -> Task:
    first, second = f"x = {inner.code}\n", f"x = {outer.code}\n"
    correct = {
        "steps": lines(READ_ONE, f"y = {inner.code}", f"print({outer.on('y')})"),
        "same-name": lines(READ_ONE, first + second + "print(x)"),
        "function": lines(f"f = lambda x: {outer.code}", f"g = lambda x: {inner.code}", "print(f(g(int(input()))))"),
    }
    wrong = swaps(
        correct["same-name"],
        wrong_order=(first + second, second + first),
        forgets_inner=(first, ""),
        forgets_outer=(second, ""),
        near_inner=(first, f"x = {inner.near}\n"),
        near_outer=(second, f"x = {outer.near}\n"),
        reads_text=("int(input())", "input()"),
    )
    wanted = single(outer, single(inner, "n"))
    return _task("chain", 1, (outer.slug, inner.slug), wanted, lambda n: outer.of(inner.of(n)), correct, wrong)


OPERATIONS: dict[str, tuple[str, str, str, Callable[[int, int], int]]] = {
    "sum": ("a + b", "the sum of", "a - b", lambda a, b: a + b),
    "product": ("a * b", "the product of", "a + b", lambda a, b: a * b),
    "difference": ("a - b", "the difference (first minus second) of", "b - a", lambda a, b: a - b),
    "distance": ("abs(a - b)", "the distance between", "a - b", lambda a, b: abs(a - b)),
    "largest": ("max(a, b)", "the largest of", "min(a, b)", max),
    "smallest": ("min(a, b)", "the smallest of", "max(a, b)", min),
}


def two_numbers() -> Iterator[Task]:
    lefts, rights = (SQUARES, DOUBLES, ABSOLUTE, SUCCESSORS), (TRIPLES, CUBES, OPPOSITES, LAST_DIGITS)
    for operation, left, right in product(OPERATIONS, lefts, rights):
        yield _two(operation, left, right)


def _two(operation: str, left: Change, right: Change) -> Task:
    code, phrase, near, do = OPERATIONS[operation]
    one, two = left.on("a"), right.on("b")
    correct = {
        "steps": lines(READ_TWO, f"a = {one}", f"b = {two}", f"print({code})"),
        "function": lines(f"def f(a, b):\n    return {code}", READ_TWO, f"print(f({one}, {two}))"),
        "tuple": lines(READ_TWO, f"a, b = {one}, {two}", f"print({code})"),
    }
    wrong = swaps(
        correct["steps"],
        near_operation=(f"print({code})", f"print({near})"),
        forgets_first=(f"a = {one}\n", ""),
        forgets_second=(f"b = {two}\n", ""),
        swapped=("a, b = map", "b, a = map"),
        one_a_line=(READ_TWO, "a = int(input())\nb = int(input())"),
        misspells=(f"print({code})", "print(c)"),
    )
    wanted = f"{phrase} {single(left, 'a')} and {single(right, 'b')}"
    parts = (operation, left.slug, right.slug)
    return _task("two-numbers", 2, parts, wanted, lambda a, b: do(left.of(a), right.of(b)), correct, wrong)


PICKS: dict[str, tuple[str, str, str, Callable[[list[int]], int]]] = {
    "sum": ("the sum of", "sum(b)", "len(b)", sum),
    "largest": ("the largest of", "max(b)", "min(b)", max),
    "smallest": ("the smallest of", "min(b)", "max(b)", min),
    "middle": ("the middle one of", "sorted(b)[1]", "b[1]", lambda b: sorted(b)[1]),
    "spread": ("the largest minus the smallest of", "max(b) - min(b)", "b[-1] - b[0]", lambda b: max(b) - min(b)),
}


def three_numbers() -> Iterator[Task]:
    for pick, change in product(PICKS, CHANGES):
        yield _three(pick, change)


def _three(pick: str, change: Change) -> Task:
    phrase, code, near, choose = PICKS[pick]
    show, items = f"print({code})", ", ".join(change.on(name) for name in "abc")
    correct = {
        "comprehension": lines(READ_THREE_LISTED, f"b = [{change.code} for x in a]", show),
        "names": lines(READ_THREE, f"b = [{items}]", show),
        "loop": lines(READ_THREE_LISTED, "b = []", f"for x in a:\n    b.append({change.code})", show),
    }
    wrong = swaps(
        correct["comprehension"],
        near_pick=(show, f"print({near})"),
        near_change=(f"[{change.code} for", f"[{change.near} for"),
        forgets_change=(f"[{change.code} for", "[x for"),
        skips_first=("in a]", "in a[1:]]"),
        misspells=(show, "print(s)"),
        one_number=("list(map(int, input().split()))", "[int(input())]"),
    )
    wanted = f"{phrase} the {change.phrase} of a, b and c"

    def answer(*numbers: int) -> int:
        return choose([change.of(x) for x in numbers])

    return _task("three-numbers", 3, (pick, change.slug), wanted, answer, correct, wrong)
