"""Rows out of whatever a data set is stored in, and the base class of adapters that translate row by row.

JSON lines (plain, gzip, zstd), JSON documents, Parquet and Arrow files, here or on the Hub, are all streamed.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.adapters import ReadItem, Refused, SourceError, SourceFile, local_file
from pipeline.adapters.documents import document_row, document_rows
from pipeline.adapters.hub import hub_files
from pipeline.adapters.lines import BROKEN_STREAM, SUFFIXES, JsonRow, blocks, json_rows, opened
from pipeline.adapters.sample import PER_PROBLEM_AND_POLICY, Place, bounded

DOCUMENTS = (".json", ".json.gz", ".json.zst")
TABLES = (".parquet", ".arrow")
# Rows hold up to tens of megabytes of tests, so few are decoded at a time.
ROWS_AT_ONCE = 8
READ_BYTES = 1 << 20
BATCH_BYTES, MAX_ROWS_AT_ONCE = 4 << 20, 500
SHAPE_ERRORS = (
    TypeError,
    ValueError,
    AttributeError,
    IndexError,
    ArithmeticError,
    RecursionError,
    SyntaxError,
    EOFError,
    zlib.error,
    struct.error,
)


def rows(file: SourceFile, document_depth: int = 1) -> Iterator[JsonRow | Refused]:
    """Every chosen row of a file, or a refusal in its place."""
    if file.path.endswith(TABLES):
        return table_rows(file)
    if file.path.endswith(DOCUMENTS) and not (document_depth == 1 and holds_lines(file)):
        return document_rows(file, document_depth)
    return json_rows(file)


def holds_lines(file: SourceFile) -> bool:
    """Whether a .json file holds an object a line instead of one list, as many data sets have it."""
    try:
        with opened(file) as stored:
            begins = (block.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] for block in blocks(file, stored))
            return next(filter(None, begins), b"") == b"{"
    except BROKEN_STREAM:
        return False


def table_rows(file: SourceFile) -> Iterator[JsonRow | Refused]:
    """Rows of a Parquet file or an Arrow stream or file; the bytes of a row are its JSON, made when it is refused."""
    chosen = file.draw() if file.draw else None
    file.rows_in_file = 0
    try:
        with opened(file) as stored:
            for batch in _batches(file, stored):
                for place in range(batch.num_rows):
                    file.rows_in_file += 1
                    if chosen is None or file.rows_in_file in chosen:
                        value = batch.slice(place, 1).to_pylist()[0]
                        yield JsonRow(
                            file.rows_in_file, partial(written, value), value, batch.nbytes // batch.num_rows
                        )
                if not file.path.endswith(".parquet"):
                    file.bytes_read = stored.tell()
    except (pa.ArrowException, OSError) as error:
        # A broken file is a fact about the source; a failing disk or network is not, and must be heard.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        yield Refused(
            file.rows_in_file and file.rows_in_file + 1, b"", f"not a table that can be read: {error}"
        )


def _batches(file: SourceFile, stored: Any) -> Iterator[pa.RecordBatch]:
    if file.path.endswith(".parquet"):
        import pyarrow.parquet as pq

        table = pq.ParquetFile(stored, buffer_size=READ_BYTES)
        total = max(table.metadata.num_rows, 1)
        # One row group at a time, and as many rows as a block holds: more of them together cost Arrow several times their size.
        for number in range(table.num_row_groups):
            group = table.metadata.row_group(number)
            at_once = max(
                1, min(MAX_ROWS_AT_ONCE, BATCH_BYTES * group.num_rows // max(group.total_byte_size, 1))
            )
            for batch in table.iter_batches(batch_size=at_once, row_groups=[number], use_threads=False):
                # The file is not read from its beginning to its end, so progress goes by rows.
                file.bytes_read += file.size_bytes * batch.num_rows // total
                yield batch
        return
    try:
        batches: Iterable[pa.RecordBatch] = pa.ipc.open_stream(stored)
    except pa.ArrowInvalid:
        stored.seek(0)
        reader = pa.ipc.open_file(stored)
        batches = (reader.get_batch(number) for number in range(reader.num_record_batches))
    for batch in batches:
        for place in range(0, batch.num_rows, ROWS_AT_ONCE):
            yield batch.slice(place, ROWS_AT_ONCE)


def written(value: dict[str, Any]) -> bytes:
    """A row that was not text, or a part of one, as text for the quarantine."""
    return json.dumps(value, ensure_ascii=False, default=str).encode(errors="backslashreplace")


def source_files(source: str, suffixes: tuple[str, ...]) -> list[SourceFile]:
    """The files of a source in the order of their names: a file, a folder, or a data set on the Hub. Raises SourceError."""
    root = Path(source)
    if root.is_dir():
        paths = sorted(path for path in root.rglob("*") if path.name.endswith(suffixes) and path.is_file())
        files = [local_file(path, root) for path in paths]
    elif root.exists():
        files = [local_file(root, root)] if root.name.endswith(suffixes) else []
    else:
        files = hub_files(source, suffixes)
    if not files:
        raise SourceError(f"no {', '.join(suffixes)} in {source}")
    return files


class RowAdapter:
    """An adapter whose rows each stand for themselves. A user's own sets `name` and gives `items`, and `place` for samples."""

    name: str
    suffixes: tuple[str, ...] = (*SUFFIXES, *DOCUMENTS, *TABLES)
    document_depth: int = 1

    def items(self, row: JsonRow, file: SourceFile) -> Iterable[ReadItem]:
        """What a row holds. A KeyError, TypeError, ValueError or the like refuses the row, whole, with that reason."""
        raise NotImplementedError

    def place(self, row: JsonRow) -> Place | None:
        """What decides whether a row belongs to a bounded sample; None: it is read anyway, and refused."""
        raise NotImplementedError

    def files(self, source: str, limit: int | None) -> list[SourceFile]:
        files = source_files(source, self.suffixes)
        return files if limit is None else bounded(files, limit, self._place, self._rows)

    def read(self, file: SourceFile) -> Iterator[ReadItem]:
        for row in self._rows(file):
            yield from [row] if isinstance(row, Refused) else self.translated(row, file)

    def reread(self, raw: bytes, line: int, file: SourceFile) -> list[ReadItem]:
        """The items of a row that was refused, from the bytes that the quarantine keeps."""
        row = document_row(line, raw)
        return [row] if isinstance(row, Refused) else self.translated(row, file)

    def translated(self, row: JsonRow, file: SourceFile) -> list[ReadItem]:
        """The items of a row, or the row as refused; never nothing."""
        try:
            found = list(self.items(row, file))
        except KeyError as error:
            return [Refused(row.line, row.raw, "key is missing", str(error.args[0]), row.size)]
        except SHAPE_ERRORS as error:
            return [Refused(row.line, row.raw, f"not the documented shape: {error}", size=row.size)]
        return found or [Refused(row.line, row.raw, "holds neither a problem nor a solution", size=row.size)]

    def _rows(self, file: SourceFile) -> Iterator[JsonRow | Refused]:
        return rows(file, self.document_depth)

    def _place(self, row: JsonRow) -> Place | None:
        try:
            return self.place(row)
        except (KeyError, *SHAPE_ERRORS):
            return None


def at_most(file: SourceFile) -> int | None:
    """How many solutions of a problem are read: all, or few in a bounded sample."""
    return PER_PROBLEM_AND_POLICY if "limit" in file.options else None
