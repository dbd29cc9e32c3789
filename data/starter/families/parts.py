"""The shared vocabulary: every part is a phrase of a statement beside the code that it means.

Families combine these parts, so that what is learnt about "even numbers" in one family serves in all others.
Each part also knows its nearest mistake, which is where the plausible wrong programs come from.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Condition:
    """A condition on `x`: `phrase` has one `{}` for the noun, `near` is a plausible wrong condition."""

    slug: str
    phrase: str
    code: str
    near: str
    cpp: str = ""

    def holds(self, x: Any) -> bool:
        return bool(eval(self.code, {"x": x}))  # our own text, never anybody else's

    @property
    def predicate(self) -> str:
        """The condition after "is": "even", "greater than 10"."""
        return self.phrase.format("").strip()


@dataclass(frozen=True)
class Change:
    """A new value made from `x`: `phrase` is the plural noun ("squares"), `near` a plausible wrong expression."""

    slug: str
    phrase: str
    code: str
    near: str
    cpp: str = ""

    def of(self, x: Any) -> Any:
        return eval(self.code, {"x": x})

    def on(self, name: str) -> str:
        """The expression for another variable than `x`."""
        return re.sub(r"\bx\b", name, self.code)


@dataclass(frozen=True)
class Finish:
    """What is printed of the list `b`: `phrase` has one `{}` for what is in the list.

    `empty` is the sentence that says what to print for no values; `answer` is the reference for a list of values;
    `start` and `step` are the running form for loops that keep no list (`step` has `{}` for the value).
    """

    slug: str
    phrase: str
    code: str
    near: str
    answer: Callable[[list[Any]], str]
    empty: str = ""
    start: str = ""
    step: str = ""


def _condition(slug: str, phrase: str, code: str, near: str, cpp: str = "") -> Condition:
    return Condition(slug, phrase, code, near, cpp or code)


EVEN = _condition("even", "even {}", "x % 2 == 0", "x % 2 == 1")
ODD = _condition("odd", "odd {}", "x % 2 == 1", "x % 2 == 0", "x % 2 != 0")
POSITIVE = _condition("positive", "positive {}", "x > 0", "x >= 0")
NEGATIVE = _condition("negative", "negative {}", "x < 0", "x <= 0")
ABOVE_5 = _condition("above-5", "{} greater than 5", "x > 5", "x >= 5")
ABOVE_10 = _condition("above-10", "{} greater than 10", "x > 10", "x >= 10")
BELOW_5 = _condition("below-5", "{} less than 5", "x < 5", "x <= 5")
BELOW_10 = _condition("below-10", "{} less than 10", "x < 10", "x <= 10")
MULTIPLE_3 = _condition("multiple-3", "{} divisible by 3", "x % 3 == 0", "x % 3 == 1")
MULTIPLE_5 = _condition("multiple-5", "{} divisible by 5", "x % 5 == 0", "x // 5 == 0")
NOT_3 = _condition("not-3", "{} not divisible by 3", "x % 3 != 0", "x % 3 == 0")
NOT_5 = _condition("not-5", "{} not divisible by 5", "x % 5 != 0", "x % 5 == 0")

CONDITIONS = (EVEN, ODD, POSITIVE, NEGATIVE, ABOVE_5, ABOVE_10, BELOW_5, BELOW_10, MULTIPLE_3, MULTIPLE_5, NOT_3, NOT_5)
NATURAL_CONDITIONS = tuple(c for c in CONDITIONS if c not in (POSITIVE, NEGATIVE))
DIGIT_CONDITIONS = (EVEN, ODD, POSITIVE, ABOVE_5, BELOW_5, MULTIPLE_3, NOT_3)


def _change(slug: str, phrase: str, code: str, near: str, cpp: str = "") -> Change:
    return Change(slug, phrase, code, near, cpp or code)


SQUARES = _change("squares", "squares", "x * x", "2 * x")
CUBES = _change("cubes", "cubes", "x * x * x", "3 * x")
DOUBLES = _change("doubles", "doubles", "2 * x", "x * x")
TRIPLES = _change("triples", "triples", "3 * x", "x * x * x")
ABSOLUTE = _change("absolute", "absolute values", "abs(x)", "-x")
OPPOSITES = _change("opposites", "opposites", "-x", "abs(x)")
LAST_DIGITS = _change("last-digits", "last digits", "abs(x) % 10", "abs(x) // 10")
REMAINDERS = _change("remainders-7", "remainders modulo 7", "x % 7", "x // 7", "((x % 7) + 7) % 7")
SUCCESSORS = _change("successors", "successors", "x + 1", "x - 1")

CHANGES = (SQUARES, CUBES, DOUBLES, TRIPLES, ABSOLUTE, OPPOSITES, LAST_DIGITS, REMAINDERS, SUCCESSORS)
NATURAL_CHANGES = tuple(c for c in CHANGES if c not in (ABSOLUTE, LAST_DIGITS))


def _joined(values: list[Any]) -> str:
    return " ".join(str(value) for value in values)


def _or_zero(choose: Callable[[list[Any]], Any]) -> Callable[[list[Any]], str]:
    return lambda values: str(choose(values)) if values else "0"


def _product(values: list[int]) -> str:
    product = 1
    for value in values:
        product *= value
    return str(product)


NONE = " Print 0 if there are none."
SUM = Finish("sum", "the sum of {}", "sum(b)", "len(b)", lambda b: str(sum(b)), "", "s = 0", "s += {}")
COUNT = Finish("count", "the count of {}", "len(b)", "sum(b)", lambda b: str(len(b)), "", "s = 0", "s += 1")
LARGEST = Finish("largest", "the largest of {}", "max(b, default=0)", "max(b)", _or_zero(max), NONE)
SMALLEST = Finish("smallest", "the smallest of {}", "min(b, default=0)", "min(b)", _or_zero(min), NONE)
FIRST = Finish("first", "the first of {}", "b[0] if b else 0", "b[0]", _or_zero(lambda b: b[0]), NONE)
LAST = Finish("last", "the last of {}", "b[-1] if b else 0", "b[-1]", _or_zero(lambda b: b[-1]), NONE)
SPREAD = Finish(
    "spread",
    "the largest minus the smallest of {}",
    "max(b) - min(b) if b else 0",
    "max(b) - min(b)",
    _or_zero(lambda b: max(b) - min(b)),
    NONE,
)
DISTINCT = Finish(
    "distinct", "how many different values there are among {}", "len(set(b))", "len(b)", lambda b: str(len(set(b)))
)
PRODUCT = Finish(
    "product",
    "the product of {}",
    "math.prod(b)",
    "sum(b)",
    _product,
    " Print 1 if there are none.",
    "s = 1",
    "s *= {}",
)
SECOND_LARGEST = Finish(
    "second-largest",
    "the second largest of {}",
    "sorted(b)[-2] if len(b) > 1 else 0",
    "sorted(b)[-2]",
    lambda b: str(sorted(b)[-2]) if len(b) > 1 else "0",
    " Print 0 if there are fewer than two.",
)
SECOND_SMALLEST = Finish(
    "second-smallest",
    "the second smallest of {}",
    "sorted(b)[1] if len(b) > 1 else 0",
    "sorted(b)[1]",
    lambda b: str(sorted(b)[1]) if len(b) > 1 else "0",
    " Print 0 if there are fewer than two.",
)
IN_ORDER = Finish("in-order", "{} in the given order", "*b", "*sorted(b)", _joined)
REVERSED = Finish("reversed", "{} in reversed order", "*b[::-1]", "*b", lambda b: _joined(b[::-1]))
INCREASING = Finish(
    "increasing", "{} in increasing order", "*sorted(b)", "*sorted(b)[::-1]", lambda b: _joined(sorted(b))
)
DECREASING = Finish(
    "decreasing", "{} in decreasing order", "*sorted(b)[::-1]", "*sorted(b)", lambda b: _joined(sorted(b)[::-1])
)
UNIQUE = Finish(
    "unique",
    "the different values among {} in increasing order",
    "*sorted(set(b))",
    "*sorted(b)",
    lambda b: _joined(sorted(set(b))),
)

TOTALS = (SUM, COUNT, LARGEST, SMALLEST)
ORDERS = (IN_ORDER, REVERSED, INCREASING, DECREASING)
