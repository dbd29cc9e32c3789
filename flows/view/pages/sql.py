"""The SQL box: one query that only reads, as a table of its first rows or as a file."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import IO, Any

from flows.view.visit import Visit
from pipeline.store import SqlError, errors_in_one_line, questions, relation, write_rows

SHOWN_ROWS = 500
MAX_DOWNLOAD_BYTES = 1 << 30
CHUNK_BYTES = 1 << 16
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


def download(visit: Visit) -> Any:
    """All rows of a query as a file. Raises SqlError for a result above MAX_DOWNLOAD_BYTES."""
    from starlette.responses import StreamingResponse

    kind = visit.get("format", "csv")
    if kind not in MEDIA_TYPES:
        raise SqlError(f"format: {kind[:40]!r} is not one of {', '.join(MEDIA_TYPES)}")
    result = relation(visit.connection, visit.get("q"), _parameters(visit.all("p")))
    if result is None:
        raise SqlError("the query has no rows")
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
