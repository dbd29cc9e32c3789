"""The rows that a search selects: from the index where it has them, else by reading the texts."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.view.columns import quoted
from flows.view.connections import Connections
from flows.view.remembered import Remembered
from flows.view.search.building import Builder
from flows.view.search.heads import Heads
from flows.view.search.index import (
    INDEXED,
    Part,
    Position,
    WordIndex,
    all_positions,
    index_folder,
    page_of_positions,
)
from flows.view.search.words import Query, condition
from pipeline.store import rows_with_positions

if TYPE_CHECKING:
    import duckdb

MIN_ROWS = 20_000  # of a table that is worth an index
MOST_ROWS = 200_000  # that are sorted, filtered and counted; more are read, or counted in part
MOST_READ = 2_000  # rows whose texts are read for a text in quotes
MOST_LISTED = 200  # rows that are named one by one, each with its file
SCANNED_ROWS = 60_000  # of files that are not in the index, beside those that are
SCANNED_SHARE = 0.1
REMEMBERED = 32


@dataclass(frozen=True)
class Narrowed:
    """A FROM clause with the selected rows only, with its parameters.

    `ordered`: SQL of their order of storage. `is_page`: they are those of one page, the rows before it left
    out. `partial`: there are more than MOST_ROWS, and these are the first.
    """

    source: str
    parameters: dict[str, Any] = field(default_factory=dict)
    ordered: str = ""
    is_page: bool = False
    partial: bool = False


@dataclass(frozen=True)
class Search:
    """What a page asks: a finder, with the connection and the versions of the page."""

    finder: Finder
    connection: duckdb.DuckDBPyConnection
    at: str

    def rows_of_page(self, table: str, query: Query, skip: int, limit: int) -> Narrowed | None:
        """Some selected rows of a table in the order of storage; None if the texts have to be read."""
        return self.finder.narrowed(self, table, query, skip, limit)

    def all_rows(self, table: str, query: Query, *, partial: bool = False) -> Narrowed | None:
        """All selected rows of a table, or with `partial` the first; None if the texts have to be read."""
        return self.finder.narrowed(self, table, query, 0, MOST_ROWS, whole=True, partial=partial)

    def note(self, table: str) -> str:
        """What a reader should know of the index of a table; empty if it has all rows or is not needed.
        Starts to build it.
        """
        return self.finder.note(self, table)

    def every_row(self, table: str) -> str | None:
        """A FROM clause of all rows of a table with `_file` and `_row`; None for a store elsewhere."""
        files = self.finder.connections.files(self.at, table)
        if not files or any("://" in file for file in files):
            return None
        rows = rows_with_positions(table, files)
        return f"(SELECT *, filename AS _file, file_row_number AS _row FROM {rows})"

    def rows_at(self, table: str, places: Sequence[tuple[str, int]]) -> Narrowed:
        """The rows at these places, of `_file` and `_row`."""
        files = self.finder.connections.files(self.at, table)
        numbers = {f"store://{file}": number for number, file in enumerate(files)}
        return _source(table, files, [(numbers[file], row) for file, row in places])


class Finder:
    """Searches of one store. Safe for threads. `cache`: where indexes are; None: all searches read."""

    def __init__(self, connections: Connections, cache: Path | None) -> None:
        self.connections = connections
        self.folder = index_folder(cache, connections.location) if cache else None
        self.builder = Builder(connections.location, cache) if cache else None
        self.heads = Heads()
        self._scans: Remembered[list[Position]] = Remembered(REMEMBERED)

    def note(self, search: Search, table: str) -> str:
        """See `Search.note`."""
        files = self._files(search.at, table)
        if self.folder is None or self.builder is None or files is None:
            return ""
        parts = self._parts(table, files)
        absent = [file for file, part in zip(files, parts, strict=True) if part is None]
        if not absent or self._rows(search.connection, table, files) < MIN_ROWS:
            return ""
        self.builder.start(table)
        total, without = (
            self._rows(search.connection, table, files),
            self._rows(search.connection, table, absent),
        )
        return (
            f"The index of words is being built: {total - without:,} of {total:,} rows are in it. "
            "Until then a search also reads the others, which takes longer."
        )

    def narrowed(
        self,
        search: Search,
        table: str,
        query: Query,
        skip: int,
        limit: int,
        whole: bool = False,
        partial: bool = False,
    ) -> Narrowed | None:
        """See `Search`."""
        files = self._files(search.at, table)
        if self.folder is None or files is None or not query.expression:
            return None
        try:
            with WordIndex(self.folder, table).opened() as database:
                if database is None:
                    return None
                known = WordIndex.parts(database)
                parts = [known.get(file) for file in files]
                scanned = self._scanned(search.connection, table, files, parts, query)
                if scanned is None:
                    return None
                if query.phrases or whole or scanned:
                    most = MOST_READ if query.phrases else MOST_ROWS
                    positions, complete = all_positions(database, parts, query.expression, most)
                    if not complete and not partial:
                        return None
                    positions = sorted(positions + scanned)
                else:
                    positions = page_of_positions(database, parts, query.expression, skip, limit)
                    return _source(table, files, positions, is_page=True)
        except sqlite3.DatabaseError:  # damaged, or removed at this moment: the process builds it again
            return None
        return _source(table, files, positions, partial=not complete)

    def _scanned(
        self,
        connection: duckdb.DuckDBPyConnection,
        table: str,
        files: Sequence[str],
        parts: Sequence[Part | None],
        query: Query,
    ) -> list[Position] | None:
        """Selected rows of the files that the index does not have; None if those have too many rows."""
        numbers = [number for number, part in enumerate(parts) if part is None]
        absent = [files[number] for number in numbers]
        if not absent:
            return []
        total = self._rows(connection, table, files)
        without = self._rows(connection, table, absent)
        if without > max(SCANNED_ROWS, SCANNED_SHARE * total):
            return None
        return self._scans.get(
            (table, tuple(absent), query), lambda: self._read(connection, table, numbers, absent, query)
        )

    @staticmethod
    def _read(
        connection: duckdb.DuckDBPyConnection,
        table: str,
        numbers: Sequence[int],
        absent: Sequence[str],
        query: Query,
    ) -> list[Position]:
        """Selected rows of some files, by reading the texts."""
        parameters: dict[str, Any] = {}
        selected = condition([quoted(name) for name in INDEXED[table]], query, parameters)
        sql = f"SELECT filename, file_row_number FROM {rows_with_positions(table, absent)} WHERE {selected}"
        by_name = {file: number for file, number in zip(absent, numbers, strict=True)}
        records = connection.execute(sql, parameters).fetchall()
        return sorted((by_name[name.partition("://")[2]], row) for name, row in records)

    def _files(self, at: str, table: str) -> tuple[str, ...] | None:
        """The local files of a version of a table that can be indexed; None for others."""
        if table not in INDEXED:
            return None
        files = self.connections.files(at, table)
        return None if any("://" in file for file in files) else files

    def _parts(self, table: str, files: Sequence[str]) -> list[Part | None]:
        assert self.folder is not None
        try:
            with WordIndex(self.folder, table).opened() as database:
                known = WordIndex.parts(database) if database is not None else {}
        except sqlite3.DatabaseError:
            known = {}
        return [known.get(file) for file in files]

    @staticmethod
    def _rows(connection: duckdb.DuckDBPyConnection, table: str, files: Sequence[str]) -> int:
        return connection.execute(f"SELECT count(*) FROM {rows_with_positions(table, files)}").fetchall()[0][
            0
        ]


def _source(
    table: str,
    files: Sequence[str],
    positions: Sequence[Position],
    *,
    is_page: bool = False,
    partial: bool = False,
) -> Narrowed:
    """The rows at these positions, with `_file` and `_row`."""
    if not positions:
        return Narrowed(f"(SELECT *, '' AS _file, 0 AS _row FROM {quoted(table)} WHERE false)",
                        ordered="_file, _row", is_page=is_page, partial=partial)  # fmt: skip
    by_file: dict[int, list[int]] = {}
    for number, row in positions:
        by_file.setdefault(number, []).append(row)
    renamed = "* EXCLUDE (filename, file_row_number), filename AS _file, file_row_number AS _row"
    if len(positions) <= MOST_LISTED:
        # Row numbers as constants let DuckDB leave out row groups and pages.
        branches = [
            f"SELECT {renamed} FROM {rows_with_positions(table, [files[number]])}"
            f" WHERE file_row_number IN ({', '.join(map(str, rows))})"
            for number, rows in by_file.items()
        ]
        return Narrowed(f"({' UNION ALL '.join(branches)})", {}, "_file, _row", is_page, partial)
    used = {number: files[number] for number in by_file}
    places = {number: place for place, number in enumerate(used, start=1)}
    source = f"""(
    SELECT {renamed} FROM {rows_with_positions(table, list(used.values()))} t
    SEMI JOIN (SELECT list_extract($_names, unnest($_files)) AS name, unnest($_rows) AS number) p
        ON p.name = t.filename AND p.number = t.file_row_number
    )"""
    parameters = {
        "_names": [f"store://{file}" for file in used.values()],
        "_files": [places[number] for number, _ in positions],
        "_rows": [row for _, row in positions],
    }
    return Narrowed(source, parameters, "_file, _row", is_page, partial)
