"""Windows of a table or view: some rows of a selection, in an order, with facets."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from flows.view.columns import (
    FACETS,
    SHORT,
    TEXTS,
    is_scalar,
    quoted,
    shown_expression,
)
from flows.view.connections import row, rows
from flows.view.search import INDEXED, Narrowed, Search, parse_query
from flows.view.selection import (
    Selection,
    after_condition,
    column_types,
    conditions,
    order_of,
    searched_columns,
    unique_key,
)
from flows.view.sorting import Sorted, sorted_page
from pipeline.store import TABLES, VIEWS, SqlError

if TYPE_CHECKING:
    import duckdb

PAGE_ROWS = 50
LARGE_ROWS = 200_000
FACET_VALUES = 12


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
            where.append(after_condition(chosen, types, key, parameters))
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
