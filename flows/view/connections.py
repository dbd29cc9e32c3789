"""Connections to a store at pinned versions, reused between requests, and queries with a time limit."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from flows.view.versions import parse
from pipeline.store import SqlError, Store, connect, errors_in_one_line

if TYPE_CHECKING:
    import duckdb

PAGE_S = 30.0  # for all queries of a page
VERSIONS_KEPT = 4
IDLE_PER_VERSION = 3
FILE_LISTS_KEPT = 16


class Connections:
    """A pool of read-only connections for each of the versions used last. Safe for threads."""

    def __init__(self, location: str) -> None:
        self.location = location
        self._lock = threading.Lock()
        self._idle: OrderedDict[str, list[duckdb.DuckDBPyConnection]] = OrderedDict()
        self._files: OrderedDict[tuple[str, int], tuple[str, ...]] = OrderedDict()

    @contextmanager
    def at(self, versions: str, limit_s: float = PAGE_S) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection for one thread; its queries are interrupted after `limit_s` in all.

        Raises StoreError for versions that do not exist, and SqlError after the limit.
        """
        connection = self._take(versions) or connect(Store(self.location), parse(versions))
        expired = threading.Event()

        def interrupt() -> None:
            expired.set()
            connection.interrupt()

        timer = threading.Timer(limit_s, interrupt)
        timer.daemon = True
        timer.start()
        try:
            yield connection
        # DuckDB's interrupt is taken for Ctrl-C by `pipeline.store`.
        except (SqlError, KeyboardInterrupt) as error:
            if expired.is_set():
                raise SqlError(f"stopped after {limit_s:g} s; ask for less, or use `spo sql`") from error
            raise
        finally:
            timer.cancel()
            if expired.is_set():
                connection.close()
            else:
                self._give_back(versions, connection)

    def files(self, versions: str, table: str) -> tuple[str, ...]:
        """The files of a table at these versions, in the order in which a scan reads them."""
        key = (table, parse(versions)[table])
        with self._lock:
            if key in self._files:
                return self._files[key]
        files = Store(self.location).snapshot(*key).files
        with self._lock:
            self._files[key] = files
            while len(self._files) > FILE_LISTS_KEPT:
                self._files.popitem(last=False)
        return files

    def close(self) -> None:
        with self._lock:
            for connections in self._idle.values():
                for connection in connections:
                    connection.close()
            self._idle.clear()

    def _take(self, versions: str) -> duckdb.DuckDBPyConnection | None:
        with self._lock:
            idle = self._idle.setdefault(versions, [])
            self._idle.move_to_end(versions)
            while len(self._idle) > VERSIONS_KEPT:
                for connection in self._idle.popitem(last=False)[1]:
                    connection.close()
            return idle.pop() if idle else None

    def _give_back(self, versions: str, connection: duckdb.DuckDBPyConnection) -> None:
        with self._lock:
            idle = self._idle.get(versions)
            if idle is not None and len(idle) < IDLE_PER_VERSION:
                idle.append(connection)
                return
        connection.close()


def rows(
    connection: duckdb.DuckDBPyConnection, sql: str, parameters: Mapping[str, Any] | None = None
) -> list[dict[str, Any]]:
    """Rows of a query of ours as dictionaries. Raises SqlError."""
    with errors_in_one_line():
        return connection.sql(sql, params=dict(parameters) if parameters else None).pl().to_dicts()


def row(
    connection: duckdb.DuckDBPyConnection, sql: str, parameters: Mapping[str, Any] | None = None
) -> dict[str, Any] | None:
    """The first row of a query of ours; None without any."""
    records = rows(connection, sql, parameters)
    return records[0] if records else None
