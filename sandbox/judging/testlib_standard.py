"""Comparison as testlib's standard checkers do it, for problems that name one instead of bringing a program.

rcmp4, rcmp6, rcmp9  doubles, within 1e-4, 1e-6 or 1e-9, absolute or relative
rcmp                 one double, within an absolute 1.5e-6
wcmp                 words            lcmp    lines, each as its words         fcmp  lines
ncmp                 integers (64)    icmp    one integer (32)                 hcmp  one integer of any size
yesno, nyesno        one or more of YES and NO, in any case

Source: https://github.com/MikeMirzayanov/testlib, testlib.h and checkers/. As there, white space is blanks,
tabs and line ends, and an expected output that the checker cannot read is a fault of the problem.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import partial

from sandbox.judging.default_validator import DECIMAL, has_exponent

BLANKS = re.compile(rb"[ \t\r\n]+")
CARRIAGE_RETURN = re.compile(rb"\r(\n|[^\n]|\Z)")
HUGE = re.compile(rb"0|-?[1-9][0-9]*")
LONGEST_INTEGER = 20  # characters
ROUNDING = 1e-15
RCMP_EPSILON = 1.5e-6


class AnswerRefused(ValueError):
    """The checker cannot read the expected output: one line that says why."""


class Refused(ValueError):
    """The checker cannot read the output."""


def outputs_match(kind: str, actual: bytes, expected: bytes) -> bool:
    """Whether the checker of this name accepts `actual`. Raises AnswerRefused."""
    try:
        return STANDARD_CHECKERS[kind](actual, expected)
    except Refused:
        return False


def tokens(text: bytes) -> list[bytes]:
    return [token for token in BLANKS.split(text) if token]


def lines(text: bytes) -> list[bytes]:
    """The lines as testlib reads them: it drops a carriage return that no line feed follows, and reads one
    at the end of the file as a byte 255.
    """
    text = CARRIAGE_RETURN.sub(lambda match: match[1] or b"\xff", text)
    parts = text.split(b"\n")
    return parts[:-1] if not parts[-1] else parts


def read_answer(read: Callable[[bytes], object], token: bytes) -> object:
    """A token of the expected output. Raises AnswerRefused."""
    try:
        return read(token)
    except Refused as error:
        raise AnswerRefused(f"the expected output: {error}") from error


def sequences(
    read: Callable[[bytes], object],
    match: Callable[..., bool],
    checked: int | None,
    actual: bytes,
    expected: bytes,
) -> bool:
    """Token by token, as far as both go. `checked`: how many more of the expected output are read then; None:
    all.
    """
    expected_tokens, actual_tokens = tokens(expected), tokens(actual)
    for token, other in zip(expected_tokens, actual_tokens, strict=False):
        if not match(read_answer(read, token), read(other)):
            return False
    for token in expected_tokens[len(actual_tokens) :][:checked]:
        read_answer(read, token)
    return len(expected_tokens) == len(actual_tokens)


def single(
    read: Callable[[bytes], object], match: Callable[..., bool], actual: bytes, expected: bytes
) -> bool:
    """One token; what follows it in the expected output is not read."""
    expected_tokens, actual_tokens = tokens(expected)[:1], tokens(actual)
    if not expected_tokens:
        raise AnswerRefused("the expected output is empty")
    answer = read_answer(read, expected_tokens[0])
    return len(actual_tokens) == 1 and match(answer, read(actual_tokens[0]))


def single_word(read: Callable[[bytes], object], is_alone: bool, actual: bytes, expected: bytes) -> bool:
    """As `single`, but an empty output is wrong whatever is expected; `is_alone`: nothing may follow."""
    expected_tokens, actual_tokens = tokens(expected), tokens(actual)
    if expected_tokens and not actual_tokens:
        return False
    if is_alone and len(expected_tokens) > 1:
        raise AnswerRefused(f"the expected output has {len(expected_tokens)} words instead of one")
    return single(read, equal, actual, expected)


def words(actual: bytes, expected: bytes) -> bool:
    return tokens(actual) == tokens(expected)


def compare_lines(parts: Callable[[bytes], object], actual: bytes, expected: bytes) -> bool:
    expected_lines, actual_lines = lines(expected), lines(actual)
    actual_lines += [b""] * (len(expected_lines) - len(actual_lines))  # as if read behind the end of the file
    rest = b"".join(actual_lines[len(expected_lines) :])
    return not tokens(rest) and all(
        parts(a) == parts(e) for a, e in zip(actual_lines, expected_lines, strict=False)
    )


def to_double(token: bytes) -> float:
    """Raises Refused. Numbers beyond a double are infinite."""
    parts = DECIMAL.fullmatch(token)
    if parts is None:
        raise Refused(f"expected a double, not {token[:40]!r}")
    return float(parts[1] + b"e" + parts[2] if has_exponent(parts) else parts[1])


def to_integer(bits: int, token: bytes) -> int:
    """Raises Refused, also for leading zeros and plus signs."""
    if len(token) > LONGEST_INTEGER or not HUGE.fullmatch(token):
        raise Refused(f"expected an integer, not {token[:40]!r}")
    number = int(token)
    if not -(1 << bits - 1) <= number < 1 << bits - 1:
        raise Refused(f"expected an integer of {bits} bits, not {number}")
    return number


def to_huge(token: bytes) -> bytes:
    if not HUGE.fullmatch(token):
        raise Refused(f"expected an integer, not {token[:40]!r}")
    return token


def to_yes_or_no(token: bytes) -> bytes:
    if token.upper() not in (b"YES", b"NO"):
        raise Refused(f"expected YES or NO, not {token[:40]!r}")
    return token.upper()


def doubles_match(epsilon: float, expected: float, actual: float) -> bool:
    """testlib's doubleCompare."""
    epsilon += ROUNDING
    if math.isinf(expected) or math.isinf(actual):
        return expected == actual
    if abs(actual - expected) <= epsilon:
        return True
    bounds = expected * (1.0 - epsilon), expected * (1.0 + epsilon)
    return min(bounds) <= actual <= max(bounds)


def near(expected: float, actual: float) -> bool:
    """rcmp: NaN, the difference of two infinities, is not more than the error allowed."""
    return not abs(expected - actual) > RCMP_EPSILON + ROUNDING


def equal(expected: object, actual: object) -> bool:
    return expected == actual


STANDARD_CHECKERS: dict[str, Callable[[bytes, bytes], bool]] = {
    "rcmp": partial(single, to_double, near),
    "rcmp4": partial(sequences, to_double, partial(doubles_match, 1e-4), 1),
    "rcmp6": partial(sequences, to_double, partial(doubles_match, 1e-6), 1),
    "rcmp9": partial(sequences, to_double, partial(doubles_match, 1e-9), 1),
    "wcmp": words,
    "lcmp": partial(compare_lines, bytes.split),
    "fcmp": partial(compare_lines, bytes),
    "ncmp": partial(sequences, partial(to_integer, 64), equal, None),
    "icmp": partial(single, partial(to_integer, 32), equal),
    "hcmp": partial(single_word, to_huge, True),
    "yesno": partial(single_word, to_yes_or_no, False),
    "nyesno": partial(sequences, to_yes_or_no, equal, 0),
}
