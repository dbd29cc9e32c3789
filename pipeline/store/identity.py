"""Content hashes that name rows: the same sample, test set or file has the same name in every store, whoever
wrote it.

All are BLAKE2b of the canonical JSON of a list (RFC 7693; UTF-8, no spaces), so no two different lists run
into one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from math import isfinite
from typing import Any

import orjson

ID_BYTES = 16
# What makes a sample distinct. Not in it: what is only said about it (claims, times) and where it was found
# (file, batch).
SAMPLE_IDENTITY = (
    "problem_id",
    "origin",
    "policy_id",
    "run_id",
    "policy_step",
    "source_key",
    "sample_index",
    "temperature",
    "top_p",
    "prompt",
    "language",
    "program",
    "completion",
)
CHECKER_IDENTITY = ("checker", "case_sensitive", "float_tol", "input_mode", "entry_point", "preamble")
TEST_IDENTITY = ("test_id", "mode", "input", "expected_output")


ONLY_JSON = (
    orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_SUBCLASS
)
# Types that orjson and `json` write alike.
WRITTEN_ALIKE = frozenset((str, int, bool, type(None)))
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


def digest(*parts: Any) -> bytes:
    """16 bytes that name the list of JSON values. Raises ValueError for NaN, UnicodeEncodeError for an
    unpaired surrogate.
    """
    return blake2b(canonical(parts), digest_size=ID_BYTES).digest()


def canonical(value: Any) -> bytes:
    """A JSON value as bytes, the same as `json` writes it but several times faster. Raises as `digest` does."""
    try:
        return orjson.dumps(_exact(value), option=ONLY_JSON)
    except (
        TypeError
    ):  # an integer over 64 bits, or what is no JSON: `json` writes the one and names the other
        return _encode(value).encode()


def _exact(value: Any) -> Any:
    """The value, with floats as `json` writes them: orjson has 1e-6 where that has 1e-06."""
    kind = type(value)
    if kind is float:
        return orjson.Fragment(repr(value) if isfinite(value) else _encode(value))
    if kind is list or kind is tuple:
        return [part if type(part) in WRITTEN_ALIKE else _exact(part) for part in value]
    if kind is dict:
        return {name: _exact(part) for name, part in value.items()}
    return value


def content_id(*parts: Any) -> str:
    """`digest` as 32 hexadecimal characters, the form of every id in the store."""
    return digest(*parts).hex()


def trajectory_id(row: Mapping[str, Any]) -> str:
    """Name of a sample, from its columns in `trajectories`; a column that is missing counts as null."""
    return content_id(*map(row.get, SAMPLE_IDENTITY))


def test_set_hash(problem: Mapping[str, Any], tests: Iterable[Mapping[str, Any]]) -> str:
    """Name of what a verdict was judged on: all tests in order, and how their outputs are compared."""
    checker = [problem.get(column) for column in CHECKER_IDENTITY]
    if problem.get("checker") == "custom" and problem.get("programs"):
        checker.append(problem["programs"])
    return content_id(checker, [[test.get(column) for column in TEST_IDENTITY] for test in tests])


test_set_hash.__test__ = False  # type: ignore[attr-defined]  # pytest takes any imported `test_*` for a test
