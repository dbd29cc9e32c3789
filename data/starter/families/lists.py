"""Families that look at a list of numbers value by value: two conditions, replacements, all or any, positions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product

from families.parts import (
    ABOVE_5,
    ABOVE_10,
    BELOW_5,
    BELOW_10,
    CONDITIONS,
    COUNT,
    DOUBLES,
    EVEN,
    INCREASING,
    LARGEST,
    MULTIPLE_3,
    MULTIPLE_5,
    NEGATIVE,
    NOT_3,
    ODD,
    OPPOSITES,
    POSITIVE,
    SMALLEST,
    SQUARES,
    SUCCESSORS,
    SUM,
    Change,
    Condition,
    Finish,
)
from families.sources import LIST_EDGES, NUMBERS, READ_LIST, READ_LIST_WHOLE, TELLING_VALUES, listed, tail
from families.task import Task, lines, swaps, title_of

MISREADS = ("list(map(int, input().split()))", "[int(input())]")


def list_task(
    family: str,
    parts: tuple[str, ...],
    wanted: str,
    answer: Callable[[list[int]], object],
    correct: dict[str, str],
    wrong: dict[str, str],
    note: str = "",
    edges: tuple[str, ...] = LIST_EDGES,
) -> Task:
    """A task whose input is n and n integers; `answer` maps the integers to what is printed."""

    def reference(text: str) -> str:
        return str(answer(tail(text)))

    statement = f"{NUMBERS.given}, print {wanted}.{note}"
    return Task(family, parts, title_of(wanted), statement, 3, reference, NUMBERS.example, edges, correct, wrong)


SINGLE = (EVEN, ODD, POSITIVE, NEGATIVE)
TAILED = (ABOVE_5, ABOVE_10, BELOW_5, BELOW_10, MULTIPLE_3, MULTIPLE_5, NOT_3)
JOINED_FINISHES = (SUM, COUNT, LARGEST, SMALLEST, INCREASING)


def both_conditions() -> Iterator[Task]:
    for finish, one, two in product(JOINED_FINISHES, SINGLE, TAILED):
        selection = two.phrase.format(f"the {one.slug} numbers")
        yield _joined("both-conditions", ("and", "or"), finish.phrase.format(selection), finish, one, two)


def either_condition() -> Iterator[Task]:
    for finish, one, two in product(JOINED_FINISHES, SINGLE, TAILED):
        selection = f"the numbers that are {one.slug} or {two.predicate}"
        yield _joined("either-condition", ("or", "and"), finish.phrase.format(selection), finish, one, two)


def _joined(family: str, joins: tuple[str, str], wanted: str, finish: Finish, one: Condition, two: Condition) -> Task:
    """Two conditions joined by the first of `joins`; the second is the plausible mistake."""
    code, near = (f"{one.code} {word} {two.code}" for word in joins)
    collect, show = f"b = [x for x in a if {code}]", f"print({finish.code})"
    correct = {
        "comprehension": lines(READ_LIST, collect, show),
        "loop": lines(READ_LIST, "b = []", f"for x in a:\n    if {code}:\n        b.append(x)", show),
        "functional": lines(READ_LIST, f"b = list(filter(lambda x: {code}, a))", show),
        "other-reading": lines(READ_LIST_WHOLE, collect, show),
    }
    wrong = swaps(
        correct["comprehension"],
        other_join=(code, near),
        forgets_first=(code, two.code),
        forgets_second=(code, one.code),
        near_condition=(two.code, two.near),
        near_finish=(finish.code, finish.near),
    ) | swaps(correct["loop"], misspells=("b.append", "c.append"), skips_first=("in a:", "in a[1:]:"))
    meet = all if joins[0] == "and" else any

    def answer(values: list[int]) -> str:
        return finish.answer([x for x in values if meet((one.holds(x), two.holds(x)))])

    return list_task(family, (finish.slug, one.slug, two.slug), wanted, answer, correct, wrong, finish.empty)


def replace_some() -> Iterator[Task]:
    constants = (Change("zeros", "zeros", "0", "1"), Change("ones", "ones", "1", "0"))
    for new, c in product((*constants, DOUBLES, SQUARES, OPPOSITES, SUCCESSORS), CONDITIONS):
        yield _replace(new, c, new.phrase if new in constants else f"their {new.phrase}")


def _replace(new: Change, c: Condition, phrase: str) -> Task:
    chosen = f"{new.code} if {c.code} else x"
    collect = f"b = [{chosen} for x in a]"
    correct = {
        "comprehension": lines(READ_LIST, collect, "print(*b)"),
        "loop": lines(
            READ_LIST, f"b = []\nfor x in a:\n    if {c.code}:\n        x = {new.code}\n    b.append(x)", "print(*b)"
        ),
        "functional": lines(READ_LIST, f"b = list(map(lambda x: {chosen}, a))", "print(*b)"),
        "in-place": lines(
            READ_LIST, f"for i, x in enumerate(a):\n    if {c.code}:\n        a[i] = {new.code}", "print(*a)"
        ),
    }
    wrong = swaps(
        correct["comprehension"],
        near_condition=(c.code, c.near),
        near_value=(f"[{new.code} if", f"[{new.near} if"),
        drops_others=(collect, f"b = [{new.code} for x in a if {c.code}]"),
        misreads=MISREADS,
        prints_list=("print(*b)", "print(b)"),
    ) | swaps(correct["loop"], misindented=("    b.append", "        b.append"))
    wanted = f"the numbers in the given order with all {c.phrase.format('numbers')} replaced by {phrase}"

    def answer(values: list[int]) -> str:
        return " ".join(str(new.of(x) if c.holds(x) else x) for x in values)

    return list_task("replace-some", (new.slug, c.slug), wanted, answer, correct, wrong)


def all_or_any() -> Iterator[Task]:
    for c in CONDITIONS:
        yield _quantified(c, "all", "any", "b == a", f"YES if all numbers are {c.predicate}, else NO", all)
        yield _quantified(c, "any", "all", "b", f"YES if any number is {c.predicate}, else NO", any)


def _quantified(
    c: Condition, name: str, other: str, counted: str, wanted: str, meet: Callable[[Iterator[bool]], bool]
) -> Task:
    check, show = f"{name}({c.code} for x in a)", f"print('YES' if {counted} else 'NO')"
    correct = {
        "quantifier": lines(READ_LIST, f"print('YES' if {check} else 'NO')"),
        "comprehension": lines(READ_LIST, f"b = [x for x in a if {c.code}]", show),
        "loop": lines(READ_LIST, f"b = []\nfor x in a:\n    if {c.code}:\n        b.append(x)", show),
        "other-reading": lines(READ_LIST_WHOLE, f"print('YES' if {check} else 'NO')"),
    }
    wrong = swaps(
        correct["quantifier"],
        other_quantity=(f"{name}(", f"{other}("),
        near_condition=(c.code, c.near),
        swapped_words=("'YES' if", "'NO' if"),
        first_only=(f"{check} else", f"{c.code.replace('x', 'a[0]')} else"),
        lower_case=("'NO'", "'No'"),
        misreads=MISREADS,
    )

    def answer(values: list[int]) -> str:
        return "YES" if meet(c.holds(x) for x in values) else "NO"

    holding, failing = [x for x in TELLING_VALUES if c.holds(x)], [x for x in TELLING_VALUES if not c.holds(x)]
    edges = (listed(holding[:4]), listed(holding[-1:]), listed(holding[-3:]), listed(failing[:4]), listed(failing[:1]))
    return list_task("all-or-any", (name, c.slug), wanted, answer, correct, wrong, edges=edges)


def position_of() -> Iterator[Task]:
    for c in CONDITIONS:
        yield _position("first", 0, " and s == 0", c)
        yield _position("last", -1, "", c)


def _position(end: str, index: int, stays: str, c: Condition) -> Task:
    collect, show = f"b = [i + 1 for i, x in enumerate(a) if {c.code}]", f"print(b[{index}] if b else 0)"
    walk = f"for i, x in enumerate(a):\n    if {c.code}"
    correct = {
        "comprehension": lines(READ_LIST, collect, show),
        "loop": lines(READ_LIST, f"b = []\n{walk}:\n        b.append(i + 1)", show),
        "running": lines(READ_LIST, f"s = 0\n{walk}{stays}:\n        s = i + 1", "print(s)"),
        "other-reading": lines(READ_LIST_WHOLE, collect, show),
    }
    wrong = swaps(
        correct["comprehension"],
        counts_from_zero=("i + 1", "i"),
        near_condition=(c.code, c.near),
        no_default=(" if b else 0", ""),
        other_end=(f"b[{index}]", f"b[{-1 - index}]"),
        prints_value=("i + 1", "x"),
        minus_one=("else 0", "else -1"),
    )
    wanted = f"the position (from 1) of the {end} of the {c.phrase.format('numbers')}"

    def answer(values: list[int]) -> int:
        positions = [number for number, x in enumerate(values, start=1) if c.holds(x)]
        return positions[index] if positions else 0

    return list_task("position-of", (end, c.slug), wanted, answer, correct, wrong, " Print 0 if there are none.")


WORDS = {"yes-no": ("YES", "NO"), "good-bad": ("GOOD", "BAD"), "one-zero": ("1", "0"), "keep-drop": ("KEEP", "DROP")}


def each_case() -> Iterator[Task]:
    """One word a line for each number: YES/NO and its kin."""
    for slug, c in product(WORDS, CONDITIONS):
        yield _each(slug, c)


def _each(slug: str, c: Condition) -> Task:
    good, bad = WORDS[slug]
    word = f"'{good}' if {c.code} else '{bad}'"
    branches = f"for x in a:\n    if {c.code}:\n        print('{good}')\n    else:\n        print('{bad}')"
    correct = {
        "loop": lines(READ_LIST, f"for x in a:\n    print({word})"),
        "branches": lines(READ_LIST, branches),
        "comprehension": lines(READ_LIST, f"b = [{word} for x in a]", "print(*b, sep='\\n')"),
    }
    wrong = swaps(
        correct["loop"],
        near_condition=(c.code, c.near),
        swapped=(word, f"'{bad}' if {c.code} else '{good}'"),
        prints_numbers=(word, "x"),
        skips_first=("in a:", "in a[1:]:"),
        lower_case=(f"'{good}'", f"'{good.lower()}'"),
        misreads=MISREADS,
    )
    wanted = f"for each number on its own line {good} if it is {c.predicate}, else {bad}"

    def answer(values: list[int]) -> str:
        return "\n".join(good if c.holds(x) else bad for x in values)

    return list_task("each-case", (slug, c.slug), wanted, answer, correct, wrong)
