"""Validation: checks the rows that an adapter read against the contract of their table.

Types are checked row by row where needed, values and ranges for many rows at once. The rules themselves are
in `pipeline/store/contracts.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from itertools import chain
from operator import itemgetter
from types import NoneType
from typing import Any

import polars as pl

from pipeline.adapters import ReadItem, ReadProblem, ReadTrajectory, Refused
from pipeline.later import without
from pipeline.store import TABLES, OneOf, rules_hold
from sandbox.languages import did_you_mean

with without("sqlalchemy"):  # as in `pipeline/store/contracts.py`
    import dataframely as dy

Fault = tuple[str | None, str]

ITEM = "item"
SHOWN_CHARACTERS = 200
# Columns that ingestion adds after the check, with placeholder values that satisfy the contract.
ADDED: dict[str, Any] = {
    "trajectory_id": "",
    "test_set_hash": "-",
    "test_count": 0,
    "position": 0,
    "created_at": datetime(2000, 1, 1, tzinfo=UTC),
    "batch_id": "-",
    "source_file": "-",
    "source_line": 0,
}
# Output of programs and policies may contain NUL. In a name, a statement or a program it is a sign of
# damage.
NUL_ALLOWED = {"input", "expected_output", "completion", "prompt"}
EMPTY = "is empty, and nothing says why"
# Rules over several columns, and the column that is named to the user.
UNEVEN = "has not one number for each of token_ids"
COLUMN_OF_RULE = {
    "statement_or_not_sampled": f"statement|{EMPTY}",
    "each_token_has_its_logprob": f"token_logprobs|{UNEVEN}",
}
INTEGER_BITS = {dy.Int32: 31, dy.Int64: 63}


def adapter_columns(table: str) -> dict[str, dy.Column]:
    """The columns of the contract that an adapter fills."""
    columns = {name: column for name, column in TABLES[table].schema.columns().items() if name not in ADDED}
    if table == "tests":
        columns.pop("problem_id")
    return columns


COLUMNS = {table: adapter_columns(table) for table in ("problems", "tests", "trajectories")}
REQUIRED = {
    table: [name for name, column in columns.items() if not column.nullable]
    for table, columns in COLUMNS.items()
}
TEXTS = {
    table: {name for name, column in columns.items() if isinstance(column, dy.String)}
    for table, columns in COLUMNS.items()
}
FLOATS = {
    table: {name for name, column in columns.items() if isinstance(column, dy.Float64)}
    for table, columns in COLUMNS.items()
}
FLOAT_LISTS = {
    table: {
        name
        for name, column in columns.items()
        if isinstance(column, dy.List) and isinstance(column.inner, dy.Float32)
    }
    for table, columns in COLUMNS.items()
}
PYTHON_TYPE: dict[type[dy.Column], type] = {
    dy.String: str,
    dy.Bool: bool,
    dy.Float64: float,
    dy.Float32: float,
    dy.Int32: int,
    dy.Int64: int,
    dy.List: list,
}
FLOAT_OR_NULL = frozenset((float, NoneType))
Row = dict[str, Any]
TypeCheck = Callable[[str, Row], "Fault | None"]
# Larger integers overflow a float.
FLOAT_OVERFLOW = 1 << 1023


def validate(items: list[ReadItem]) -> tuple[dict[int, Fault], dict[str, pl.DataFrame]]:
    """Faults by item number, and one frame per table with the rows whose types are right."""
    rows, faults = split_by_table(items, no_type_check)
    try:
        frames = {table: build_frame(table, numbers, values) for table, (numbers, values) in rows.items()}
    except TypeMismatchError:
        # Some value has the wrong type. Finding it needs a check of every value, which is slow; few chunks
        # need that.
        rows, faults = split_by_table(items, type_fault)
        frames = {table: build_frame(table, numbers, values) for table, (numbers, values) in rows.items()}
    for table in ("tests", "problems", "trajectories"):
        for number, (column, reason) in find_rule_faults(table, frames[table]).items():
            faults.setdefault(number, (f"tests.{column}" if table == "tests" else column, reason))
    return faults, frames


def no_type_check(table: str, row: Row) -> Fault | None:
    return None


def split_by_table(
    items: list[ReadItem], type_check: TypeCheck
) -> tuple[dict[str, tuple[list[int], list[Row]]], dict[int, Fault]]:
    """(item numbers, rows) per table, and the faults of the other items that can be seen from one item."""
    faults: dict[int, Fault] = {}
    rows: dict[str, tuple[list[int], list[Row]]] = {
        "problems": ([], []),
        "tests": ([], []),
        "trajectories": ([], []),
    }
    for number, item in enumerate(items):
        if isinstance(item, Refused):
            faults[number] = item.field, item.reason
            continue
        # Checked twice, so that the reason does not depend on the rest of the chunk.
        fault = item_fault(item, type_check) and item_fault(item, type_fault)
        if fault is not None:
            faults[number] = fault
            continue
        table = "problems" if isinstance(item, ReadProblem) else "trajectories"
        rows[table][0].append(number)
        rows[table][1].append(item.row)
        if isinstance(item, ReadProblem):
            rows["tests"][0].extend([number] * len(item.tests))
            rows["tests"][1].extend(item.tests)
    return rows, faults


def item_fault(item: ReadProblem | ReadTrajectory, type_check: TypeCheck) -> Fault | None:
    """The first fault of an item that can be seen from the item alone; None if there is none."""
    if isinstance(item, ReadProblem):
        return type_check("problems", item.row) or tests_fault(
            item.tests, item.row.get("checker"), type_check
        )
    fault, get = type_check("trajectories", item.row), item.row.get
    if (
        fault is None
        and get("origin") == "human"
        and is_blank(get("program"))
        and is_blank(get("completion") or "")
    ):
        return "program", "is empty"
    return fault


def is_blank(value: Any) -> bool:
    """Whether it is a string without visible characters; other types are left to the type check."""
    return type(value) is str and (not value or value.isspace())


def tests_fault(tests: list[Row], checker: Any, type_check: TypeCheck) -> Fault | None:
    names: set[Any] = set()
    for position, test in enumerate(tests):
        fault = type_check("tests", test)
        name = test.get("test_id")
        if fault is None and type(name) is str and name in names:
            fault = ("test_id", f"is used by an earlier test: {name!r}")
        # A custom checker needs no expected output; an assert or check contains it.
        needs_output = test.get("mode") in ("stdin", "call") and checker != "custom"
        if fault is None and needs_output and test.get("expected_output") is None:
            fault = ("expected_output", "is missing")
        if fault is not None:
            return f"tests[{position}].{fault[0]}", fault[1]
        if type(name) is str:
            names.add(name)
    return None


def type_fault(table: str, row: dict[str, Any]) -> Fault | None:
    """(column, reason) of the first value of a wrong type. Converts integers in float columns to floats.

    Raises KeyError for a column that the contract does not have: that is a bug in the adapter.
    """
    columns, texts, floats, get = COLUMNS[table], TEXTS[table], FLOATS[table], row.get
    for name in REQUIRED[table]:
        if get(name) is None:
            return name, "is missing"
    for name, value in row.items():
        # Fast path: most values are ASCII strings.
        if type(value) is str and name in texts and value.isascii():
            if "\0" in value and name not in NUL_ALLOWED:
                return name, "contains a NUL character"
            continue
        column = columns.get(name)
        if column is None:
            raise KeyError(f"{table} has no column {name!r}; see pipeline/store/contracts.py")
        if value is None:
            continue
        if name in floats or name in FLOAT_LISTS[table]:
            value = row[name] = with_floats(value)
        reason = _value_fault(column, value)
        if reason is not None:
            return name, reason
        if type(value) is str and name not in NUL_ALLOWED and "\0" in value:
            return name, "contains a NUL character"
    return None


def _value_fault(column: dy.Column, value: Any) -> str | None:
    match column:
        case dy.String():
            if type(value) is not str:
                return f"expected text, found {_describe(value)}"
            is_valid = value.isascii() or is_text(value)
            return None if is_valid else "contains an unpaired surrogate, which is not valid text"
        case dy.Bool():
            return None if type(value) is bool else f"expected true or false, found {_describe(value)}"
        case dy.Float64() | dy.Float32():
            is_valid = type(value) is float and math.isfinite(value)
            return None if is_valid else f"expected a finite number, found {_describe(value)}"
        case dy.Int32() | dy.Int64():
            is_valid = (
                type(value) is int
                and -1 << INTEGER_BITS[type(column)] <= value < 1 << INTEGER_BITS[type(column)]
            )
            return (
                None
                if is_valid
                else f"expected a {INTEGER_BITS[type(column)] + 1}-bit integer, found {_describe(value)}"
            )
        case dy.List():
            if type(value) is not list:
                return f"expected a list, found {_describe(value)}"
            inner = (
                _value_fault(column.inner, item) if item is not None else "null in a list" for item in value
            )
            return next((reason for reason in inner if reason), None)
    raise TypeError(f"no check for columns of type {type(column).__name__}")


def is_text(value: str) -> bool:
    """Whether the string can be encoded as UTF-8."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _describe(value: Any) -> str:
    kind = type(value).__name__
    return kind if isinstance(value, (list, dict)) else f"{kind} {value!r:.{SHOWN_CHARACTERS}}"


