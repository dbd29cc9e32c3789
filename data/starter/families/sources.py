"""Where the values of a task come from: the input format, how a program reads it into `a`, and example inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from random import Random
from typing import Any

from families.parts import (
    CHANGES,
    CONDITIONS,
    DIGIT_CONDITIONS,
    NATURAL_CHANGES,
    NATURAL_CONDITIONS,
    Change,
    Condition,
)


@dataclass(frozen=True)
class Source:
    """`given` opens the statement; `noun` and `where` name the values, as in "numbers" and " from 1 to n".

    `read` and `other_read` are code that leaves the values in `a`; `values` is the reference for that code.
    """

    given: str
    noun: str
    read: str
    values: Callable[[str], list[Any]]
    example: Callable[[Random], str]
    edges: tuple[str, ...]
    conditions: tuple[Condition, ...] = CONDITIONS
    changes: tuple[Change, ...] = CHANGES
    other_read: str = ""
    where: str = ""


TELLING_VALUES = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 15, 20, -1, -2, -3, -5, -6, -10, -15)


def random_values(random: Random, count: int, telling: tuple[int, ...] = TELLING_VALUES) -> list[int]:
    """Half plain values of -30..60, half values on the borders of the conditions."""
    return [random.choice(telling) if random.random() < 0.5 else random.randint(-30, 60) for _ in range(count)]


def listed(values: list[int]) -> str:
    """The input format of a list: its length, then its values."""
    return f"{len(values)}\n{' '.join(map(str, values))}\n"


def tail(text: str) -> list[int]:
    return [int(word) for word in text.split()[1:]]


def _list_example(random: Random) -> str:
    return listed(random_values(random, random.randint(4, 9)))


READ_LIST = "n = int(input())\na = list(map(int, input().split()))"
READ_LIST_WHOLE = "import sys\na = list(map(int, sys.stdin.read().split()))[1:]"
LIST_EDGES = ("1\n0\n", "1\n5\n", "1\n-10\n", "4\n-3 -7 -1 -9\n", "4\n2 4 8 16\n", "3\n10 10 10\n", "5\n1 7 11 13 17\n")

NUMBERS = Source(
    "Given n and n integers", "numbers", READ_LIST, tail, _list_example, LIST_EDGES, other_read=READ_LIST_WHOLE
)


def _up_to(text: str) -> list[int]:
    return list(range(1, int(text) + 1))


UP_TO_N = Source(
    "Given n",
    "numbers",
    "n = int(input())\na = range(1, n + 1)",
    _up_to,
    lambda random: f"{random.randint(3, 40)}\n",
    ("1\n", "2\n", "5\n", "10\n", "11\n", "30\n"),
    NATURAL_CONDITIONS,
    NATURAL_CHANGES,
    "a = list(range(1, int(input()) + 1))",
    " from 1 to n",
)


def _between(text: str) -> list[int]:
    low, high = map(int, text.split())
    return list(range(low, high + 1))


def _interval_example(random: Random) -> str:
    low = random.randint(-15, 15)
    return f"{low} {low + random.randint(0, 20)}\n"


BETWEEN = Source(
    "Given l and r",
    "numbers",
    "l, r = map(int, input().split())\na = range(l, r + 1)",
    _between,
    _interval_example,
    ("5 5\n", "10 10\n", "0 0\n", "-7 -1\n", "1 10\n", "-5 15\n"),
    where=" from l to r",
)

DIGITS = Source(
    "Given an integer n",
    "digits of n",
    "a = [int(c) for c in input()]",
    lambda text: [int(c) for c in text.strip()],
    lambda random: (
        f"{random.choice('123456789')}{''.join(random.choice('0123456789') for _ in range(random.randint(1, 8)))}\n"
    ),
    ("0\n", "5\n", "7\n", "2468\n", "13579\n", "333\n", "9000\n"),
    DIGIT_CONDITIONS,
    NATURAL_CHANGES,
    "a = list(map(int, input().strip()))",
)


def _divisors(text: str) -> list[int]:
    n = int(text)
    return [d for d in range(1, n + 1) if n % d == 0]


DIVISORS = Source(
    "Given n",
    "divisors of n",
    "n = int(input())\na = [d for d in range(1, n + 1) if n % d == 0]",
    _divisors,
    lambda random: (
        f"{random.choice((12, 18, 20, 24, 30, 36, 45, 48, 50, 60, 72, 75, 84, 90, 97, random.randint(2, 99)))}\n"
    ),
    ("1\n", "2\n", "5\n", "10\n", "13\n", "100\n"),
    NATURAL_CONDITIONS,
    NATURAL_CHANGES,
    "n = int(input())\na = []\nfor d in range(1, n + 1):\n    if n % d == 0:\n        a.append(d)",
)


def gaps(text: str) -> list[int]:
    values = tail(text)
    return [right - left for left, right in pairwise(values)]


PAIR_EDGES = ("2\n3 3\n", "2\n5 10\n", "2\n10 5\n", "5\n1 2 3 4 5\n", "5\n20 15 10 5 0\n", "4\n0 0 0 0\n")

GAPS = Source(
    "Given n and n integers",
    "differences of neighbours (right minus left)",
    READ_LIST + "\na = [y - x for x, y in zip(a, a[1:])]",
    gaps,
    _list_example,
    PAIR_EDGES,
    other_read=READ_LIST + "\na = [a[i + 1] - a[i] for i in range(n - 1)]",
)


def _sums(text: str) -> list[int]:
    values = tail(text)
    return [left + right for left, right in pairwise(values)]


NEIGHBOUR_SUMS = Source(
    "Given n and n integers",
    "sums of neighbours",
    READ_LIST + "\na = [x + y for x, y in zip(a, a[1:])]",
    _sums,
    _list_example,
    PAIR_EDGES,
    other_read=READ_LIST + "\na = [a[i] + a[i + 1] for i in range(n - 1)]",
)


def _grid_example(random: Random) -> str:
    rows, columns = random.randint(1, 4), random.randint(2, 4)
    body = "\n".join(" ".join(map(str, random_values(random, columns))) for _ in range(rows))
    return f"{rows} {columns}\n{body}\n"


def grid_rows(text: str) -> list[list[int]]:
    return [[int(word) for word in line.split()] for line in text.strip().split("\n")[1:]]


GRID_EDGES = ("1 1\n0\n", "1 1\n5\n", "2 2\n10 10\n10 10\n", "2 3\n-1 -2 -3\n-4 -5 -6\n", "3 1\n2\n4\n7\n")
READ_ROWS = "r, c = map(int, input().split())\ng = [list(map(int, input().split())) for i in range(r)]"

GRID = Source(
    "Given r and c and a grid of r rows with c integers each",
    "numbers of the grid",
    "r, c = map(int, input().split())\na = []\nfor i in range(r):\n    a += map(int, input().split())",
    lambda text: [value for row in grid_rows(text) for value in row],
    _grid_example,
    GRID_EDGES,
    other_read=READ_ROWS + "\na = sum(g, [])",
)

ROW_SUMS = Source(
    "Given r and c and a grid of r rows with c integers each",
    "row sums of the grid",
    "r, c = map(int, input().split())\na = [sum(map(int, input().split())) for i in range(r)]",
    lambda text: [sum(row) for row in grid_rows(text)],
    _grid_example,
    GRID_EDGES,
    other_read=READ_ROWS + "\na = [sum(x) for x in g]",
)


def _every_other(start: int) -> Callable[[str], list[int]]:
    return lambda text: tail(text)[start::2]


def at_positions(parity: str, start: int) -> Source:
    """The values at the odd (1, 3, 5, ...) or even (2, 4, 6, ...) positions of a list."""
    return Source(
        "Given n and n integers",
        "numbers",
        READ_LIST + f"\na = a[{start}::2]",
        _every_other(start),
        _list_example,
        (*LIST_EDGES[:5], "2\n4 7\n", "2\n7 4\n"),
        other_read=READ_LIST + f"\na = [a[i] for i in range({start}, n, 2)]",
        where=f" at {parity} positions",
    )


AT_ODD, AT_EVEN = at_positions("odd", 0), at_positions("even", 1)
