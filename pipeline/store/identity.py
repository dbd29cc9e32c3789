"""Content hashes as ids: the same sample, test set or file has the same id in every store.

All are BLAKE2b (RFC 7693) of the canonical JSON of a list (UTF-8, no spaces), so different lists have
different ids.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from math import isfinite
from typing import Any

import orjson

ID_BYTES = 16
# Columns that identify a sample: without claims and times, and without its location (file, batch).
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
SETTINGS = slice(SAMPLE_IDENTITY.index("temperature"), SAMPLE_IDENTITY.index("top_p") + 1)
CHECKER_IDENTITY = ("checker", "case_sensitive", "float_tol", "input_mode", "entry_point", "preamble")
TEST_IDENTITY = ("test_id", "mode", "input", "expected_output")
CHECKER_EXTRAS = ("validation_passes", "scoring")
TEST_EXTRAS = ("arguments", "files")
OPTIONAL_TEST_IDENTITY = frozenset(("checker_arguments", *TEST_EXTRAS))


ONLY_JSON = (
    orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_SUBCLASS
)
# Types that orjson and `json` write identically.
WRITTEN_ALIKE = frozenset((str, int, bool, type(None)))
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


def digest(*parts: Any) -> bytes:
    """16-byte hash of a list of JSON values.

    Raises ValueError for NaN, UnicodeEncodeError for an unpaired surrogate.
    """
    return blake2b(canonical(parts), digest_size=ID_BYTES).digest()


def canonical(value: Any) -> bytes:
    """A JSON value as bytes, identical to the output of `json` but faster. Raises the errors of `digest`."""
    try:
        return orjson.dumps(_exact(value), option=ONLY_JSON)
    except TypeError:
        # An integer over 64 bits, which `json` can write, or no JSON value, for which `json` has the message.
        return _encode(value).encode()


def _exact(value: Any) -> Any:
    """The value, with floats in the form of `json`: 1e-06, where orjson writes 1e-6."""
    kind = type(value)
    if kind is float:
        return orjson.Fragment(repr(value) if isfinite(value) else _encode(value))
    if kind is list or kind is tuple:
        if WRITTEN_ALIKE.issuperset(map(type, value)):
            return value
        return [part if type(part) in WRITTEN_ALIKE else _exact(part) for part in value]
    if kind is dict:
        return {name: _exact(part) for name, part in value.items()}
    return value


def content_id(*parts: Any) -> str:
    """`digest` as 32 hexadecimal digits, the form of all ids in the store."""
    return digest(*parts).hex()


def trajectory_id(row: Mapping[str, Any]) -> str:
    """Id of a sample, from its columns of `trajectories`; a missing column counts as null.

    `files` counts only where there are some, so that samples of one file keep their ids.
    """
    parts = [*map(row.get, SAMPLE_IDENTITY)]
    if row.get("files") is not None:
        parts.append(row["files"])
    return blake2b(_canonical_sample(parts), digest_size=ID_BYTES).hexdigest()


def _canonical_sample(parts: list[Any]) -> bytes:
    """`canonical` of the identity of a sample, where only the sampling settings may be numbers with a
    fraction: if those are written alike by orjson and `json`, no part needs a look.
    """
    temperature, top_p = parts[SETTINGS]
    if _is_written_alike(temperature) and _is_written_alike(top_p):
        try:
            return orjson.dumps(parts, option=ONLY_JSON)
        except TypeError:
            pass
    return canonical(parts)


def _is_written_alike(number: Any) -> bool:
    """Whether orjson and `json` write a setting identically: both use no exponent in this range."""
    return number is None or (type(number) is float and (number == 0 or 1e-4 <= number < 1e15))


def test_set_hash(problem: Mapping[str, Any], tests: Iterable[Mapping[str, Any]]) -> str:
    """Hash of everything a verdict depends on in a problem: its tests in order, and its checker."""
    checker = [problem.get(column) for column in CHECKER_IDENTITY]
    if problem.get("checker") == "custom" and problem.get("programs"):
        checker.append(problem["programs"])
    if problem.get("checker_arguments"):
        checker.append(problem["checker_arguments"])
    checker += [[name, problem[name]] for name in CHECKER_EXTRAS if problem.get(name) is not None]
    if included := included_files(problem):
        checker.append(["included", included])
    return content_id(checker, [_test_identity(test) for test in tests])


def included_files(problem: Mapping[str, Any], language: str | None = None) -> dict[str, str]:
    """{path: text} that the source of a problem puts beside every program of a language (None: of any, by
    paths that name the language): entries of `problems.programs` with the role `include` and a path of
    include/<language or default>/.
    """
    if '"include"' not in (problem.get("programs") or ""):
        return {}
    files: dict[str, str] = {}
    for folder in ("default", language):
        for one in json.loads(problem["programs"]):
            path = one["path"].removeprefix("include/")
            if one["role"] != "include":
                continue
            if language is None:
                files[path] = one["text"]
            elif path.startswith(f"{folder}/"):
                files[path.removeprefix(f"{folder}/")] = one["text"]
    return files


def _test_identity(test: Mapping[str, Any]) -> list[Any]:
    identity = [*map(test.get, TEST_IDENTITY)]
    if OPTIONAL_TEST_IDENTITY.isdisjoint(test):
        return identity
    if test.get("checker_arguments") is not None:
        identity.append(test["checker_arguments"])
    # Named, so that tests without them keep their hash, and none passes for another.
    return identity + [[name, test[name]] for name in TEST_EXTRAS if test.get(name) is not None]


test_set_hash.__test__ = False  # type: ignore[attr-defined]  # pytest collects every imported `test_*`
