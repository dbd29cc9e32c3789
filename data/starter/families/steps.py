"""Families that repeat a step: a fixed number of times, or until an end is reached."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product

from families.arithmetic import READ_ONE, single
from families.parts import CUBES, DOUBLES, SQUARES, SUCCESSORS, TRIPLES, Change
from families.task import Task, lines, swaps, title_of

READ_X_AND_K = "x, k = map(int, input().split())"


def repeat() -> Iterator[Task]:
    """Apply a change k times; the remainder keeps the numbers small."""
    for change, modulus, shown in product(
        (SQUARES, CUBES, DOUBLES, TRIPLES, SUCCESSORS), (7, 10, 100, 1000), ("value", "all")
    ):
        yield _repeat(change, modulus, shown == "all")


def _repeat(change: Change, modulus: int, all_values: bool) -> Task:
    step = f"({change.code}) % {modulus}"
    start, keep, show = ("b = []", "    b.append(x)", "print(*b)") if all_values else ("", "", "print(x)")
    looped = ["for i in range(k):", f"    x = {step}", keep, show]
    correct = {
        "loop": lines(READ_X_AND_K, start, *looped),
        "while": lines(READ_X_AND_K, start, "while k > 0:", f"    x = {step}", keep, "    k -= 1", show),
        "function": lines(f"f = lambda x: {step}", READ_X_AND_K, start, looped[0], "    x = f(x)", keep, show),
    }
    wrong = swaps(
        correct["loop"],
        one_less=("range(k)", "range(k - 1)"),
        near_change=(change.code, change.near),
        other_modulus=(f"% {modulus}", f"% {modulus + 1}"),
        forgets_modulus=(f" % {modulus}", ""),
        other_input=("input().split())", "input())"),
        shows_count=("print(x)", "print(k)"),
        shows_last=("print(*b)", "print(x)"),
    )
    goal = "the value after each step" if all_values else "x after the last step"
    return Task(
        family="repeat",
        parts=(change.slug, str(modulus), "all" if all_values else "value"),
        title=title_of(f"{single(change, 'x')} modulo {modulus}, {goal}"),
        statement=f"Given x and k, replace x k times by {single(change, 'x')} modulo {modulus} and print {goal}.",
        difficulty=3,
        answer=_repeated(change, modulus, all_values),
        example=lambda random: f"{random.randint(2, 30)} {random.randint(1, 6)}\n",
        edges=("0 1\n", "1 1\n", "2 5\n", "7 3\n", "10 2\n", "99 4\n"),
        correct=correct,
        wrong=wrong,
        # Without the appended values, so that what never ends needs no memory.
        hang=correct["while"].replace("    k -= 1\n", "").replace("    b.append(x)\n", ""),
    )


def _repeated(change: Change, modulus: int, all_values: bool) -> Callable[[str], str]:
    def answer(text: str) -> str:
        x, k = map(int, text.split())
        seen = []
        for _ in range(k):
            x = change.of(x) % modulus
            seen.append(x)
        return " ".join(map(str, seen)) if all_values else str(x)

    return answer


# The condition to go on, the words for the end, a plausible wrong condition, and the condition as a function.
ENDS: dict[str, tuple[str, str, str, Callable[[int], bool]]] = {
    "0": ("x > 0", "0 or less", "x > 1", lambda x: x > 0),
    "1": ("x > 1", "1 or less", "x >= 1", lambda x: x > 1),
    "below-10": ("x >= 10", "less than 10", "x > 10", lambda x: x >= 10),
}
WALKS: dict[str, tuple[str, str, str, Callable[[int], int]]] = {
    "halve": ("x //= 2", "halved (rounded down)", "x = (x + 1) // 2 - 1", lambda x: x // 2),
    "third": ("x //= 3", "divided by 3 (rounded down)", "x = x // 3 - 1", lambda x: x // 3),
    "drop-digit": ("x //= 10", "freed of its last digit", "x = x // 10 - 1", lambda x: x // 10),
    "minus-2": ("x -= 2", "decreased by 2", "x -= 3", lambda x: x - 2),
    "minus-3": ("x -= 3", "decreased by 3", "x -= 2", lambda x: x - 3),
    "minus-7": ("x -= 7", "decreased by 7", "x -= 5", lambda x: x - 7),
}
SHOWN = {
    "steps": ("the count of steps", "s += 1", "len(b)"),
    "sum": ("the sum of all values before each step", "s += x", "sum(b)"),
}


def countdown() -> Iterator[Task]:
    """Step down from n until an end is reached; count the steps or add up the values on the way."""
    for end, walk, shown in product(ENDS, WALKS, SHOWN):
        yield _countdown(end, walk, shown)


def _countdown(end: str, walk: str, shown: str) -> Task:
    goes_on, until, near_end, _ = ENDS[end]
    step, phrase, near_step, _ = WALKS[walk]
    goal, keep, listed = SHOWN[shown]
    body = [f"    {keep}", f"    {step}", "print(s)"]
    leave = ["while True:", f"    if not {goes_on}:", "        break"]
    correct = {
        "loop": lines(READ_ONE, "s = 0", f"while {goes_on}:", *body),
        "list": lines(READ_ONE, "b = []", f"while {goes_on}:", "    b.append(x)", f"    {step}", f"print({listed})"),
        "forever": lines(READ_ONE, "s = 0", *leave, *body),
    }
    wrong = swaps(
        correct["loop"],
        near_end=(goes_on, near_end),
        near_step=(step, near_step),
        starts_at_one=("s = 0", "s = 1"),
        shows_end=("print(s)", "print(x)"),
        misspells=("print(s)", "print(count)"),
        step_first=(f"    {keep}\n    {step}", f"    {step}\n    {keep}"),
        once=("while ", "if "),
    )
    return Task(
        family="countdown",
        parts=(end, walk, shown),
        title=title_of(f"{goal}: {phrase} until {until}"),
        statement=f"Given n, n is {phrase} until it is {until}. Print {goal}.",
        difficulty=3,
        answer=_walked(end, walk, shown),
        example=lambda random: f"{random.randint(2, 300)}\n",
        edges=("0\n", "1\n", "2\n", "10\n", "9\n", "100\n", "64\n"),
        correct=correct,
        wrong=wrong,
        hang=correct["loop"].replace(f"    {step}\n", "").replace("s += x", "s = x"),
    )


def _walked(end: str, walk: str, shown: str) -> Callable[[str], str]:
    goes_on, do = ENDS[end][3], WALKS[walk][3]

    def answer(text: str) -> str:
        x, seen = int(text), []
        while goes_on(x):
            seen.append(x)
            x = do(x)
        return str(len(seen) if shown == "steps" else sum(seen))

    return answer
