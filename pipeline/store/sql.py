"""SQL over a store: DuckDB in process, every table a view over the Parquet files of one snapshot, nothing
copied.

`connect(store)` gives tables, the ready views of `pipeline/store/views/`, the macros `reward_<name>(verdict,
passed, total)` and `pass_at(samples, correct, k)`; `query(connection, sql)` gives a polars frame, and
`query(connection, "@name")` answers a question of `pipeline/store/questions/`. No extension is loaded beyond
those built in (parquet, json, icu), and no network is used.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.later import later
from pipeline.store import passk, rewards, unique
from pipeline.store.private_folder import private_folder
from pipeline.store.read_only_files import ReadOnlyFiles, url
from pipeline.store.snapshot import Snapshot, StoreError, damaged
from pipeline.store.sql_guard import check_query, predicate
from pipeline.store.sql_parser import SqlError, in_one_line, nodes, select_node
from pipeline.store.store import Store
from pipeline.store.tables import TABLES, Table

if TYPE_CHECKING:
    import duckdb
    import polars as pl
    import pyarrow as pa
else:
    duckdb = later("duckdb")
    pl = later("polars")
    pa = later("pyarrow")

__all__ = [
    "VIEWS",
    "Question",
    "SqlError",
    "connect",
    "errors_in_one_line",
    "in_one_line",
    "literal",
    "predicate",
    "query",
    "question",
    "questions",
    "quoted",
    "relation",
    "rows_with_positions",
    "sql_list",
    "tables_behind",
]

HERE = Path(__file__).parent
# In the order of creation: a view may use those before it.
VIEWS = (
    "judge_versions",
    "judged",
    "problem_success",
    "pass_at_k_of_samples",
    "evaluated_problems",
    "problem_pass_at_k",
    "pass_at_k",
    "reference_counts",
    "clusters",
    "representatives",
    "deduplicated",
    "verdict_drift",
    "claimed_agreement",
    "tokens_by_origin",
    "lineage",
    "ingested",
    "quarantine_reasons",
    "current_tests",
    "problem_quality",
    "contaminated",
    "clean_trajectories",
    "problem_clusters",
    "evaluated",
    "problem_properties",
    "pass_at_k_by_property",
    "pass_at_k_of_samples_by_property",
)
_spills = itertools.count()


def connect(
    store: Store,
    pins: Mapping[str, int] | None = None,
    *,
    read_only: bool = True,
    threads: int | None = None,
    memory_mb: int | None = None,
) -> duckdb.DuckDBPyConnection:
    """DuckDB connection on the store as it is now, or with the tables named in `pins` at those versions.

    Later appends and compactions change nothing in it. Read-only, it runs one query at a time, sees no file
    but the snapshot's own, can write none, and its settings are locked; otherwise COPY and files from
    elsewhere work too. Above `memory_mb` (default: 80 % of the machine's) a query uses the disk. Raises
    StoreError where a version is gone.
    """
    pins = dict(pins or {})
    snapshots = {name: store.snapshot(name, pins.get(name)) for name in TABLES}
    if not read_only:
        for snapshot in snapshots.values():
            snapshot.verify()
    return open_connection(snapshots, VIEWS, read_only=read_only, threads=threads, memory_mb=memory_mb)


def open_connection(
    snapshots: Mapping[str, Snapshot],
    views: Sequence[str],
    *,
    read_only: bool = True,
    threads: int | None = None,
    memory_mb: int | None = None,
    judge_versions: pl.DataFrame | None = None,
) -> duckdb.DuckDBPyConnection:
    """DuckDB connection on these tables and these views over them. `judge_versions`: as in `connect_part`."""
    settings: dict[str, Any] = {"autoinstall_known_extensions": False, "autoload_known_extensions": False}
    if threads:
        settings["threads"] = threads
    if memory_mb:
        settings["memory_limit"] = f"{memory_mb}MB"
    connection = duckdb.connect(config=settings)
    connection.execute("SET GLOBAL TimeZone = 'UTC'")
    local = [file for snapshot in snapshots.values() for file in snapshot.files if "://" not in file]
    if read_only:
        serve_read_only(connection, local)
    for macro in [*rewards.macros(), passk.MACRO, unique.MACRO]:
        connection.execute(macro)
    create_views(connection, views, snapshots)
    if judge_versions is not None:
        connection.register("_judge_versions", judge_versions.to_arrow())
        connection.execute("CREATE OR REPLACE VIEW judge_versions AS SELECT * FROM _judge_versions")
    for name, snapshot in snapshots.items():
        try:
            create_table_view(connection, TABLES[name], snapshot, read_only=read_only)
        except duckdb.Error as error:
            raise StoreError(f"{name}: {damaged(snapshot.files) or in_one_line(error)}") from error
    if read_only:
        close_off(connection, local)
    return connection


def create_views(
    connection: duckdb.DuckDBPyConnection, views: Sequence[str] = VIEWS, tables: Iterable[str] = TABLES
) -> None:
    """Ready views, over names that do not exist yet. `tables`: at least those behind them.

    DuckDB binds a view with all that is behind it when it is created. Behind these are empty tables, which
    are dropped at the end: binding the files instead would take three times as long.
    """
    behind = list(tables) if views else []
    for name in behind:
        types = TABLES[name].duckdb_types
        columns = ", ".join(f"{quoted(column)} {kind}" for column, kind in types.items())
        connection.execute(f"CREATE TABLE {name} ({columns})")
    for name in views:
        connection.execute(f"CREATE VIEW {name} AS {text_of('views', name)}")
    for name in behind:
        connection.execute(f"DROP TABLE {name}")


def serve_read_only(connection: duckdb.DuckDBPyConnection, files: list[str]) -> None:
    """Give a connection these files under names that it can read and not write."""
    if not files:
        return
    connection.register_filesystem(ReadOnlyFiles(files))
    # Else DuckDB reads whole columns ahead, as from a slow network.
    connection.execute("SET disable_parquet_prefetching = true")
    # Footers are read once per connection, as files never change. A file is still compared when it is opened.
    connection.execute("SET parquet_metadata_cache = true")


def close_off(connection: duckdb.DuckDBPyConnection, files: list[str]) -> None:
    """Forbid access to other files, except a private folder for data that does not fit into memory."""
    spill = private_folder("spill") / f"{os.getpid()}-{next(_spills)}"
    connection.execute(f"SET temp_directory = {literal(str(spill))}")
    connection.execute(f"SET allowed_paths = {sql_list([url(file) for file in files])}")
    connection.execute("SET python_enable_replacements = false")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def query(
    connection: duckdb.DuckDBPyConnection, sql: str, parameters: Mapping[str, Any] | None = None
) -> pl.DataFrame:
    """Rows of a query, or of the question `@name`; `$name` in it takes its value from `parameters`.

    Raises SqlError in one line for an unknown table, column, question or parameter, and for a statement that
    writes where the connection is read-only. A statement without rows gives an empty frame, of several
    statements the last one counts.
    """
    with errors_in_one_line():
        result = relation(connection, sql, parameters)
        return pl.DataFrame() if result is None else result.pl()


def relation(
    connection: duckdb.DuckDBPyConnection, sql: str, parameters: Mapping[str, Any] | None = None
) -> duckdb.DuckDBPyRelation | None:
    """The same query, not yet run: to be shown in part or read batch by batch. None for a statement
    without rows.
    """
    name, sql = sql, question(sql[1:].strip().rstrip(";")).sql if sql.startswith("@") else sql
    if missing := sorted(parameters_of(sql) - set(parameters or {})):
        what = name.strip() if name.startswith("@") else "the query"
        wanted = " ".join(f"--parameter {one}=VALUE" for one in missing)
        raise SqlError(f"{what} needs a value for {', '.join('$' + one for one in missing)}: {wanted}")
    if is_read_only(connection):
        check_query(sql)
    with errors_in_one_line():
        return connection.sql(sql, params=dict(parameters) if parameters else None)


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    """SqlError in place of DuckDB's, also for what it finds while rows are read; KeyboardInterrupt where
    Ctrl-C ended it.
    """
    try:
        yield
    except duckdb.Error as error:
        raise SqlError(with_names(in_one_line(error))) from error
    except RuntimeError as error:
        if str(error) == "Query interrupted":
            raise KeyboardInterrupt from error
        raise


@dataclass(frozen=True)
class Question:
    """A saved question: SQL with its explanation as the comment it opens with."""

    name: str
    sql: str

    @property
    def explanation(self) -> str:
        lines = [line[2:].strip() for line in leading_comment(self.sql)]
        return "\n".join(lines)

    @property
    def title(self) -> str:
        return self.explanation.splitlines()[0]


def questions() -> list[Question]:
    """All saved questions, by name."""
    return [question(path.stem) for path in sorted((HERE / "questions").glob("*.sql"))]


def question(name: str) -> Question:
    """The saved question of that name; SqlError lists the names there are."""
    path = HERE / "questions" / f"{name}.sql"
    if "/" in name or not path.is_file():
        known = ", ".join("@" + path.stem for path in sorted((HERE / "questions").glob("*.sql")))
        raise SqlError(f"no question @{name}; there are: {known}")
    return Question(name, path.read_text())


def tables_behind(sql: str) -> list[str]:
    """Names of the store's tables that a query reads, directly or through the ready views; sorted.

    Raises SqlError unless it is one SELECT.
    """
    try:
        tree = select_node(sql)
    except SqlError as error:
        raise SqlError(f"not one SELECT: {error}") from error
    tables: set[str] = set()
    for name in base_tables(tree):
        if name in VIEWS:
            tables |= set(tables_behind(text_of("views", name)))
        elif name in TABLES:
            tables.add(name)
    return sorted(tables)


def base_tables(tree: Any) -> Iterator[str]:
    """Names in the FROM clauses of a syntax tree."""
    return (node["table_name"].lower() for node in nodes(tree) if node.get("type") == "BASE_TABLE")


def create_table_view(
    connection: duckdb.DuckDBPyConnection, table: Table, snapshot: Snapshot, *, read_only: bool
) -> None:
    """A view with the contract's columns: a column newer than a file is null there, partition copies stay
    hidden.

    DuckDB is told the columns, so that it opens no local file before a query needs it (`union_by_name` would
    open them all). Files elsewhere come through Arrow, since its own reader of object storage is an
    extension.
    """
    types = table.duckdb_types
    remote = any("://" in file for file in snapshot.files)
    if remote or not snapshot.files:
        there: set[str] = set()
        if remote:
            dataset = snapshot.dataset()
            there = set(dataset.schema.names)
            connection.register(f"_{table.name}", dataset)
        columns = ", ".join(
            quoted(name) if name in there else f"CAST(NULL AS {kind}) AS {quoted(name)}"
            for name, kind in types.items()
        )
        source = f"FROM _{table.name}" if remote else "WHERE false"
        connection.execute(f"CREATE VIEW {table.name} AS SELECT {columns} {source}")
        return
    files = [url(file) for file in snapshot.files] if read_only else list(snapshot.files)
    connection.execute(f"CREATE VIEW {table.name} AS SELECT * FROM {parquet_rows(table, files)}")


def parquet_rows(table: Table, files: list[str], options: str = "") -> str:
    """The call that reads files of a table with the contract's columns."""
    schema = ", ".join(
        f"{literal(name)}: {{name: {literal(name)}, type: {literal(kind)}, default_value: NULL}}"
        for name, kind in table.duckdb_types.items()
    )
    return f"read_parquet({sql_list(files)}, hive_partitioning = false{options}, schema = MAP {{{schema}}})"


def rows_with_positions(name: str, files: Sequence[str]) -> str:
    """SQL of a FROM clause for a read-only connection: rows of some local files of its snapshot of a table.

    Beside the contract's columns it has `filename` (`store://` and the file) and `file_row_number` (from 0),
    which together name a row for as long as the file exists: files are never changed.
    """
    urls = [url(file) for file in files]
    return parquet_rows(TABLES[name], urls, ", filename = true, file_row_number = true")


def parameters_of(sql: str) -> set[str]:
    """Names of the parameters `$name` of a query; empty if it has none or cannot be parsed."""
    if "$" not in sql:
        return set()
    try:
        tree = select_node(sql)
    except SqlError:
        return set()
    names = {str(node.get("identifier", "")) for node in nodes(tree) if node.get("class") == "PARAMETER"}
    return {name for name in names if name and not name.isdigit()}


def text_of(folder: str, name: str) -> str:
    return (HERE / folder / f"{name}.sql").read_text()


def leading_comment(sql: str) -> list[str]:
    lines = sql.splitlines()
    end = next((i for i, line in enumerate(lines) if not line.startswith("--")), len(lines))
    return lines[:end]


def is_read_only(connection: duckdb.DuckDBPyConnection) -> bool:
    # fetchall, because a result that is not read to its end keeps its connection busy.
    return bool(connection.execute("SELECT current_setting('lock_configuration')").fetchall()[0][0])


def with_names(message: str) -> str:
    """The message; for an unknown table with the known tables and views, unless it has a suggestion."""
    if "Table with name" not in message or any(
        f'Did you mean "{name}' in message for name in (*TABLES, *VIEWS)
    ):
        return message
    return f"{message.partition(';')[0]} There are: {', '.join(sorted((*TABLES, *VIEWS)))}"


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def sql_list(texts: list[str] | tuple[str, ...]) -> str:
    return "[" + ", ".join(map(literal, texts)) + "]"
