"""Does a row that an adapter read fit its table's contract? Types one row at a time, values and ranges many
rows at a time.

The rules are those of `pipeline/store/contracts.py`; nothing is decided here a second time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from itertools import chain
from operator import itemgetter
from types import NoneType
from typing import Any

import dataframely as dy
import polars as pl

from pipeline.adapters import ReadItem, ReadProblem, ReadTrajectory, Refused
from pipeline.store import TABLES, OneOf
from sandbox.languages import did_you_mean

Fault = tuple[str | None, str]

ITEM = "item"
SHOWN_CHARACTERS = 200
# Columns that ingestion adds after the check, with a value that keeps the contract meanwhile.
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
# Texts that a program or a policy wrote may hold a NUL; in a name, a statement or a program it is a sign of
# damage.
NUL_ALLOWED = {"input", "expected_output", "completion", "prompt"}
INTEGER_BITS = {dy.Int32: 31, dy.Int64: 63}


def read_columns(table: str) -> dict[str, dy.Column]:
    """The contract's columns that an adapter gives."""
    given = {name: column for name, column in TABLES[table].schema.columns().items() if name not in ADDED}
    if table == "tests":
        given.pop("problem_id")
    return given


COLUMNS = {table: read_columns(table) for table in ("problems", "tests", "trajectories")}
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
PYTHON_TYPE: dict[type[dy.Column], type] = {
    dy.String: str,
    dy.Bool: bool,
    dy.Float64: float,
    dy.Int32: int,
    dy.Int64: int,
    dy.List: list,
}
Row = dict[str, Any]
TypeCheck = Callable[[str, Row], "Fault | None"]
# Beyond it no float is finite.
FLOAT_END = 1 << 1023


def conform(items: list[ReadItem]) -> tuple[dict[int, Fault], dict[str, pl.DataFrame]]:
    """Faults by item number, and a frame for each table of the rows whose types fit."""
    rows, faults = sorted_out(items, unchecked)
    try:
        frames = {table: frame(table, numbers, values) for table, (numbers, values) in rows.items()}
    except MisfitError:
        # Some value is of a wrong type. Which one, only a look at each says, and that is slow: few chunks
        # need it.
        rows, faults = sorted_out(items, type_fault)
        frames = {table: frame(table, numbers, values) for table, (numbers, values) in rows.items()}
    for table in ("tests", "problems", "trajectories"):
        for number, (column, reason) in rule_faults(table, frames[table]).items():
            faults.setdefault(number, (f"tests.{column}" if table == "tests" else column, reason))
    return faults, frames


def unchecked(table: str, row: Row) -> Fault | None:
    return None


def sorted_out(
    items: list[ReadItem], of_types: TypeCheck
) -> tuple[dict[str, tuple[list[int], list[Row]]], dict[int, Fault]]:
    """(item numbers, rows) for each table, and the faults of the other items as far as they can be seen
    from an item alone.
    """
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
        # Asked twice, so that the reason is the same whatever else is in the chunk.
        fault = item_fault(item, of_types) and item_fault(item, type_fault)
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


def item_fault(item: ReadProblem | ReadTrajectory, of_types: TypeCheck) -> Fault | None:
    """What keeps one item from being accepted, as far as it can be seen from the item alone."""
    if isinstance(item, ReadProblem):
        return of_types("problems", item.row) or tests_fault(item.tests, item.row.get("checker"), of_types)
    fault = of_types("trajectories", item.row)
    program, completion = item.row.get("program"), item.row.get("completion")
    if fault is None and is_blank(program) and (completion is None or is_blank(completion)):
        return "program", "is empty, and there is no completion either"
    return fault


def is_blank(value: Any) -> bool:
    """Whether it is a text of nothing; what is no text is for the check of types to say."""
    return type(value) is str and not value.strip()


def tests_fault(tests: list[Row], checker: Any, of_types: TypeCheck) -> Fault | None:
    names: set[Any] = set()
    for position, test in enumerate(tests):
        fault = of_types("tests", test)
        name = test.get("test_id")
        if fault is None and type(name) is str and name in names:
            fault = ("test_id", f"is taken by an earlier test: {name!r}")
        # A custom checker looks at the output by itself; an assert or check holds what it expects.
        needs_output = test.get("mode") in ("stdin", "call") and checker != "custom"
        if fault is None and needs_output and test.get("expected_output") is None:
            fault = ("expected_output", "is missing")
        if fault is not None:
            return f"tests[{position}].{fault[0]}", fault[1]
        if type(name) is str:
            names.add(name)
    return None


def type_fault(table: str, row: dict[str, Any]) -> Fault | None:
    """(column, reason) of a value of a wrong type; turns whole numbers into floats where the contract wants
    floats.

    Raises KeyError for a column the contract does not know: that is a fault of the adapter, not of the row.
    """
    columns, texts, floats, get = COLUMNS[table], TEXTS[table], FLOATS[table], row.get
    for name in REQUIRED[table]:
        if get(name) is None:
            return name, "is missing"
    for name, value in row.items():
        # Most values are plain texts: they take the short way.
        if type(value) is str and name in texts and value.isascii():
            if "\0" in value and name not in NUL_ALLOWED:
                return name, "holds a NUL character"
            continue
        column = columns.get(name)
        if column is None:
            raise KeyError(f"{table} has no column {name!r}; see pipeline/store/contracts.py")
        if value is None:
            continue
        if type(value) is int and name in floats:
            value = row[name] = float(value) if abs(value) < FLOAT_END else math.inf
        reason = _value_fault(column, value)
        if reason is not None:
            return name, reason
        if type(value) is str and name not in NUL_ALLOWED and "\0" in value:
            return name, "holds a NUL character"
    return None


