"""Comparison as the default output validator of Kattis problem packages does it.

Source: problemtools, support/default_validator/default_validator.cc. Tokens are compared in order, letter
case folded unless `case_sensitive`. Where a tolerance is given and the expected token is a finite number, the
other token must be one, within the absolute or the relative tolerance, integers too; both are doubles. `nan`,
`inf` and numbers beyond a double are words. `space_change_sensitive` compares white space byte by byte.
"""

from __future__ import annotations

import math
import re

from sandbox.validator_flags import ValidatorFlags

SPACE = re.compile(rb"[ \t\n\v\f\r]+")
# What scanf of glibc reads as a whole double: the digits of an exponent may be missing, and `0x.` is 0.
DECIMAL = re.compile(rb"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))(?:[eE]([+-]?[0-9]*))?")
HEXADECIMAL = re.compile(
    rb"([+-]?0[xX](?:[0-9a-fA-F]+\.?[0-9a-fA-F]*|\.[0-9a-fA-F]+))(?:[pP]([+-]?[0-9]*))?|[+-]?0[xX]\."
)


def outputs_match(actual: bytes, expected: bytes, flags: ValidatorFlags) -> bool:
    """Whether the validator accepts `actual`."""
    if actual == expected:
        return True
    if flags.space_change_sensitive and white_space(actual) != white_space(expected):
        return False
    actual_tokens, expected_tokens = actual.split(), expected.split()
    return len(actual_tokens) == len(expected_tokens) and all(
        tokens_match(a, e, flags) for a, e in zip(actual_tokens, expected_tokens, strict=True)
    )


def white_space(output: bytes) -> tuple[bool, list[bytes]]:
    """Whether it comes first, and its runs: all that is between the tokens."""
    return SPACE.match(output) is not None, SPACE.findall(output)


def tokens_match(actual: bytes, expected: bytes, flags: ValidatorFlags) -> bool:
    # To the original, which is C, a token ends at a NUL.
    actual, expected = actual.partition(b"\0")[0], expected.partition(b"\0")[0]
    if flags.compares_numbers and (number := finite_number(expected)) is not None:
        other = finite_number(actual)
        return other is not None and within(abs(number - other), abs(number), flags)
    if flags.case_sensitive:
        return actual == expected
    return actual.lower() == expected.lower()


def within(error: float, size: float, flags: ValidatorFlags) -> bool:
    absolute, relative = flags.absolute_tol, flags.relative_tol
    return (absolute is not None and error <= absolute) or (relative is not None and error <= relative * size)


def finite_number(token: bytes) -> float | None:
    """The double that a token is, or None."""
    try:
        if parts := DECIMAL.fullmatch(token):
            number = float(parts[1] + b"e" + parts[2] if has_exponent(parts) else parts[1])
        elif parts := HEXADECIMAL.fullmatch(token):
            text = (parts[1] or b"0x0").decode()
            number = float.fromhex(f"{text}p{parts[2].decode()}" if has_exponent(parts) else text)
        else:
            return None
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def has_exponent(parts: re.Match[bytes]) -> bool:
    return bool((parts[2] or b"").lstrip(b"+-"))
