"""Numbers in outputs: which tokens are numbers, and whether two numbers are close enough.

Doubles where both numbers are doubles; decimals where a double would overflow, underflow or round an integer.
NaN equals NaN, infinity equals itself, and neither equals a number.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, localcontext

DECIMAL_DIGITS = 40
EXACT_INTEGERS = 1 << 53
INTEGER = re.compile(rb"[+-]?[0-9]+")
NUMBER = re.compile(
    rb"[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|inf(?:inity)?|nan)", re.IGNORECASE
)
WORD = re.compile(rb"[+-]?(?:inf|nan)", re.IGNORECASE)
NONZERO = re.compile(rb"[+-]?[0.]*[1-9]")


@dataclass(frozen=True)
class Tolerance:
    """How far a number may be from the expected one: by the absolute error, or by the error relative to the
    expected number. None: that kind of error excuses nothing.
    """

    absolute: float | None
    relative: float | None

    def allows(self, error: float, size: float) -> bool:
        """Whether an error is small enough beside an expected number of this size."""
        return (self.absolute is not None and error <= self.absolute) or (
            self.relative is not None and error <= self.relative * size
        )


def tokens_match(actual: bytes, expected: bytes, tolerance: Tolerance) -> bool:
    """Whether two tokens are equal, or numbers within the tolerance."""
    if actual == expected:
        return True
    if not (NUMBER.fullmatch(actual) and NUMBER.fullmatch(expected)):
        return False
    if INTEGER.fullmatch(actual) and INTEGER.fullmatch(expected) and _digits(actual) == _digits(expected):
        return True
    a, e = float(actual), float(expected)
    if _is_inexact(a, actual) or _is_inexact(e, expected):
        return decimals_match(actual, expected, tolerance)
    return floats_match(a, e, tolerance)


def floats_match(actual: float, expected: float, tolerance: Tolerance) -> bool:
    """Whether two floats are within the tolerance."""
    if math.isnan(actual) or math.isnan(expected):
        return math.isnan(actual) and math.isnan(expected)
    if math.isinf(actual) or math.isinf(expected):
        return actual == expected
    return actual == expected or tolerance.allows(abs(actual - expected), abs(expected))


def decimals_match(actual: bytes, expected: bytes, tolerance: Tolerance) -> bool:
    """As `floats_match`, of tokens that say more than a double can hold."""
    with localcontext(Context(prec=DECIMAL_DIGITS, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[])):
        a, e = Decimal(actual.decode()), Decimal(expected.decode())
        if not (a.is_finite() and e.is_finite()):
            return False
        error, size = abs(a - e), abs(e)
        absolute, relative = (
            None if one is None else Decimal(repr(one)) for one in (tolerance.absolute, tolerance.relative)
        )
        return (
            not error
            or (absolute is not None and error <= absolute)
            or (relative is not None and error <= relative * size)
        )


def _is_inexact(number: float, token: bytes) -> bool:
    """Whether the double of a token is infinite, zero or a rounded integer, and the token is not."""
    if math.isinf(number):
        return WORD.match(token) is None
    if number == 0:
        return NONZERO.match(token) is not None
    return abs(number) >= EXACT_INTEGERS and INTEGER.fullmatch(token) is not None


def _digits(token: bytes) -> tuple[bool, bytes]:
    """Sign and digits without leading zeros: integers of any length are compared in linear time."""
    digits = token.lstrip(b"+-").lstrip(b"0")
    return (token.startswith(b"-") and bool(digits), digits)
