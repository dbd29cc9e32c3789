"""Pages of a large table in the order of a column.

Rows with the same value are in the order of storage, so that deciding which rows come first reads one narrow
column. The first rows are then read whole, more of them than a page has, because at random places a thousand
cost what fifty do, and the pages after the first are answered from memory.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flows.view.columns import quoted
from flows.view.connections import rows
from pipeline.store import SqlError

if TYPE_CHECKING:
    from flows.view.search import Search

HEAD_ROWS = 1_000
MOST_ROWS = 10_000  # remembered per order; pages behind them are read one by one


@dataclass(frozen=True)
class Position:
    """Of the last row of a page: its value as text, its file and row in it, and the rows until there."""

    value: str | None
    file: int
    row: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Position | None:
        """None for the beginning. Raises SqlError for another text."""
        if not text:
            return None
        try:
            value, *numbers = json.loads(text)
            file, row, count = (one for one in numbers if type(one) is int and 0 <= one < 1 << 62)
        except (ValueError, TypeError):
            value = file = row = count = -1
        if value is not None and not isinstance(value, str):
            raise SqlError(f"after: {text[:60]!r} is not a position in this order; go to the first page")
        return cls(value, file, row, count)

    def __str__(self) -> str:
        return json.dumps([self.value, self.file, self.row, self.count], separators=(",", ":"))


@dataclass(frozen=True)
class Sorted:
    """Rows of a table by a column. `source` is a FROM clause with `_file` and `_row`; `where` are conditions,
    `shown` the SELECT list of a page.
    """

    table: str
    column: str
    kind: str
    descending: bool
    source: str
    shown: str
    where: Sequence[str] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def order(self) -> str:
        place = quoted(self.table)
        direction = "DESC" if self.descending else "ASC"
        return f"ORDER BY {place}.{quoted(self.column)} {direction} NULLS LAST, _file, _row"


def sorted_page(
    search: Search, asked: Sorted, after: str, limit: int, question: Hashable | None
) -> tuple[list[dict[str, Any]], str | None]:
    """The rows of a page, and the `after` of the next one, None on the last.

    `question` names the order in what is remembered; None remembers nothing. Raises SqlError.
    """
    position, files = Position.parse(after), search.finder.connections.files(search.at, asked.table)
    begin = position.count if position else 0
    head = search.finder.heads.get(question) if question is not None else []
    follows = begin <= len(head) and (position is None or _is_at(head[begin - 1], position, files))
    if question is None or not follows or begin + limit > MOST_ROWS:
        found = _read(search, asked, position, limit + 1, files)
    else:
        if begin + limit + 1 > len(head) and len(head) % HEAD_ROWS == 0:
            last = _position(head[-1], len(head), files) if head else None
            head = [*head, *_read(search, asked, last, max(HEAD_ROWS, limit + 1), files)]
            search.finder.heads.put(question, head)
        found = head[begin : begin + limit + 1]
    page = found[:limit]
    return page, str(_position(page[-1], begin + limit, files)) if len(found) > limit else None


def _read(
    search: Search, asked: Sorted, position: Position | None, count: int, files: Sequence[str]
) -> list[dict[str, Any]]:
    """Rows from a position on: first where they are, from the column that decides it, then what is shown."""
    parameters, where = dict(asked.parameters), list(asked.where)
    if position:
        where.append(_after(asked, position, files, parameters))
    selected = f"WHERE {' AND '.join(where)}" if where else ""
    table = quoted(asked.table)
    sql = f"""SELECT _file, _row, CAST({table}.{quoted(asked.column)} AS VARCHAR) AS _value
    FROM {asked.source} AS {table} {selected} {asked.order} LIMIT {count}"""
    places = rows(search.connection, sql, parameters)
    at = search.rows_at(asked.table, [(one["_file"], one["_row"]) for one in places])
    sql = f"SELECT {asked.shown}, _file, _row FROM {at.source} AS {table}"
    by_place = {(one["_file"], one["_row"]): one for one in rows(search.connection, sql, at.parameters)}
    return [by_place[one["_file"], one["_row"]] | one for one in places]


def _position(one: Mapping[str, Any], count: int, files: Sequence[str]) -> Position:
    return Position(one["_value"], files.index(one["_file"].partition("://")[2]), one["_row"], count)


def _is_at(one: Mapping[str, Any], position: Position, files: Sequence[str]) -> bool:
    return _position(one, position.count, files) == position


def _after(asked: Sorted, position: Position, files: Sequence[str], parameters: dict[str, Any]) -> str:
    """The condition of the rows after a position. Raises SqlError for one in another version."""
    if position.file >= len(files):
        raise SqlError("after: this position is in another version of the table; go to the first page")
    parameters |= {"after_file": f"store://{files[position.file]}", "after_row": position.row}
    column = quoted(asked.column)
    tie = "(_file > $after_file OR (_file = $after_file AND _row > $after_row))"
    if position.value is None:
        return f"({column} IS NULL AND {tie})"
    parameters["after_value"] = position.value
    value, sign = f"CAST($after_value AS {asked.kind})", "<" if asked.descending else ">"
    return f"({column} {sign} {value} OR {column} IS NULL OR ({column} = {value} AND {tie}))"
