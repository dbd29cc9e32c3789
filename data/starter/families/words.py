"""Words of a line and letters of a word: a vocabulary for pipelines on texts, and the family of text steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import permutations
from random import Random
from typing import Any

from families.parts import INCREASING, Change, Condition, Finish
from families.sources import Source
from families.task import Task, lines, swaps

WORDS = (
    "ada",
    "apple",
    "banana",
    "bob",
    "code",
    "deed",
    "eel",
    "egg",
    "fig",
    "grape",
    "hat",
    "idea",
    "kayak",
    "kiwi",
    "level",
    "lime",
    "mango",
    "noon",
    "oak",
    "ocean",
    "olive",
    "pear",
    "plum",
    "river",
    "sea",
    "sky",
    "stats",
    "stone",
    "tree",
    "up",
    "violet",
    "we",
    "xi",
    "zebra",
    "a",
    "dry",
)
LETTERS = "aaeeioubcdghklmnprstyz"
WORD_EDGES = ("a\n", "sky\n", "banana\n", "we we we\n", "noon level kayak\n", "up xi a sea\n", "stone apple stone\n")
LETTER_EDGES = ("a\n", "b\n", "z\n", "aaaa\n", "sky\n", "banana\n", "level\n")


def _random_line(random: Random) -> str:
    return " ".join(random.choice(WORDS) for _ in range(random.randint(3, 6))) + "\n"


def random_word(random: Random) -> str:
    return "".join(random.choice(LETTERS) for _ in range(random.randint(4, 10))) + "\n"


def _c(slug: str, phrase: str, code: str, near: str) -> Condition:
    return Condition(slug, phrase, code, near)


WORD_CONDITIONS = (
    _c("longer-3", "{} longer than 3 letters", "len(x) > 3", "len(x) >= 3"),
    _c("longer-4", "{} longer than 4 letters", "len(x) > 4", "len(x) >= 4"),
    _c("shorter-5", "{} shorter than 5 letters", "len(x) < 5", "len(x) <= 5"),
    _c("even-length", "{} of even length", "len(x) % 2 == 0", "len(x) % 2 == 1"),
    _c("odd-length", "{} of odd length", "len(x) % 2 == 1", "len(x) % 2 == 0"),
    _c("with-a", "{} that contain a", "'a' in x", "x[0] == 'a'"),
    _c("with-e", "{} that contain e", "'e' in x", "x[-1] == 'e'"),
    _c("without-e", "{} that do not contain e", "'e' not in x", "'e' in x"),
    _c("vowel-start", "{} that start with a vowel", "x[0] in 'aeiou'", "x[-1] in 'aeiou'"),
    _c("vowel-end", "{} that end with a vowel", "x[-1] in 'aeiou'", "x[0] in 'aeiou'"),
    _c("palindromes", "{} that are palindromes", "x == x[::-1]", "x[0] == x[-1]"),
)
WORD_CHANGES = (
    Change("lengths", "lengths", "len(x)", "len(x) - 1"),
    Change("reversals", "reversals", "x[::-1]", "x"),
    Change("first-letters", "first letters", "x[0]", "x[1]"),
    Change("last-letters", "last letters", "x[-1]", "x[0]"),
    Change("uppercase", "uppercase forms", "x.upper()", "x.title()"),
    Change("capitalised", "capitalised forms", "x.title()", "x.upper()"),
    Change("twice", "doubled forms", "x * 2", "x * 3"),
)
LETTER_CONDITIONS = (
    _c("vowels", "vowels{}", "x in 'aeiou'", "x in 'aeio'"),
    _c("consonants", "consonants{}", "x not in 'aeiou'", "x in 'aeiou'"),
    _c("not-a", "letters{} other than a", "x != 'a'", "x == 'a'"),
    _c("not-e", "letters{} other than e", "x != 'e'", "x == 'e'"),
    _c("before-h", "letters{} before h", "x < 'h'", "x <= 'h'"),
    _c("after-k", "letters{} after k", "x > 'k'", "x >= 'k'"),
    _c("from-m", "letters{} from m to z", "x >= 'm'", "x > 'm'"),
)
LETTER_CHANGES = (
    Change("uppercase", "uppercase forms", "x.upper()", "x"),
    Change("twice", "doubled forms", "x * 2", "x"),
    Change("next", "successors in the alphabet", "chr(ord(x) + 1) if x != 'z' else 'a'", "chr(ord(x) + 1)"),
)


def _text_or_none(choose: Callable[[list[Any]], Any]) -> Callable[[list[Any]], str]:
    return lambda values: str(choose(values)) if values else "NONE"


NO_WORD = " Print NONE if there are none."
FIRST_WORD = Finish("first", "the first of {}", "b[0] if b else 'NONE'", "b[0]", _text_or_none(lambda b: b[0]), NO_WORD)
LAST_WORD = Finish("last", "the last of {}", "b[-1] if b else 'NONE'", "b[-1]", _text_or_none(lambda b: b[-1]), NO_WORD)
LONGEST = Finish(
    "longest",
    "the longest (first if several) of {}",
    "max(b, key=len, default='NONE')",
    "max(b, default='NONE')",
    _text_or_none(lambda b: max(b, key=len)),
    NO_WORD,
)
SHORTEST = Finish(
    "shortest",
    "the shortest (first if several) of {}",
    "min(b, key=len, default='NONE')",
    "min(b, default='NONE')",
    _text_or_none(lambda b: min(b, key=len)),
    NO_WORD,
)
EARLIEST = Finish(
    "earliest", "the alphabetically first of {}", "min(b, default='NONE')", "min(b)", _text_or_none(min), NO_WORD
)
LATEST = Finish(
    "latest", "the alphabetically last of {}", "max(b, default='NONE')", "max(b)", _text_or_none(max), NO_WORD
)
COUNT_WORDS = Finish("count", "the count of {}", "len(b)", "len(set(b))", lambda b: str(len(b)))
DISTINCT_WORDS = Finish(
    "distinct", "how many different values there are among {}", "len(set(b))", "len(b)", lambda b: str(len(set(b)))
)
LETTERS_TOTAL = Finish(
    "letters", "the total length of {}", "len(''.join(b))", "len(b)", lambda b: str(sum(map(len, b)))
)
ALPHABETICAL = replace(INCREASING, slug="alphabetical", phrase="{} in alphabetical order")
PICKS = (FIRST_WORD, LAST_WORD, LONGEST, SHORTEST, EARLIEST, LATEST)
ENDS_OF_ALPHABET = (EARLIEST, LATEST)
JOINED = Finish("joined", "{} joined into one word", "''.join(b)", "*b", lambda b: "".join(b))
HYPHENS = Finish("hyphens", "{} joined by hyphens", "'-'.join(b)", "''.join(b)", lambda b: "-".join(b))
BACKWARDS = Finish(
    "backwards", "{} in reversed order as one word", "''.join(b[::-1])", "''.join(b)", lambda b: "".join(b[::-1])
)
SORTED = Finish(
    "sorted", "{} in alphabetical order as one word", "''.join(sorted(b))", "''.join(b)", lambda b: "".join(sorted(b))
)


LINE = Source(
    "Given a line of words",
    "words",
    "a = input().split()",
    str.split,
    _random_line,
    WORD_EDGES,
    WORD_CONDITIONS,
    WORD_CHANGES,
)
TEXT_LINE = replace(LINE, changes=WORD_CHANGES[1:])
LENGTH_LINE = replace(LINE, conditions=WORD_CONDITIONS[3:], changes=WORD_CHANGES[:1])
LETTERS_OF_S = Source(
    "Given a word s",
    " of s",
    "a = input()",
    lambda text: list(text.strip()),
    random_word,
    LETTER_EDGES,
    LETTER_CONDITIONS,
    LETTER_CHANGES,
)

TEXT_STEPS = {
    "reversed": ("reversed", "s[::-1]", "s"),
    "uppercase": ("turned into uppercase", "s.upper()", "s.title()"),
    "twice": ("written twice", "s * 2", "s * 3"),
    "without-first": ("freed of its first letter", "s[1:]", "s[:1]"),
    "without-last": ("freed of its last letter", "s[:-1]", "s[-1:]"),
    "first-half": ("cut to its first half (rounded down)", "s[:len(s) // 2]", "s[len(s) // 2:]"),
    "sorted": ("sorted by letter", "''.join(sorted(s))", "sorted(s)"),
    "every-second": ("cut to its letters at odd positions", "s[::2]", "s[1::2]"),
}


def text_steps() -> Iterator[Task]:
    """Two changes of a word, one after the other, where their order may matter."""
    for one, two in permutations(TEXT_STEPS, 2):
        yield _text_steps(one, two)


def _text_steps(one: str, two: str) -> Task:
    (phrase1, code1, near1), (phrase2, code2, near2) = TEXT_STEPS[one], TEXT_STEPS[two]
    first, second = f"s = {code1}\n", f"s = {code2}\n"
    correct = {
        "steps": lines("s = input()", first + second + "print(s)"),
        "functions": lines(f"f = lambda s: {code1}", f"g = lambda s: {code2}", "print(g(f(input())))"),
        "shown": lines("s = input()", first + f"print({code2})"),
    }
    wrong = swaps(
        correct["steps"],
        wrong_order=(first + second, second + first),
        forgets_first=(first, ""),
        forgets_second=(second, ""),
        near_first=(first, f"s = {near1}\n"),
        near_second=(second, f"s = {near2}\n"),
        reads_number=("s = input()", "s = int(input())"),
    )
    return Task(
        family="text-steps",
        parts=(one, two),
        title=f"A word {phrase1} and then {phrase2}",
        statement=f"Given a word s, print s {phrase1} and then {phrase2}.",
        difficulty=3,
        answer=lambda text: eval(code2, {"s": eval(code1, {"s": text.strip()})}),
        example=random_word,
        edges=("ab\n", "ba\n", "sky\n", "banana\n", "level\n", "zeta\n"),
        correct=correct,
        wrong=wrong,
    )
