"""Which rows of a table or view, in which order, and the SQL that selects them. All values from a URL are
parameters of the SQL; names of columns and operators are compared with the known ones.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flows.view.columns import SEARCHED, UNIQUE, is_scalar, quoted
from flows.view.connections import row, rows
from flows.view.search import Narrowed, condition, parse_query
from pipeline.store import TABLES, VIEWS, SqlError

if TYPE_CHECKING:
    import duckdb

MAX_FILTERS = 20
COMPARISONS = {"eq": "=", "ne": "<>", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
OPERATORS = (*COMPARISONS, "has", "null", "notnull")


@dataclass(frozen=True)
class Filter:
    """A condition on one column; in a URL `column:operator:value`."""

    column: str
    operator: str
    value: str = ""

    def __str__(self) -> str:
        return f"{self.column}:{self.operator}:{self.value}"

    @property
    def label(self) -> str:
        sign = COMPARISONS.get(self.operator, {"has": "contains", "null": "is null"}.get(self.operator))
        return f"{self.column} {sign or 'is not null'} {self.value}".strip()


@dataclass(frozen=True)
class Selection:
    """Which rows of a table or view, in which order.

    `sort` is a column, with `-` before it for descending; empty is the order of storage. `after` is the
    position of the last row of the page before: a number of rows, or JSON [sort value, key...].
    """

    name: str
    filters: tuple[Filter, ...] = ()
    search: str = ""
    sort: str = ""
    after: str = ""
    all_columns: bool = False

    @property
    def sort_column(self) -> str:
        return self.sort.removeprefix("-")


def parse_filters(texts: Iterable[str]) -> tuple[Filter, ...]:
    """Filters from a URL. Raises SqlError that names the wrong one."""
    filters = []
    for text in texts:
        column, _, rest = text.partition(":")
        operator, _, value = rest.partition(":")
        if operator not in OPERATORS:
            raise SqlError(
                f"filter {text[:80]!r}: expected COLUMN:OPERATOR:VALUE, with {', '.join(OPERATORS)}"
            )
        filters.append(Filter(column, operator, value))
    if len(filters) > MAX_FILTERS:
        raise SqlError(f"more than {MAX_FILTERS} filters")
    return tuple(filters)


def column_types(connection: duckdb.DuckDBPyConnection, name: str) -> dict[str, str]:
    """DuckDB's types of the columns of a table or view. Raises SqlError for an unknown name."""
    if name in TABLES:
        return dict(TABLES[name].duckdb_types)
    if name not in VIEWS:
        raise SqlError(f"no table or view {name[:60]!r}; the page of the store lists them")
    described = rows(connection, f"SELECT column_name, column_type FROM (DESCRIBE {quoted(name)})")
    return {one["column_name"]: one["column_type"] for one in described}


def searched_columns(types: Mapping[str, str]) -> list[str]:
    return [name for name in SEARCHED if name in types]


def unique_key(name: str) -> list[str]:
    """Columns that identify a row; empty for a view without any."""
    return TABLES[name].key if name in TABLES else UNIQUE.get(name, [])


def conditions(
    connection: duckdb.DuckDBPyConnection,
    chosen: Selection,
    types: dict[str, str],
    narrowed: Narrowed | None = None,
) -> tuple[list[str], dict[str, Any]]:
    """SQL conditions of the filters and the search, and their parameters. `narrowed`: what the index found of
    the search. Raises SqlError.
    """
    parameters: dict[str, Any] = dict(narrowed.parameters) if narrowed else {}
    where = []
    for number, one in enumerate(chosen.filters):
        if one.column not in types:
            raise SqlError(f"{chosen.name} has no column {one.column[:60]!r}")
        where.append(_condition(connection, one, types[one.column], f"f{number}", parameters))
    if not chosen.search:
        return where, parameters
    texts, query = searched_columns(types), parse_query(chosen.search)
    if not texts:
        raise SqlError(f"{chosen.name} has no text to search; use a filter")
    if narrowed and chosen.name not in TABLES:
        (key,) = unique_key(chosen.name)
        where.append(f"{quoted(key)} IN (SELECT {quoted(key)} FROM {narrowed.source})")
    if narrowed is None or query.phrases:
        where.append(condition([_text(name, types) for name in texts], query, parameters))
    return where, parameters


def _condition(
    connection: duckdb.DuckDBPyConnection, one: Filter, kind: str, name: str, parameters: dict[str, Any]
) -> str:
    column = quoted(one.column)
    if one.operator in ("null", "notnull"):
        return f"{column} IS {'NOT ' if one.operator == 'notnull' else ''}NULL"
    parameters[name] = one.value
    if one.operator == "has":
        if kind == "VARCHAR[]":
            return f"list_contains({column}, ${name})"
        return f"contains(lower(CAST({column} AS VARCHAR)), lower(${name}))"
    if not is_scalar(kind):
        raise SqlError(f"{one.column} holds several values; filter it with has")
    if kind != "VARCHAR":
        value = row(connection, f"SELECT TRY_CAST($value AS {kind}) IS NULL AS wrong", {"value": one.value})
        if value and value["wrong"]:
            raise SqlError(f"filter {one.label[:100]!r}: the value is not {kind}")
    return f"{column} {COMPARISONS[one.operator]} CAST(${name} AS {kind})"


def _text(name: str, types: dict[str, str]) -> str:
    return f"CAST({quoted(name)} AS VARCHAR)" if types[name] == "BLOB" else quoted(name)


def order_of(chosen: Selection, types: dict[str, str]) -> str:
    """ORDER BY of a selection, such that no two rows are at the same place; empty for a table in the order of
    storage. Raises SqlError for a column that has no order.
    """
    if not chosen.sort and chosen.name in TABLES:
        return ""
    if chosen.sort and not is_scalar(types.get(chosen.sort_column, "[]")):
        raise SqlError(f"{chosen.name} cannot be sorted by {chosen.sort_column[:60]!r}")
    direction = "DESC" if chosen.sort.startswith("-") else "ASC"
    # With the table's name, because a bare one is the shortened value of the SELECT.
    place = f"{quoted(chosen.name)}."
    first = [f"{place}{quoted(chosen.sort_column)} {direction} NULLS LAST"] if chosen.sort else []
    ties = unique_key(chosen.name) or [name for name, kind in types.items() if is_scalar(kind)]
    return "ORDER BY " + ", ".join([*first, *(place + quoted(name) for name in ties)])


def after_condition(
    chosen: Selection, types: dict[str, str], key: list[str], parameters: dict[str, Any]
) -> str:
    """The condition of the rows after a position. Raises SqlError for a position of another selection."""
    try:
        values = json.loads(chosen.after)
    except ValueError:
        values = None
    texts = isinstance(values, list) and all(isinstance(one, str | None) for one in values)
    if not texts or len(values) != len(key) + 1 or None in values[1:]:
        raise SqlError(f"after: {chosen.after[:60]!r} is not a position in this order; go to the first page")
    parameters |= {f"after{i}": value for i, value in enumerate(values) if value is not None}
    column, kind = quoted(chosen.sort_column), types[chosen.sort_column]
    left = ", ".join(map(quoted, key))
    right = ", ".join(f"CAST($after{i} AS {types[name]})" for i, name in enumerate(key, start=1))
    tie = f"row({left}) > row({right})"
    if values[0] is None:
        return f"({column} IS NULL AND {tie})"
    sign = "<" if chosen.sort.startswith("-") else ">"
    value = f"CAST($after0 AS {kind})"
    return f"({column} {sign} {value} OR {column} IS NULL OR ({column} = {value} AND {tie}))"