class TypeMismatchError(ValueError):
    """A row has a value of a wrong type, misses a required value, or has a column not in the contract."""


def build_frame(table: str, items: Iterable[int], rows: list[Row]) -> pl.DataFrame:
    """The rows as a frame, with the item number of each row in the extra column `ITEM`.

    Converts integers in float columns to floats, also in `rows`. Raises TypeMismatchError.
    """
    columns = {ITEM: pl.Series(ITEM, items, dtype=pl.Int64)}
    names: set[str] = set().union(*rows)
    if names - COLUMNS[table].keys():
        raise TypeMismatchError
    for name in (FLOATS[table] | FLOAT_LISTS[table]) & names:
        if not FLOAT_OR_NULL.issuperset(map(type, column_values(rows, name))):
            for row in rows:
                if name in row:
                    row[name] = with_floats(row[name])
    for name, column in COLUMNS[table].items():
        if name in names:
            columns[name] = build_series(name, column, column_values(rows, name))
        elif rows and not column.nullable:
            raise TypeMismatchError
        else:
            columns[name] = pl.Series(name, [], dtype=column.dtype).clear(len(rows))
    return pl.DataFrame(columns)


def with_floats(value: Any) -> Any:
    """An integer as a float, also in a list; other values as they are."""
    if type(value) is int:
        return float(value) if abs(value) < FLOAT_OVERFLOW else math.inf
    if type(value) is list and not set(map(type, value)) <= {float}:
        return [with_floats(item) for item in value]
    return value


