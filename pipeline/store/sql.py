"""SQL over a store: DuckDB in process, every table a view over the Parquet files of one snapshot, nothing copied.

`connect(store)` gives tables, the ready views of `pipeline/store/views/`, the macros `reward_<name>(verdict, passed, total)` and
`pass_at(samples, correct, k)`; `query(connection, sql)` gives a polars frame, and `query(connection, "@name")` answers a question
of `pipeline/store/questions/`. No extension is loaded beyond those built in (parquet, json, icu), and no network is used.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa

from pipeline.store import passk, rewards
from pipeline.store.contracts import TABLES, Table
from pipeline.store.snapshot import Snapshot, StoreError, damaged
from pipeline.store.store import Store

HERE = Path(__file__).parent
# In the order of creation: a view may use those before it.
VIEWS = (
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
)
READING = ("SELECT", "EXPLAIN", "PRAGMA")
SCALAR_TYPES = {
    pa.string(): "VARCHAR",
    pa.large_string(): "VARCHAR",
    pa.bool_(): "BOOLEAN",
    pa.binary(): "BLOB",
    pa.large_binary(): "BLOB",
    pa.int8(): "TINYINT",
    pa.int16(): "SMALLINT",
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.uint8(): "UTINYINT",
    pa.uint16(): "USMALLINT",
    pa.uint32(): "UINTEGER",
    pa.uint64(): "UBIGINT",
    pa.float32(): "FLOAT",
    pa.float64(): "DOUBLE",
}


class SqlError(ValueError):
    """A query DuckDB refuses; one line that says what is wrong and, where it is known, what was meant."""


def connect(
    store: Store, pins: Mapping[str, int] | None = None, *, read_only: bool = True, threads: int | None = None
) -> duckdb.DuckDBPyConnection:
    """DuckDB connection on the store as it is now, or with the tables named in `pins` at those versions.

    Later appends and compactions change nothing in it. Read-only, it touches no file but the snapshot's own, and its
    settings are locked; otherwise COPY and files from elsewhere work too. Raises StoreError where a version is gone.
    """
    pins = dict(pins or {})
    settings: dict[str, Any] = {"autoinstall_known_extensions": False, "autoload_known_extensions": False}
    connection = duckdb.connect(config=settings | ({"threads": threads} if threads else {}))
    connection.execute("SET GLOBAL TimeZone = 'UTC'")
    files: list[str] = []
    for name, table in TABLES.items():
        snapshot = store.snapshot(name, pins.get(name))
        try:
            create_table_view(connection, table, snapshot)
        except duckdb.Error as error:
            raise StoreError(f"{name}: {damaged(snapshot.files) or in_one_line(error)}") from error
        files += snapshot.files
    for macro in [*rewards.macros(), passk.MACRO]:
        connection.execute(macro)
    for name in VIEWS:
        connection.execute(f"CREATE VIEW {name} AS {text_of('views', name)}")
    if read_only:
        connection.execute(f"SET allowed_paths = {sql_list(files)}")
        connection.execute("SET python_enable_replacements = false")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
    return connection


def query(
    connection: duckdb.DuckDBPyConnection, sql: str, parameters: Mapping[str, Any] | None = None
) -> pl.DataFrame:
    """Rows of a query, or of the question `@name`; `$name` in it takes its value from `parameters`.

    Raises SqlError in one line for an unknown table, column, question or parameter, and for a statement that writes where
    the connection is read-only. A statement without rows gives an empty frame, of several statements the last one counts.
    """
    with errors_in_one_line():
        found = relation(connection, sql, parameters)
        return pl.DataFrame() if found is None else found.pl()


def relation(
    connection: duckdb.DuckDBPyConnection, sql: str, parameters: Mapping[str, Any] | None = None
) -> duckdb.DuckDBPyRelation | None:
    """The same query, not yet run: to be shown in part or read batch by batch. None for a statement without rows."""
    sql = question(sql[1:].strip().rstrip(";")).sql if sql.startswith("@") else sql
    with errors_in_one_line():
        if is_read_only(connection):
            refuse_writing(connection, sql)
        return connection.sql(sql, params=dict(parameters) if parameters else None)


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    """SqlError in place of DuckDB's, also for what it finds while rows are read; KeyboardInterrupt where Ctrl-C ended it."""
    try:
        yield
    except duckdb.Error as error:
        raise SqlError(in_one_line(error)) from error
    except RuntimeError as error:
        if str(error) == "Query interrupted":
            raise KeyboardInterrupt from error
        raise


