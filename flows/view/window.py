"""Windows of a table or view: some rows of a selection, in an order, with facets. All values from a URL are
parameters of the SQL; names of columns and operators are compared with the known ones.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from flows.view.columns import (
    FACETS,
    SEARCHED,
    SHORT,
    TEXTS,
    UNIQUE,
    is_scalar,
    quoted,
    shown_expression,
)
from flows.view.connections import row, rows
from flows.view.search import INDEXED, Narrowed, Search, condition, parse_query
from flows.view.sorting import Sorted, sorted_page
from pipeline.store import TABLES, VIEWS, SqlError

if TYPE_CHECKING:
    import duckdb

PAGE_ROWS = 50
LARGE_ROWS = 200_000
MAX_FILTERS = 20
FACET_VALUES = 12
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


@dataclass(frozen=True)
class Facets:
    """Number of selected rows, and for each column with few values the most frequent ones with their counts.

    `partial`: more rows are selected, and these are the first in the order of storage.
    """

    total: int
    columns: dict[str, list[dict[str, Any]]]
    partial: bool = False


@dataclass(frozen=True)
class Window:
    """Rows as text and numbers, each value at most a few hundred characters; `next` is the `after` of the
    next page, None on the last.
    """

    columns: list[str]
    rows: list[dict[str, Any]]
    next: str | None
    hidden_columns: int
    searched: list[str]
    types: dict[str, str] = field(default_factory=dict)


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


def window(
    connection: duckdb.DuckDBPyConnection,
    chosen: Selection,
    limit: int = PAGE_ROWS,
    search: Search | None = None,
) -> Window:
    """The rows of one page. Raises SqlError for unknown columns and values of another type."""
    types = column_types(connection, chosen.name)
    columns = list(types) if chosen.all_columns else SHORT.get(chosen.name, list(types))
    large = bool(chosen.sort or chosen.search) and is_large(connection, chosen.name)
    if chosen.sort and not chosen.all_columns and large:
        columns = [name for name in columns if name not in TEXTS]
    key = unique_key(chosen.name)
    if chosen.name in VIEWS and key and not chosen.sort:
        chosen = replace(chosen, sort=key[0])  # joins give their rows in another order each time
    every_row = search.every_row(chosen.name) if search and large and chosen.name in TABLES else None
    if search and every_row and chosen.sort:
        records, following = _by_column(search, chosen, types, columns, every_row, limit)
    else:
        records, following = _by_key(connection, search, chosen, types, columns, large, limit)
    page = [{name: one[name] for name in columns} for one in records]
    return Window(columns, page, following, len(types) - len(columns), searched_columns(types), types)


def _shown(columns: Sequence[str], types: Mapping[str, str]) -> str:
    return ", ".join(f"{shown_expression(name, types[name])} AS {quoted(name)}" for name in columns)


def _by_column(
    search: Search,
    chosen: Selection,
    types: dict[str, str],
    columns: Sequence[str],
    every_row: str,
    limit: int,
) -> tuple[list[dict[str, Any]], str | None]:
    """A page of a large table in the order of a column, and the position of the next page."""
    order_of(chosen, types)  # refuses columns without an order
    narrowed = _narrowed(search, chosen, types, (0, limit + 1))
    where, parameters = conditions(search.connection, chosen, types, narrowed)
    asked = Sorted(
        table=chosen.name,
        column=chosen.sort_column,
        kind=types[chosen.sort_column],
        descending=chosen.sort.startswith("-"),
        source=narrowed.source if narrowed else every_row,
        shown=_shown(columns, types),
        where=where,
        parameters=parameters,
    )
    question = None if chosen.all_columns else (search.at, replace(chosen, after=""))
    return sorted_page(search, asked, chosen.after, limit, question)


def _by_key(
    connection: duckdb.DuckDBPyConnection,
    search: Search | None,
    chosen: Selection,
    types: dict[str, str],
    columns: Sequence[str],
    large: bool,
    limit: int,
) -> tuple[list[dict[str, Any]], str | None]:
    """A page in the order of storage, or of a column and then the key, and the position of the next page."""
    key = unique_key(chosen.name)
    offset = _offset(chosen) if not (chosen.sort and key) else 0
    narrowed = _narrowed(search, chosen, types, (offset, limit + 1))
    where, parameters = conditions(connection, chosen, types, narrowed)
    order, position = order_of(chosen, types), ""
    if chosen.sort and key:
        if chosen.after:
            where.append(_after(chosen, types, key, parameters))
        names = [chosen.sort_column, *key]
        position = ", " + ", ".join(
            f"CAST({quoted(n)} AS VARCHAR) AS _position_{i}" for i, n in enumerate(names)
        )
    source = quoted(chosen.name)
    selected = f"WHERE {' AND '.join(where)}" if where else ""
    ends = f"LIMIT {limit + 1} OFFSET {0 if narrowed and narrowed.is_page else offset}"
    if search and large and narrowed and chosen.name in TABLES and not narrowed.is_page:
        # First where the rows of the page are, from the columns that decide it; then these rows whole.
        by = order or "ORDER BY _file, _row"
        sql = f"SELECT _file, _row FROM {narrowed.source} AS {source} {selected} {by} {ends}"
        places = [(one["_file"], one["_row"]) for one in rows(connection, sql, parameters)]
        narrowed, parameters, selected, ends = search.rows_at(chosen.name, places), {}, "", ""
    if narrowed and chosen.name in TABLES:
        source = f"{narrowed.source} AS {source}"
        order = order or f"ORDER BY {narrowed.ordered}"
    shown = _shown(columns, types) + position
    records = rows(connection, f"SELECT {shown} FROM {source} {selected} {order} {ends}", parameters)
    if len(records) <= limit:
        return records, None
    if not position:
        return records[:limit], str(offset + limit)
    values = [records[limit - 1][f"_position_{i}"] for i in range(len(key) + 1)]
    return records[:limit], json.dumps(values, separators=(",", ":"))


def selected_rows(
    connection: duckdb.DuckDBPyConnection, chosen: Selection, search: Search
) -> tuple[str, dict[str, Any]]:
    """SQL of all selected rows with whole values, in their order, and its parameters. Raises SqlError."""
    types = column_types(connection, chosen.name)
    narrowed = _narrowed(search, chosen, types, (0, 1) if chosen.sort or chosen.filters else None)
    if narrowed and narrowed.partial:
        narrowed = None
    where, parameters = conditions(connection, chosen, types, narrowed)
    source, order = quoted(chosen.name), order_of(chosen, types)
    if narrowed and chosen.name in TABLES:
        source = f"{narrowed.source} AS {source}"
        order = order or f"ORDER BY {narrowed.ordered}"
    selected = f"WHERE {' AND '.join(where)}" if where else ""
    return f"SELECT {', '.join(map(quoted, types))} FROM {source} {selected} {order}", parameters


def _offset(chosen: Selection) -> int:
    """The rows before the page, where pages are counted in rows. Raises SqlError."""
    if not (chosen.after or "0").isdecimal() or len(chosen.after) > 15:
        raise SqlError(f"after: {chosen.after[:60]!r} is not a number of rows")
    return int(chosen.after or 0)


def searched_columns(types: Mapping[str, str]) -> list[str]:
    return [name for name in SEARCHED if name in types]


def _narrowed(
    search: Search | None, chosen: Selection, types: Mapping[str, str], page: tuple[int, int] | None
) -> Narrowed | None:
    """The rows that the index finds for a search: of one page (rows before it, and in it), or all of them,
    for counts only the first ones. None without a search, or where the texts have to be read.
    """
    table = indexed_table(chosen.name, types)
    if search is None or not chosen.search or table is None:
        return None
    query = parse_query(chosen.search)
    if page and chosen.name in TABLES and not chosen.sort and not chosen.filters:
        return search.rows_of_page(table, query, *page)
    return search.all_rows(table, query, partial=page is None and not chosen.filters)


def indexed_table(name: str, types: Mapping[str, str]) -> str | None:
    """The table whose index has the texts of a table or view: the same columns, of rows with the same key."""
    for table, texts in INDEXED.items():
        if sorted(texts) == sorted(searched_columns(types)) and set(TABLES[table].key) <= set(types):
            return table if name == table or unique_key(name) == TABLES[table].key else None
    return None


def is_large(connection: duckdb.DuckDBPyConnection, name: str, limit: int | None = None) -> bool:
    """Whether a table, or that behind a view, has more rows than `limit`: by default LARGE_ROWS, so many that
    reading texts in all its parts, as a sorted page does, takes seconds.
    """
    table, most = name if name in TABLES else "trajectories", LARGE_ROWS if limit is None else limit
    counted = row(connection, f"SELECT count(*) > {most} AS large FROM {quoted(table)}")
    return bool(counted and counted["large"])


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


def facets(
    connection: duckdb.DuckDBPyConnection,
    chosen: Selection,
    names: Sequence[str] = (),
    search: Search | None = None,
) -> Facets:
    """Counts of the selected rows. `names` are further columns. One pass over the rows."""
    types = column_types(connection, chosen.name)
    wanted = [name for name in (*FACETS, *names) if name in types and is_scalar(types[name])]
    wanted = list(dict.fromkeys(wanted))
    narrowed = _narrowed(search, chosen, types, None)
    where, parameters = conditions(connection, chosen, types, narrowed)
    selected = f"WHERE {' AND '.join(where)}" if where else ""
    source = quoted(chosen.name)
    if narrowed and chosen.name in TABLES:
        source = f"{narrowed.source} AS {source}"
    partial = narrowed is not None and narrowed.partial
    if not wanted:
        counted = row(connection, f"SELECT count(*) AS n FROM {source} {selected}", parameters)
        return Facets((counted or {"n": 0})["n"], {}, partial)
    columns = ", ".join(map(quoted, wanted))
    texts = ", ".join(f"CAST({quoted(name)} AS VARCHAR) AS {quoted(name)}" for name in wanted)
    sets = ", ".join(f"({quoted(name)})" for name in wanted)
    sql = f"""
    SELECT GROUPING_ID({columns}) AS which, {columns}, count(*) AS n
    FROM (SELECT {texts} FROM {source} {selected})
    GROUP BY GROUPING SETS ((), {sets})
    QUALIFY row_number() OVER (PARTITION BY which ORDER BY n DESC, {columns}) <= {FACET_VALUES + 1}
    ORDER BY which, n DESC, {columns}
    """
    total, counts = 0, {name: [] for name in wanted}  # type: ignore[var-annotated]
    everything = 2 ** len(wanted) - 1
    for one in rows(connection, sql, parameters):
        if one["which"] == everything:
            total = one["n"]
            continue
        # Of GROUPING_ID's bits, the first column's is the highest, and 0 where the column is grouped by.
        name = wanted[len(wanted) - (everything ^ one["which"]).bit_length()]
        counts[name].append({"value": one[name], "n": one["n"]})
    return Facets(total, {name: values for name, values in counts.items() if values}, partial)


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


def _text(name: str, types: dict[str, str]) -> str:
    return f"CAST({quoted(name)} AS VARCHAR)" if types[name] == "BLOB" else quoted(name)


def unique_key(name: str) -> list[str]:
    """Columns that identify a row; empty for a view without any."""
    return TABLES[name].key if name in TABLES else UNIQUE.get(name, [])


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
    value = row(connection, f"SELECT TRY_CAST($value AS {kind}) IS NULL AS wrong", {"value": one.value})
    if value and value["wrong"]:
        raise SqlError(f"filter {one.label[:100]!r}: the value is not {kind}")
    return f"{column} {COMPARISONS[one.operator]} CAST(${name} AS {kind})"


def _after(chosen: Selection, types: dict[str, str], key: list[str], parameters: dict[str, Any]) -> str:
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