def column_values(rows: list[Row], name: str) -> list[Any]:
    """The values of a column; None where a row does not have it."""
    try:
        return list(map(itemgetter(name), rows))
    except KeyError:
        return [row.get(name) for row in rows]


def build_series(name: str, column: dy.Column, values: list[Any]) -> pl.Series:
    """The values as a column, by the rules of `_value_fault`. Raises TypeMismatchError."""
    fits = set(map(type, values)) <= {PYTHON_TYPE[type(column)], NoneType}
    if fits and isinstance(column, dy.List):
        inner = chain.from_iterable(value for value in values if value is not None)
        fits = set(map(type, inner)) <= {PYTHON_TYPE[type(column.inner)]}
    if not fits:
        raise TypeMismatchError
    try:
        column_series = series_of(name, column, values)
    except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError) as error:
        raise TypeMismatchError from error  # an unpaired surrogate, or an integer that is too large
    if isinstance(column, dy.String) and name not in NUL_ALLOWED:
        fits = not column_series.str.contains("\0", literal=True).any()
    elif isinstance(column, dy.Float64):
        fits = column_series.is_finite().all()
    elif isinstance(column, dy.List) and isinstance(column.inner, dy.Float32):
        fits = column_series.explode().is_finite().all()
    if not fits or (not column.nullable and column_series.null_count()):
        raise TypeMismatchError
    return column_series


def series_of(name: str, column: dy.Column, values: list[Any]) -> pl.Series:
    """The values as a column. Lists of texts, such as tags, are few and repeated, and polars converts each
    list by itself, so every distinct one is converted once.
    """
    if not (isinstance(column, dy.List) and isinstance(column.inner, dy.String)):
        return pl.Series(name, values, dtype=column.dtype, strict=True)
    numbers: dict[tuple[str, ...] | None, int] = {}
    rows = [numbers.setdefault(None if one is None else tuple(one), len(numbers)) for one in values]
    distinct = [None if one is None else list(one) for one in numbers]
    return pl.Series(name, distinct, dtype=column.dtype, strict=True).gather(rows)


def find_rule_faults(table: str, rows: pl.DataFrame) -> dict[int, Fault]:
    """The first contract rule that each faulty item breaks: {item: (column, reason)}."""
    if not rows.height:
        return {}
    schema, types = TABLES[table].schema, TABLES[table].empty.schema
    # Admission checks keys, because it knows the store. Here a row number replaces them and identifies the
    # row.
    number = pl.int_range(pl.len()).cast(pl.String)
    keyed = rows.with_columns(
        pl.lit(value, dtype=types[name]).alias(name) for name, value in ADDED.items() if name in types
    ).with_columns(number.alias(name) for name in TABLES[table].key)
    if rules_hold(schema, keyed):
        return {}
    _, failure = schema.filter(keyed.select(schema.column_names()))
    rules = list(failure.counts())
    faults: dict[int, Fault] = {}
    for row in failure.details().iter_rows(named=True):
        rule = next(rule for rule in rules if row[rule] == "invalid")
        column, _, broken = COLUMN_OF_RULE.get(rule, rule).replace("check__", "").partition("|")
        position = int(row[TABLES[table].key[-1]])
        what = f"{describe_rule(COLUMNS[table].get(column), broken)}, found {_describe(row.get(column))}"
        if column == "language":
            what += did_you_mean(row[column])
        faults.setdefault(rows[ITEM][position], (column, what))
    return faults


def describe_rule(column: dy.Column | None, rule: str) -> str:
    """The broken rule of a column in words, as a predicate of the value."""
    checks = column.check if column is not None and isinstance(column.check, dict) else {}
    if isinstance(checks.get(rule), OneOf):
        return f"is not one of {' '.join(checks[rule].allowed)}"
    if column is not None and rule in (EMPTY, UNEVEN):
        return rule
    phrases = {
        "min_length": "is shorter than",
        "min": "is less than",
        "min_exclusive": "is not greater than",
        "max": "is greater than",
    }
    bound = getattr(column, rule, None) if rule in phrases else None
    return f"{phrases[rule]} {bound:g}" if bound is not None else f"breaks the rule {rule}"
