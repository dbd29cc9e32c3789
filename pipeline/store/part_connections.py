"""Connections on a part of a store: what one query reads, or some files. They open in a fraction of the time
of `connect`, whose ready views alone take most of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING

from pipeline.later import later
from pipeline.store.errors import StoreError
from pipeline.store.snapshot import NOT_CREATED, Snapshot
from pipeline.store.sql import VIEWS, base_tables, connect, open_connection, text_of
from pipeline.store.sql_parser import SqlError, select_node
from pipeline.store.store import Store
from pipeline.store.tables import TABLES

if TYPE_CHECKING:
    import duckdb
    import polars as pl
else:
    duckdb = later("duckdb")
    pl = later("polars")


def connect_for(
    store: Store,
    *queries: str,
    pins: Mapping[str, int] | None = None,
    since: Mapping[str, int] | None = None,
) -> duckdb.DuckDBPyConnection:
    """Read-only DuckDB connection for some queries: the tables and views that they name, directly or through
    views, as they are now or at the versions in `pins`.

    Of the tables in `since` it has at least the rows that were added after these versions, and no others
    where those can be told apart. Raises StoreError where a version is gone.
    """
    try:
        tables, views = _named_in(queries)
    except SqlError:  # several statements; the query itself says what is wrong
        return connect(store, pins)
    pins, since = pins or {}, since or {}
    snapshots = {
        name: _added(store, name, since[name]) if name in since else store.snapshot(name, pins.get(name))
        for name in tables
    }
    return open_connection(snapshots, views)


def connect_part(
    snapshots: Mapping[str, Snapshot], judge_versions: pl.DataFrame, views: Sequence[str]
) -> duckdb.DuckDBPyConnection:
    """Read-only DuckDB connection on some files of some tables, and on these views alone. A table that is
    behind them and not in `snapshots` is empty; others are not there.

    `judge_versions`: rows of the view of that name over the whole store, because they decide which verdict
    of a trajectory holds. With them, `judged` has for a trajectory what it has over the whole store if all
    files are there that have rows of it or of its problem.
    """
    behind = {name for view in views for name in _named_in((f"FROM {view}",))[0]}
    empty = {name: Snapshot(TABLES[name], NOT_CREATED, ()) for name in sorted(behind)}
    return open_connection(empty | dict(snapshots), views, judge_versions=judge_versions)


def _added(store: Store, name: str, version: int) -> Snapshot:
    """The rows that were added after a version, or all where maintenance has come between."""
    with suppress(StoreError):  # not a local store, or rows were taken out
        added = store.added(name, version, store.version(name))
        if not added.missing_files():
            return added
    return store.snapshot(name)


@lru_cache(maxsize=256)
def _named_in(queries: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The tables and the views behind queries, the latter in the order of their creation."""
    tables: set[str] = set()
    views: set[str] = set()
    waiting = list(queries)
    while waiting:
        for name in base_tables(select_node(waiting.pop())):
            if name in TABLES:
                tables.add(name)
            elif name in VIEWS and name not in views:
                views.add(name)
                waiting.append(text_of("views", name))
    return tuple(sorted(tables)), tuple(name for name in VIEWS if name in views)