@dataclass(frozen=True)
class Question:
    """A worked question: SQL with its explanation as the comment it opens with."""

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
    """All worked questions, by name."""
    return [question(path.stem) for path in sorted((HERE / "questions").glob("*.sql"))]


def question(name: str) -> Question:
    """The worked question of that name; SqlError lists the names there are."""
    path = HERE / "questions" / f"{name}.sql"
    if "/" in name or not path.is_file():
        known = ", ".join("@" + path.stem for path in sorted((HERE / "questions").glob("*.sql")))
        raise SqlError(f"no question @{name}; there are: {known}")
    return Question(name, path.read_text())


def tables_behind(connection: duckdb.DuckDBPyConnection, sql: str) -> list[str]:
    """Names of the store's tables that a query reads, directly or through the ready views; sorted.

    Raises SqlError unless it is one SELECT.
    """
    tree = json.loads(single_value(connection, "SELECT json_serialize_sql($1)", [sql]))
    if tree.get("error") or len(tree["statements"]) != 1:
        raise SqlError(f"not one SELECT: {tree.get('error_message', 'several statements')}: {sql:.80}")
    found: set[str] = set()
    for name in base_tables(tree):
        if name in VIEWS:
            found |= set(tables_behind(connection, text_of("views", name)))
        elif name in TABLES:
            found.add(name)
    return sorted(found)


def base_tables(node: Any) -> Iterator[str]:
    """Names in the FROM clauses of a serialised query."""
    if isinstance(node, dict):
        if node.get("type") == "BASE_TABLE":
            yield node["table_name"].lower()
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from base_tables(child)


def create_table_view(connection: duckdb.DuckDBPyConnection, table: Table, snapshot: Snapshot) -> None:
    """A view with the contract's columns: a column newer than a file is null there, partition copies stay hidden.

    DuckDB is told the columns, so that it opens no local file before a query needs it (`union_by_name` would open them all).
    Files elsewhere come through Arrow, since its own reader of object storage is an extension.
    """
    types = {field.name: type_of(field.type) for field in table.arrow_schema}
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
    schema = ", ".join(
        f"{literal(name)}: {{name: {literal(name)}, type: {literal(kind)}, default_value: NULL}}"
        for name, kind in types.items()
    )
    connection.execute(
        f"CREATE VIEW {table.name} AS SELECT * FROM"
        f" read_parquet({sql_list(snapshot.files)}, hive_partitioning = false, schema = MAP {{{schema}}})"
    )


def type_of(kind: pa.DataType) -> str:
    """DuckDB's name of an Arrow type. (Its own `from_arrow` knows them too, but loads pandas, which takes a second.)"""
    if pa.types.is_struct(kind):
        return f"STRUCT({', '.join(f'{quoted(field.name)} {type_of(field.type)}' for field in kind)})"
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return f"{type_of(kind.value_type)}[]"
    if pa.types.is_timestamp(kind) and kind.tz and kind.unit == "us":
        return "TIMESTAMP WITH TIME ZONE"
    return SCALAR_TYPES[kind]


def text_of(folder: str, name: str) -> str:
    return (HERE / folder / f"{name}.sql").read_text()


def leading_comment(sql: str) -> list[str]:
    lines = sql.splitlines()
    end = next((i for i, line in enumerate(lines) if not line.startswith("--")), len(lines))
    return lines[:end]


def is_read_only(connection: duckdb.DuckDBPyConnection) -> bool:
    return bool(single_value(connection, "SELECT current_setting('lock_configuration')"))


def refuse_writing(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    for statement in connection.extract_statements(sql):
        if statement.type.name not in READING:
            raise SqlError(
                f"the store is open for reading only, and {statement.type.name} is no query: {sql:.80}"
            )


def single_value(connection: duckdb.DuckDBPyConnection, sql: str, parameters: list[str] | None = None) -> Any:
    # fetchall, because a result that is not read to its end keeps its connection busy.
    return connection.execute(sql, parameters).fetchall()[0][0]


def in_one_line(error: duckdb.Error) -> str:
    message = str(error).split("\nLINE ")[0].strip()
    said = "; ".join(line.strip() for line in message.splitlines() if line.strip())
    if "Table with name" in said and not any(f'Did you mean "{name}' in said for name in (*TABLES, *VIEWS)):
        said = f"{said.partition(';')[0]} There are: {', '.join(sorted((*TABLES, *VIEWS)))}"
    return said


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def sql_list(texts: list[str] | tuple[str, ...]) -> str:
    return "[" + ", ".join(map(literal, texts)) + "]"
