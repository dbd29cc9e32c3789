"""Families that walk along a list of numbers: runs, two totals, running totals, pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations, pairwise, permutations, product

from families.lists import MISREADS, list_task
from families.parts import (
    ABOVE_5,
    CHANGES,
    CONDITIONS,
    COUNT,
    EVEN,
    MULTIPLE_3,
    NEGATIVE,
    ODD,
    POSITIVE,
    SUM,
    Change,
    Condition,
    Finish,
)
from families.pipelines import ALWAYS, UNCHANGED, comprehension
from families.sources import PAIR_EDGES, READ_LIST
from families.task import Task, lines, swaps


def runs() -> Iterator[Task]:
    for c in CONDITIONS:
        yield _longest_run(c)
        yield _count_of_runs(c)


def _marks(c: Condition) -> str:
    return f"t = ''.join('1' if {c.code} else '0' for x in a)"


def _longest_run(c: Condition) -> Task:
    start = "s = 0\nk = 0\nfor x in a:"
    branches = f"    if {c.code}:\n        k += 1\n    else:\n        k = 0\n    s = max(s, k)"
    correct = {
        "running": lines(READ_LIST, start, f"    k = k + 1 if {c.code} else 0\n    s = max(s, k)", "print(s)"),
        "loop": lines(READ_LIST, start, branches, "print(s)"),
        "splitting": lines(READ_LIST, _marks(c), "print(max(map(len, t.split('0'))))"),
    }
    wrong = swaps(
        correct["running"],
        near_condition=(c.code, c.near),
        never_resets=("else 0", "else k"),
        resets_to_one=("else 0", "else 1"),
        starts_at_one=("s = 0\n", "s = 1\n"),
        last_only=("print(s)", "print(k)"),
        misreads=MISREADS,
    )

    def answer(values: list[int]) -> int:
        best = length = 0
        for x in values:
            length = length + 1 if c.holds(x) else 0
            best = max(best, length)
        return best

    wanted = f"the length of the longest run of consecutive {c.phrase.format('numbers')}"
    return list_task("runs", ("longest", c.slug), wanted, answer, correct, wrong)


def _count_of_runs(c: Condition) -> Task:
    body = f"    if {c.code}:\n        s += k == 0\n        k = 1\n    else:\n        k = 0"
    correct = {
        "loop": lines(READ_LIST, "s = 0\nk = 0\nfor x in a:", body, "print(s)"),
        "splitting": lines(READ_LIST, _marks(c), "print(len([x for x in t.split('0') if x]))"),
        "groups": lines(
            "import itertools", READ_LIST, f"print(sum(k for k, g in itertools.groupby(a, lambda x: {c.code})))"
        ),
    }
    wrong = swaps(
        correct["loop"],
        near_condition=(c.code, c.near),
        counts_all=("s += k == 0", "s += 1"),
        never_resets=("        k = 0", "        k = 1"),
        starts_at_one=("s = 0\n", "s = 1\n"),
        last_only=("print(s)", "print(k)"),
        misspells=("print(s)", "print(count)"),
    )

    def answer(values: list[int]) -> int:
        flags = [False, *(c.holds(x) for x in values)]
        return sum(now and not before for before, now in pairwise(flags))

    wanted = f"the count of runs of consecutive {c.phrase.format('numbers')}"
    return list_task("runs", ("count", c.slug), wanted, answer, correct, wrong)


def compare_totals() -> Iterator[Task]:
    pairs = permutations((EVEN, ODD, POSITIVE, NEGATIVE, ABOVE_5, MULTIPLE_3), 2)
    for (one, two), (finish, add) in product(pairs, ((SUM, "x"), (COUNT, "1"))):
        yield _compare(finish, add, one, two)


def _compare(finish: Finish, add: str, one: Condition, two: Condition) -> Task:
    show = "print('FIRST' if s > k else 'SECOND' if k > s else 'EQUAL')"
    first, second = (f"[x for x in a if {c.code}]" for c in (one, two))
    total, other = finish.code.removesuffix("(b)"), finish.near.removesuffix("(b)")
    body = f"    if {one.code}:\n        s += {add}\n    if {two.code}:\n        k += {add}"
    sums = (f"{name} = sum({add} for x in a if {c.code})" for name, c in (("s", one), ("k", two)))
    correct = {
        "comprehension": lines(READ_LIST, f"s = {total}({first})", f"k = {total}({second})", show),
        "loop": lines(READ_LIST, "s = 0\nk = 0\nfor x in a:", body, show),
        "generator": lines(READ_LIST, *sums, show),
    }
    wrong = swaps(
        correct["comprehension"],
        near_condition=(one.code, one.near),
        forgets_equal=("'SECOND' if k > s else 'EQUAL'", "'SECOND'"),
        swapped=("s > k else 'SECOND' if k > s", "k > s else 'SECOND' if s > k"),
        other_total=(f"s = {total}(", f"s = {other}("),
    ) | swaps(correct["loop"], chained=(f"    if {two.code}", f"    elif {two.code}"), misspells=("k += ", "t += "))

    def answer(values: list[int]) -> str:
        left, right = (int(finish.answer([x for x in values if c.holds(x)])) for c in (one, two))
        return "FIRST" if left > right else "SECOND" if right > left else "EQUAL"

    left, right = (finish.phrase.format("the " + c.phrase.format("numbers")) for c in (one, two))
    wanted = f"FIRST if {left} is larger than {right}, SECOND if it is smaller, else EQUAL"
    return list_task("compare-totals", (finish.slug, one.slug, two.slug), wanted, answer, correct, wrong)


# The total of a prefix, the running step, the arguments and the start of the loop, and the total as a function.
RUNNING: dict[str, tuple[str, str, str, str, Callable[[list[int]], int]]] = {
    "sums": ("sum(b[:i + 1])", "s + x", "b", "0", sum),
    "maxima": ("max(b[:i + 1])", "max(s, x)", "b, max", "b[0]", max),
    "minima": ("min(b[:i + 1])", "min(s, x)", "b, min", "b[0]", min),
}


def running_totals() -> Iterator[Task]:
    for kind, change in product(RUNNING, (UNCHANGED, *CHANGES)):
        yield _running(kind, change)


def _running(kind: str, change: Change) -> Task:
    whole, step, arguments, start, total = RUNNING[kind]
    collect = f"b = {comprehension(ALWAYS, change)}"
    walk = f"t = []\ns = {start}\nfor x in b:\n    s = {step}\n    t.append(s)"
    correct = {
        "comprehension": lines(READ_LIST, collect, f"print(*[{whole} for i in range(n)])"),
        "loop": lines(READ_LIST, collect, walk, "print(*t)"),
        "accumulate": lines("import itertools", READ_LIST, collect, f"print(*itertools.accumulate({arguments}))"),
    }
    wrong = swaps(
        correct["comprehension"],
        short_prefix=("i + 1", "i"),
        one_less=("range(n)", "range(n - 1)"),
        whole_list=("b[:i + 1]", "b"),
        from_here=("b[:i + 1]", "b[i:]"),
        near_change=(f"[{change.code} for x", f"[{change.near} for x"),
        forgets_change=(f"[{change.code} for x", "[x for x"),
    ) | swaps(correct["loop"], starts_at_zero=("s = b[0]", "s = 0"), misspells=("print(*t)", "print(*c)"))

    def answer(values: list[int]) -> str:
        changed = [change.of(x) for x in values]
        return " ".join(str(total(changed[: length + 1])) for length in range(len(changed)))

    wanted = f"the running {kind} of " + (f"the {change.phrase} of the numbers" if change.slug else "the numbers")
    return list_task("running-totals", (kind, change.slug or "plain"), wanted, answer, correct, wrong)


# The relation of a left x and a right y: its code, its words, a plausible wrong relation.
RELATIONS = {
    "increasing": ("x < y", "the right one is larger than the left one", "x <= y"),
    "decreasing": ("x > y", "the right one is smaller than the left one", "x >= y"),
    "equal": ("x == y", "both are equal", "x != y"),
    "even-sum": ("(x + y) % 2 == 0", "the sum is even", "(x + y) % 2 == 1"),
    "odd-sum": ("(x + y) % 2 == 1", "the sum is odd", "(x + y) % 2 == 0"),
    "sum-above-10": ("x + y > 10", "the sum is greater than 10", "x + y >= 10"),
    "sum-below-5": ("x + y < 5", "the sum is less than 5", "x + y <= 5"),
    "sum-multiple-3": ("(x + y) % 3 == 0", "the sum is divisible by 3", "x + y % 3 == 0"),
    "positive-product": ("x * y > 0", "the product is positive", "x * y >= 0"),
    "negative-product": ("x * y < 0", "the product is negative", "x * y <= 0"),
}


def counted_pairs() -> Iterator[Task]:
    """Neighbours or all pairs i < j, and a relation between the two."""
    for relation in RELATIONS:
        yield _neighbours(relation)
        yield _all_pairs(relation)


def _pairs_task(scope: str, relation: str, what: str, pairs: Callable, correct: dict, wrong: dict) -> Task:
    code, phrase, _ = RELATIONS[relation]

    def answer(values: list[int]) -> int:
        return sum(bool(eval(code, {"x": x, "y": y})) for x, y in pairs(values))

    wanted = f"the count of {what} where {phrase}"
    return list_task("counted-pairs", (scope, relation), wanted, answer, correct, wrong, edges=PAIR_EDGES)


def _neighbours(relation: str) -> Task:
    code, _, near = RELATIONS[relation]
    indexed = code.replace("x", "a[i]").replace("y", "a[i + 1]")
    correct = {
        "comprehension": lines(READ_LIST, f"b = [x for x, y in zip(a, a[1:]) if {code}]", "print(len(b))"),
        "loop": lines(READ_LIST, f"s = 0\nfor i in range(n - 1):\n    if {indexed}:\n        s += 1", "print(s)"),
        "generator": lines(READ_LIST, f"print(sum(1 for x, y in zip(a, a[1:]) if {code}))"),
    }
    wrong = swaps(
        correct["comprehension"],
        near_relation=(code, near),
        other_pairs=("zip(a, a[1:])", "zip(a[::2], a[1::2])"),
        adds_up=("print(len(b))", "print(sum(b))"),
    ) | swaps(
        correct["loop"],
        runs_over=("range(n - 1)", "range(n)"),
        misspells=("s += 1", "t += 1"),
        stops_early=("range(n - 1)", "range(n - 2)"),
    )
    return _pairs_task("neighbours", relation, "pairs of neighbours", pairwise, correct, wrong)


def _all_pairs(relation: str) -> Task:
    code, _, near = RELATIONS[relation]
    indexed = code.replace("x", "a[i]").replace("y", "a[j]")
    walk = f"for i in range(n):\n    for j in range(i + 1, n):\n        if {indexed}:\n            s += 1"
    listed = f"[x for x, y in itertools.combinations(a, 2) if {code}]"
    correct = {
        "comprehension": lines("import itertools", READ_LIST, f"b = {listed}", "print(len(b))"),
        "loop": lines(READ_LIST, "s = 0", walk, "print(s)"),
        "generator": lines("import itertools", READ_LIST, f"print(sum(1 {listed[3:-1]}))"),
    }
    wrong = swaps(
        correct["comprehension"],
        near_relation=(code, near),
        other_pairs=("itertools.combinations(a, 2)", "zip(a, a[1:])"),
        adds_up=("print(len(b))", "print(sum(b))"),
    ) | swaps(
        correct["loop"],
        twice=("range(i + 1, n)", "range(n)"),
        with_itself=("range(i + 1, n)", "range(i, n)"),
        misspells=("s += 1", "t += 1"),
    )
    return _pairs_task("pairs", relation, "pairs of numbers", lambda values: combinations(values, 2), correct, wrong)
