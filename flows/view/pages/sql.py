"""The SQL box: one query that only reads, as a table of its first rows or as a file."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any

from flows.view.connections import rows
from flows.view.pages.tables import selection
from flows.view.selection import column_types
from flows.view.visit import Visit
from flows.view.window import selected_rows
from pipeline.store import TABLES, VIEWS, SqlError, errors_in_one_line, questions, relation, write_rows

if TYPE_CHECKING:
    import duckdb

SHOWN_ROWS = 500
MAX_DOWNLOAD_BYTES = 1 << 30
CHUNK_BYTES = 1 << 16
FUNCTIONS = """
SELECT DISTINCT function_name FROM duckdb_functions()
WHERE function_type IN ('scalar', 'aggregate', 'macro') AND regexp_matches(function_name, '^[a-z][a-z0-9_]*$')
ORDER BY function_name
"""
# fmt: off
KEYWORDS = [
    "SELECT", "FROM", "WHERE", "GROUP", "BY", "ALL", "HAVING", "ORDER", "LIMIT", "OFFSET", "WITH", "AS",
    "JOIN", "LEFT", "USING", "ON", "AND", "OR", "NOT", "IN", "IS", "NULL", "CASE", "WHEN", "THEN", "ELSE",
    "END", "DISTINCT", "UNION", "EXCEPT", "INTERSECT", "QUALIFY", "OVER", "PARTITION", "FILTER", "ASC",
    "DESC", "BETWEEN", "LIKE",
]
# fmt: on
MEDIA_TYPES = {
    "csv": "text/csv",
    "json": "application/json",
    "jsonl": "application/jsonl",
    "parquet": "application/vnd.apache.parquet",
}


def sql_page(visit: Visit) -> tuple[str, dict[str, Any]]:
    """The box with the result of its query, or with the query's error. The query is checked as by `spo sql`,
    and its connection can open no file and change no setting.
    """
    text, given = visit.get("q").strip(), visit.all("p")
    facts: dict[str, Any] = {"text": text, "error": None, "columns": [], "rows": [], "more": False}
    if text:
        try:
            result = relation(visit.connection, text, _parameters(given))
            if result is None:
                raise SqlError("the query has no rows")
            with errors_in_one_line():
                frame = result.limit(SHOWN_ROWS + 1).pl()
            facts |= {
                "columns": frame.columns,
                "rows": frame.head(SHOWN_ROWS).rows(),
                "more": frame.height > SHOWN_ROWS,
            }
        except (SqlError, KeyboardInterrupt) as error:
            facts["error"] = str(error) or "stopped at the time limit; ask for less, or use `spo sql`"
    return "sql.html", facts | {"questions": questions(), "given": given, "shown_rows": SHOWN_ROWS}


def words(visit: Visit) -> Any:
    """Names for the completion: columns by table or view, functions, and keywords."""
    from starlette.responses import JSONResponse

    tables = {name: list(column_types(visit.connection, name)) for name in (*TABLES, *VIEWS)}
    functions = [one["function_name"] for one in rows(visit.connection, FUNCTIONS)]
    return JSONResponse({"tables": tables, "functions": functions, "keywords": KEYWORDS})


def download(visit: Visit) -> Any:
    """All rows of a query as a file. Raises SqlError for a result above MAX_DOWNLOAD_BYTES."""
    result = relation(visit.connection, visit.get("q"), _parameters(visit.all("p")))
    if result is None:
        raise SqlError("the query has no rows")
    return _file_of(visit, result)


def download_table(visit: Visit) -> Any:
    """All selected rows of a table or view, with whole texts, as a file."""
    sql, parameters = selected_rows(visit.connection, selection(visit), visit.search)
    with errors_in_one_line():
        return _file_of(visit, visit.connection.sql(sql, params=parameters or None))


def _file_of(visit: Visit, result: duckdb.DuckDBPyRelation) -> Any:
    from starlette.responses import StreamingResponse

    kind = visit.get("format", "csv")
    if kind not in MEDIA_TYPES:
        raise SqlError(f"format: {kind[:40]!r} is not one of {', '.join(MEDIA_TYPES)}")
    # The file has no name; it is deleted when the response is closed.
    file = tempfile.TemporaryFile()  # noqa: SIM115
    try:
        write_rows(result, _Bounded(file), kind)  # type: ignore[arg-type]
    except BaseException:
        file.close()
        raise
    name = f'attachment; filename="rows.{kind}"'
    return StreamingResponse(
        _chunks(file), media_type=MEDIA_TYPES[kind], headers={"content-disposition": name}
    )


def _parameters(given: list[str]) -> dict[str, str] | None:
    """NAME=VALUE pairs of the repeated parameter `p`."""
    pairs = [text.partition("=") for text in given]
    return {name: value for name, sign, value in pairs if name and sign} or None


class _Bounded:
    """A file that refuses to grow beyond MAX_DOWNLOAD_BYTES."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.written = file, 0
        self.closed = False

    def write(self, data: bytes) -> int:
        self.written += len(data)
        if self.written > MAX_DOWNLOAD_BYTES:
            raise SqlError(
                f"the result is larger than {MAX_DOWNLOAD_BYTES >> 20} MiB; write it with `spo sql -o`"
            )
        return self.file.write(data)

    def flush(self) -> None:
        self.file.flush()

    def tell(self) -> int:
        return self.written

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def close(self) -> None:
        self.closed = True


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        file.seek(0)
        while part := file.read(CHUNK_BYTES):
            yield part