def _value_fault(column: dy.Column, value: Any) -> str | None:
    match column:
        case dy.String():
            if type(value) is not str:
                return f"expected text, found {_shown(value)}"
            return (
                None if value.isascii() or is_text(value) else "holds an unpaired surrogate, which is no text"
            )
        case dy.Bool():
            return None if type(value) is bool else f"expected true or false, found {_shown(value)}"
        case dy.Float64():
            good = type(value) is float and math.isfinite(value)
            return None if good else f"expected a finite number, found {_shown(value)}"
        case dy.Int32() | dy.Int64():
            good = (
                type(value) is int
                and -1 << INTEGER_BITS[type(column)] <= value < 1 << INTEGER_BITS[type(column)]
            )
            return (
                None
                if good
                else f"expected a whole number of {INTEGER_BITS[type(column)] + 1} bits, found {_shown(value)}"
            )
        case dy.List():
            if type(value) is not list:
                return f"expected a list, found {_shown(value)}"
            inner = (
                _value_fault(column.inner, item) if item is not None else "null in a list" for item in value
            )
            return next((reason for reason in inner if reason), None)
    raise TypeError(f"no check for columns of type {type(column).__name__}")


def is_text(value: str) -> bool:
    """Whether UTF-8 can hold it."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(value: Any) -> str:
    kind = type(value).__name__
    return kind if isinstance(value, (list, dict)) else f"{kind} {value!r:.{SHOWN_CHARACTERS}}"


class MisfitError(ValueError):
    """Some row has a value of a wrong type, lacks a required one, or has a column that the contract does
    not know.
    """


def frame(table: str, items: Iterable[int], rows: list[Row]) -> pl.DataFrame:
    """Rows as a frame, one column more, `ITEM`: the number of the item each row came from. Raises
    MisfitError.

    Turns whole numbers into floats, in the rows too, where the contract wants floats.
    """
    columns = {ITEM: pl.Series(ITEM, items, dtype=pl.Int64)}
    given: set[str] = set().union(*rows)
    if given - COLUMNS[table].keys():
        raise MisfitError
    for name in FLOATS[table] & given:
        for row in rows:
            value = row.get(name)
            if type(value) is int:
                row[name] = float(value) if abs(value) < FLOAT_END else math.inf
    for name, column in COLUMNS[table].items():
        if name in given:
            columns[name] = series(name, column, values_of(rows, name))
        elif rows and not column.nullable:
            raise MisfitError
        else:
            columns[name] = pl.Series(name, [], dtype=column.dtype).clear(len(rows))
    return pl.DataFrame(columns)


def values_of(rows: list[Row], name: str) -> list[Any]:
    """The values of a column; None where a row lacks it."""
    try:
        return list(map(itemgetter(name), rows))
    except KeyError:
        return [row.get(name) for row in rows]


def series(name: str, column: dy.Column, values: list[Any]) -> pl.Series:
    """A column of values that all fit, as `_value_fault` has it. Raises MisfitError."""
    fits = set(map(type, values)) <= {PYTHON_TYPE[type(column)], NoneType}
    if fits and isinstance(column, dy.List):
        inner = chain.from_iterable(value for value in values if value is not None)
        fits = set(map(type, inner)) <= {PYTHON_TYPE[type(column.inner)]}
    if not fits:
        raise MisfitError
    try:
        made = pl.Series(name, values, dtype=column.dtype, strict=True)
    except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError) as error:
        raise MisfitError from error  # an unpaired surrogate, an integer that is too long
    if isinstance(column, dy.String) and name not in NUL_ALLOWED:
        fits = not made.str.contains("\0", literal=True).any()
    elif isinstance(column, dy.Float64):
        fits = made.is_finite().all()
    if not fits or (not column.nullable and made.null_count()):
        raise MisfitError
    return made


def rule_faults(table: str, rows: pl.DataFrame) -> dict[int, Fault]:
    """The first rule of the contract that each faulty item breaks: {item: (column, reason)}."""
    if not rows.height:
        return {}
    schema = TABLES[table].schema
    # Keys are checked by admission, which knows the store; here a running number stands for them and finds
    # the row again.
    number = pl.int_range(pl.len()).cast(pl.String)
    keyed = rows.with_columns(pl.lit(value).alias(name) for name, value in ADDED.items()).with_columns(
        number.alias(name) for name in TABLES[table].key
    )
    _, failure = schema.filter(keyed.select(schema.column_names()), cast=True)
    if not len(failure):
        return {}
    rules = list(failure.counts())
    faults: dict[int, Fault] = {}
    for row in failure.details().iter_rows(named=True):
        rule = next(rule for rule in rules if row[rule] == "invalid")
        column, _, broken = rule.replace("check__", "").partition("|")
        position = int(row[TABLES[table].key[-1]])
        what = f"{in_words(COLUMNS[table].get(column), broken)}, found {_shown(row.get(column))}"
        if column == "language":
            what += did_you_mean(row[column])
        faults.setdefault(rows[ITEM][position], (column, what))
    return faults


def in_words(column: dy.Column | None, rule: str) -> str:
    """A rule of a column that a value breaks, as said of the value."""
    checks = column.check if column is not None and isinstance(column.check, dict) else {}
    if isinstance(checks.get(rule), OneOf):
        return f"is none of {' '.join(checks[rule].allowed)}"
    said = {
        "min_length": "is shorter than",
        "min": "is less than",
        "min_exclusive": "is not more than",
        "max": "is more than",
    }
    bound = getattr(column, rule, None) if rule in said else None
    return f"{said[rule]} {bound:g}" if bound is not None else f"breaks the rule {rule}"
