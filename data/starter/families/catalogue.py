"""All families of the starter set, and how many problems of each it takes."""

from __future__ import annotations

from families import arithmetic, lists, sources, steps, walks, words
from families.parts import (
    COUNT,
    DECREASING,
    DISTINCT,
    FIRST,
    IN_ORDER,
    INCREASING,
    LARGEST,
    LAST,
    ORDERS,
    PRODUCT,
    REVERSED,
    SECOND_LARGEST,
    SECOND_SMALLEST,
    SMALLEST,
    SPREAD,
    SUM,
    TOTALS,
    UNIQUE,
    Finish,
)
from families.pipelines import pipeline_family
from families.sources import Source
from families.task import Family

NUMBERS = {"list": sources.NUMBERS}
NEIGHBOURS = {"gaps": sources.GAPS, "sums": sources.NEIGHBOUR_SUMS}
POSITIONS = {"odd": sources.AT_ODD, "even": sources.AT_EVEN}
LINE, TEXTS = {"line": words.LINE}, {"line": words.TEXT_LINE}
LENGTHS, LETTERS = {"line": words.LENGTH_LINE}, {"word": words.LETTERS_OF_S}
GRIDS = {"cells": sources.GRID, "rows": sources.ROW_SUMS}


def _pipeline(
    name: str, count: int, source: dict[str, Source], finishes: tuple[Finish, ...], **options: bool
) -> Family:
    return Family(name, count, pipeline_family(name, source, finishes, **options))


FAMILIES = (
    _pipeline("sum-of-list", 24, NUMBERS, (SUM, PRODUCT), cpp=True),
    _pipeline("count-in-list", 14, NUMBERS, (COUNT, DISTINCT), changes=False, cpp=True),
    _pipeline("extreme-of-list", 24, NUMBERS, (LARGEST, SMALLEST), cpp=True),
    _pipeline("spread-of-list", 18, NUMBERS, (SPREAD, DISTINCT)),
    _pipeline("second-of-list", 18, NUMBERS, (SECOND_LARGEST, SECOND_SMALLEST)),
    _pipeline("filter-list", 24, NUMBERS, ORDERS, changes=False),
    _pipeline("change-list", 20, NUMBERS, ORDERS, conditions=False, plain=False),
    _pipeline("filter-and-change", 24, NUMBERS, (IN_ORDER, REVERSED, UNIQUE), plain=False),
    _pipeline("ends-of-list", 20, NUMBERS, (FIRST, LAST)),
    _pipeline("numbers-to-n", 20, {"up": sources.UP_TO_N}, (SUM, COUNT, IN_ORDER)),
    _pipeline("interval", 20, {"between": sources.BETWEEN}, (SUM, COUNT, REVERSED)),
    _pipeline("digits", 20, {"digits": sources.DIGITS}, (SUM, COUNT, LARGEST, SMALLEST)),
    _pipeline("digit-list", 16, {"digits": sources.DIGITS}, (INCREASING, DECREASING, UNIQUE)),
    _pipeline("divisors", 20, {"divisors": sources.DIVISORS}, (SUM, COUNT, LARGEST, IN_ORDER)),
    _pipeline("neighbours", 24, NEIGHBOURS, TOTALS),
    _pipeline("positions", 24, POSITIONS, TOTALS),
    _pipeline("grid", 24, GRIDS, TOTALS),
    Family("both-conditions", 20, lists.both_conditions),
    Family("either-condition", 20, lists.either_condition),
    Family("replace-some", 20, lists.replace_some),
    Family("runs", 16, walks.runs),
    Family("all-or-any", 16, lists.all_or_any),
    Family("position-of", 16, lists.position_of),
    Family("compare-totals", 18, walks.compare_totals),
    Family("running-totals", 18, walks.running_totals),
    Family("counted-pairs", 16, walks.counted_pairs),
    Family("each-case", 18, lists.each_case),
    Family("branch", 22, arithmetic.branch),
    Family("chain", 20, arithmetic.chain),
    Family("repeat", 18, steps.repeat),
    Family("countdown", 18, steps.countdown),
    Family("three-numbers", 20, arithmetic.three_numbers),
    Family("two-numbers", 20, arithmetic.two_numbers),
    _pipeline("count-words", 18, LINE, (words.COUNT_WORDS, words.DISTINCT_WORDS, words.LETTERS_TOTAL), changes=False),
    _pipeline("list-words", 18, LINE, (IN_ORDER, REVERSED, words.ALPHABETICAL), changes=False),
    _pipeline("pick-word", 20, LINE, words.PICKS, changes=False),
    _pipeline("change-words", 22, LINE, (IN_ORDER, REVERSED), plain=False),
    _pipeline("word-lengths", 18, LENGTHS, (SUM, LARGEST, SMALLEST, INCREASING, DECREASING), plain=False),
    _pipeline("join-words", 20, TEXTS, (words.JOINED, words.HYPHENS)),
    _pipeline(
        "count-letters", 16, LETTERS, (words.COUNT_WORDS, words.DISTINCT_WORDS, *words.ENDS_OF_ALPHABET), changes=False
    ),
    _pipeline("keep-letters", 20, LETTERS, (words.JOINED, words.BACKWARDS, words.SORTED, words.HYPHENS)),
    Family("text-steps", 20, words.text_steps),
)
