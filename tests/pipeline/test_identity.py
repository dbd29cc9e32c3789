"""Names of rows and values of JSON lines are those that Python's own `json` gives, though a faster library
does the work.
"""

from __future__ import annotations

import hashlib
import json
import math

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.adapters.lines import is_plain_row, parse_json
from pipeline.adapters.source_policy import is_too_deep
from pipeline.store.identity import canonical, content_id, trajectory_id

NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
PLAIN = st.none() | st.booleans() | NUMBERS | st.text()
VALUES = st.recursive(PLAIN, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)


def slowly(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


@settings(max_examples=300, deadline=None, derandomize=True)
@given(VALUES)
@example([1e-6, 1e16, 1e22, 5e-324, -0.0, 0.1, 1e-5, 0.0001, 123456789012345680.0, 1.7976931348623157e308])
@example([1 << 63, 1 << 64, -(1 << 63) - 1, 10**40, True, False])
@example(['\x00\x1f\x7f\x80\u2028\U0001f600"\\/\b\f\n\r\t', {"a": {"b": [1e-7, None]}, "": []}])
def test_rows_are_named_by_the_json_that_python_writes(value):
    assert canonical(value) == slowly(value)


def test_a_name_is_blake2b_of_the_list():
    # printf '["a",1,1e-06,null]' | b2sum -l 128
    assert content_id("a", 1, 1e-6, None) == "edece73e0153aafa8c68e1b90c298fc4"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, [1.0, [math.nan]], {"x": math.inf}])
def test_what_is_no_number_names_nothing(value):
    with pytest.raises(ValueError, match="Out of range float"):
        canonical(value)


def test_what_is_no_text_names_nothing():
    with pytest.raises(UnicodeEncodeError):
        canonical(["\ud800"])


@settings(max_examples=300, deadline=None, derandomize=True)
@given(VALUES, st.booleans())
@example(
    [1 << 63, 1 << 64, -(1 << 63) - 1, 10**40, [10**19 + 1], {"id": 123456789012345678901234567890}], True
)
@example([1e400, -1e400, 1e-400, 1.0000000000000000001, 12345678901234567890.5], True)
def test_lines_hold_the_values_that_python_reads(value, ascii_only):
    raw = json.dumps(value, ensure_ascii=ascii_only).encode()
    # The texts tell 1 from 1.0 and -0.0 from 0.0, which are equal.
    assert repr(parse_json(raw)) == repr(json.loads(raw))


@pytest.mark.parametrize("raw", [b'"\\ud800"', b'{"a": ["\\udc00x"]}'])
def test_an_unpaired_surrogate_in_a_line_is_no_text(raw):
    with pytest.raises(UnicodeEncodeError):
        parse_json(raw)


@pytest.mark.parametrize(
    "raw", [b"[1,]", b"{", b'"a\tb"', b'{"a": 1} x', b"\xff", b"\x00", b"01", b"1e", b"'a'"]
)
def test_what_python_does_not_read_is_refused_in_its_words(raw):
    with pytest.raises(ValueError) as ours:
        parse_json(raw)
    with pytest.raises(ValueError) as theirs:
        json.loads(raw.decode())
    assert str(ours.value) == str(theirs.value)


COLUMNS = [
    *("problem_id", "origin", "policy_id", "run_id", "policy_step", "source_key", "sample_index"),
    *("temperature", "top_p", "prompt", "language", "program", "completion"),
]
SETTINGS = st.none() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
SAMPLES = st.fixed_dictionaries(
    {name: st.text() for name in ("problem_id", "program", "source_key")},
    optional={
        "policy_step": st.none() | st.integers(),
        "sample_index": st.none() | st.integers(),
        "temperature": SETTINGS,
        "top_p": SETTINGS,
        "prompt": st.none() | st.text(),
        "completion": st.none() | st.text(),
        "files": st.none() | st.text(),
    },
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(SAMPLES)
@example({"temperature": 1e-5, "top_p": 1e16})
@example({"temperature": 1e-4, "top_p": 0.95, "policy_step": 1 << 70})
@example({"temperature": 1, "top_p": -0.0})
def test_a_sample_is_named_by_its_columns_however_fast(row):
    parts = [row.get(name) for name in COLUMNS] + ([row["files"]] if row.get("files") is not None else [])
    digest = hashlib.blake2b(slowly(parts), digest_size=16)
    assert trajectory_id(row) == digest.hexdigest()


@pytest.mark.parametrize("text", ["1" * 19, "1" * 20, "-" + "9" * 25, "18446744073709551616", "1e400", "1.0"])
@pytest.mark.parametrize(
    "form",
    ['{"a": %s}', '{"a": [%s]}', '{"a": {"b": %s}}', '{"a": [{"b": [%s]}]}', '{"a": [[[[%s]]]]}', "[%s]"],
)
def test_a_long_integer_is_read_exactly_wherever_it_is(form, text):
    raw = form % text
    assert repr(parse_json(raw.encode())) == repr(json.loads(raw))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(VALUES)
def test_a_plain_row_is_not_deep(value):
    if is_plain_row(value):
        assert not is_too_deep(value, 4)
