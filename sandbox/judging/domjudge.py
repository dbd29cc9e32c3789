"""Comparison as DOMjudge's default compare program does it, with its flags.

Source: https://github.com/DOMjudge/domjudge, sql/files/defaultdata/compare/compare.cc. It is Kattis' default
output validator, but where a tolerance is given every number is a long double, infinity equals itself, and
NaN equals NaN. So numbers of the size of a long double, and differences at the very edge of a tolerance, are
computed with its 64 bits.
"""

from __future__ import annotations

import re
from fractions import Fraction

from sandbox.judging.default_validator import DECIMAL, HEXADECIMAL, has_exponent, white_space
from sandbox.validator_flags import ValidatorFlags

MANTISSA_BITS, LEAST_EXPONENT, GREATEST_EXPONENT = 64, -16445, 16384
LARGEST_POWER = 6000  # of ten: beyond it, whatever the digits, everything is zero or infinite
SPECIAL = re.compile(rb"([+-]?)(?:(inf(?:inity)?)|nan)", re.IGNORECASE)
INFINITY, NAN = "infinity", "nan"
LongDouble = Fraction | tuple[str, bool]  # (infinity or NaN, whether it is negative)


def outputs_match(actual: bytes, expected: bytes, flags: ValidatorFlags) -> bool:
    """Whether DOMjudge's compare accepts `actual`."""
    if flags.space_change_sensitive and white_space(actual) != white_space(expected):
        return False
    actual_tokens, expected_tokens = actual.split(), expected.split()
    return len(actual_tokens) == len(expected_tokens) and all(
        tokens_match(a, e, flags) for a, e in zip(actual_tokens, expected_tokens, strict=True)
    )


def tokens_match(actual: bytes, expected: bytes, flags: ValidatorFlags) -> bool:
    if actual == expected:
        return True
    # To the original, which is C, a number ends at a NUL.
    if flags.compares_numbers and (number := long_double(expected.partition(b"\0")[0])) is not None:
        other = long_double(actual.partition(b"\0")[0])
        return other is not None and numbers_match(number, other, flags)
    if flags.case_sensitive:
        return False
    return actual.lower() == expected.lower()


def numbers_match(expected: LongDouble, actual: LongDouble, flags: ValidatorFlags) -> bool:
    if not (isinstance(expected, Fraction) and isinstance(actual, Fraction)):
        if isinstance(expected, Fraction) or isinstance(actual, Fraction):
            return False
        return expected[0] == actual[0] and (expected[0] == NAN or expected[1] == actual[1])
    difference = rounded(actual - expected)
    error = abs(difference) if isinstance(difference, Fraction) else None
    absolute, relative = flags.absolute_tol, flags.relative_tol
    if error == 0 or (absolute is not None and error is not None and error <= tolerance(absolute)):
        return True
    if relative is None or error is None or expected == 0:
        return False
    ratio = rounded(error / abs(expected))
    return isinstance(ratio, Fraction) and ratio <= tolerance(relative)


def tolerance(number: float) -> Fraction:
    """A tolerance as the original reads it from its command line."""
    read = long_double(repr(number).encode())
    assert isinstance(read, Fraction)
    return read


def long_double(token: bytes) -> LongDouble | None:
    """What scanf reads from a whole token, or None."""
    if parts := SPECIAL.fullmatch(token):
        return INFINITY if parts[2] else NAN, parts[1] == b"-"
    if parts := DECIMAL.fullmatch(token):
        return scaled(parts, 10)
    if parts := HEXADECIMAL.fullmatch(token):
        return scaled(parts, 16) if parts[1] else Fraction(0)
    return None


def scaled(parts: re.Match[bytes], base: int) -> LongDouble:
    """A mantissa in this base and its exponent, of ten or of two, as a long double."""
    text = parts[1].lstrip(b"+-")
    whole, _, fraction = (text[2:] if base == 16 else text).partition(b".")
    exponent = bounded_exponent(parts[2]) if has_exponent(parts) else 0
    is_negative = parts[1].startswith(b"-")
    digits = (whole + fraction).lstrip(b"0")
    power, step = (exponent, 1) if base == 10 else (exponent, 4)
    power -= step * len(fraction)
    if not digits:
        return Fraction(0)
    largest = LARGEST_POWER if base == 10 else 4 * LARGEST_POWER
    if power + step * len(digits) > largest:
        return INFINITY, is_negative
    if power + step * len(digits) < -largest:
        return Fraction(0)
    # Digits beyond a long double's decide at most a rounding, for which one that is not zero is enough.
    retained = 12_000
    if len(digits) > retained:
        power += step * (len(digits) - retained - 1)
        digits = digits[:retained] + (b"1" if digits[retained:].strip(b"0") else b"0")
    number = Fraction(int_of(digits, base)) * Fraction(10 if base == 10 else 2) ** power
    return rounded(-number if is_negative else number)


def bounded_exponent(text: bytes) -> int:
    """The exponent; one of many digits as one that is large enough."""
    digits = text.lstrip(b"+-").lstrip(b"0") or b"0"
    size = int(digits) if len(digits) <= 12 else 10**12
    return -size if text.startswith(b"-") else size


def int_of(digits: bytes, base: int) -> int:
    """A number of many digits; of ten, in parts that Python's limit on digits allows."""
    if base == 16:
        return int(digits, 16)
    number = 0
    for start in range(0, len(digits), 4000):
        part = digits[start : start + 4000]
        number = number * 10 ** len(part) + int(part)
    return number


def rounded(number: Fraction) -> LongDouble:
    """To the nearest long double of x86, ties to even."""
    if not number:
        return number
    exponent = abs(number.numerator).bit_length() - number.denominator.bit_length() - MANTISSA_BITS
    if Fraction(2) ** (exponent + MANTISSA_BITS) <= abs(number):
        exponent += 1
    unit = Fraction(2) ** max(exponent, LEAST_EXPONENT)
    nearest = round(number / unit) * unit
    if abs(nearest) >= Fraction(2) ** GREATEST_EXPONENT:
        return INFINITY, number < 0
    return nearest
