"""Reads JSON lines from plain, gzip and zstd files: one row at a time, and `Refused` for each invalid row.

`source_policy.MAX_ROW_BYTES` bounds the memory, whatever the size of the file or of a row.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, BinaryIO, Concatenate, ParamSpec

import orjson
import pyarrow as pa

from pipeline.adapters import Raw, Refused, SourceFile, source_policy
from pipeline.adapters.source_policy import (
    SourceRefused,
    allowed_bytes,
    allowed_rows,
    is_too_deep,
    open_regular,
    stored_size,
    too_large,
    too_many_rows,
)

SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.zst")
LARGE_ROW_KEPT_BYTES = 1 << 20
# pyarrow discards a read that hits the end of a truncated stream, so zstd is read in small blocks.
BLOCK_BYTES = {".gz": 1 << 20, ".zst": 1 << 16}
BROKEN_STREAM = (EOFError, gzip.BadGzipFile, zlib.error, pa.ArrowInvalid)
SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")
# orjson reads integers over 64 bits as floats, so `json` parses rows with that many consecutive digits.
DIGITS_AS_ZEROS = bytes.maketrans(b"123456789", b"000000000")
MANY_DIGITS = b"0" * 19
SIMPLE = frozenset((str, int, bool, type(None)))
# Levels of objects and lists in a plain row: a problem has a list of tests with lists in them.
PLAIN_LEVELS = 4
# Smaller floats are not integers that orjson could not hold.
SURE = 1e18
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


@dataclass(slots=True)
class JsonRow:
    """An object of a JSON lines file with its 1-based line and its bytes; also a row of a table as JSON."""

    line: int
    raw: Raw
    value: dict[str, Any]
    size: int = 0

    @property
    def text(self) -> bytes:
        """The bytes of the row."""
        return self.raw if isinstance(self.raw, bytes) else self.raw()


P = ParamSpec("P")
Rows = Iterator[JsonRow | Refused]


def end_with_refusal(
    rows: Callable[Concatenate[SourceFile, P], Rows],
) -> Callable[Concatenate[SourceFile, P], Rows]:
    """Decorator: if the source policy stops the reading, the rows end with a `Refused` instead of an
    exception.

    Its line is that after the last row, or 0 if no row was read.
    """

    @wraps(rows)
    def bounded(file: SourceFile, *args: P.args, **kwargs: P.kwargs) -> Rows:
        line = 0
        try:
            for row in rows(file, *args, **kwargs):
                line = row.line
                yield row
        except SourceRefused as refusal:
            last = max(line, file.rows_in_file)
            yield Refused(last and last + 1, b"", str(refusal))

    return bounded


@end_with_refusal
def json_rows(file: SourceFile) -> Iterator[JsonRow | Refused]:
    """Every selected line that is not blank, as `JsonRow` or `Refused`. Sets `file.rows_in_file`."""
    lines = file.select_lines() if file.select_lines else None
    file.rows_in_file = 0
    for number, raw, fault in numbered_lines(file):
        file.rows_in_file += 1
        if fault is not None:
            yield Refused(number, raw, fault, size=len(raw))
        elif lines is None or number in lines:
            yield parse(number, raw)


def parse(number: int, raw: bytes) -> JsonRow | Refused:
    """One line as an object; refused if it is not UTF-8, not JSON, not an object, or has invalid text."""
    try:
        value, is_plain = _parsed(raw)
    except UnicodeDecodeError as error:
        return Refused(number, raw, f"not UTF-8: {error.reason} at byte {error.start}", size=len(raw))
    except UnicodeEncodeError:
        return Refused(number, raw, "contains an unpaired surrogate, which is not valid text", size=len(raw))
    except RecursionError:
        reason = f"JSON that is nested too deeply, more than {source_policy.MAX_JSON_DEPTH} levels"
        return Refused(number, raw, reason, size=len(raw))
    except ValueError as error:
        return Refused(number, raw, f"not JSON: {error}", size=len(raw))
    # Each level begins with a bracket, so only rows with many brackets need the check.
    if (
        not is_plain
        and raw.count(b"[") + raw.count(b"{") > source_policy.MAX_JSON_DEPTH
        and is_too_deep(value)
    ):
        reason = f"JSON that is nested too deeply, more than {source_policy.MAX_JSON_DEPTH} levels"
        return Refused(number, raw, reason, size=len(raw))
    if not isinstance(value, dict):
        return Refused(number, raw, f"expected a JSON object, found {type(value).__name__}", size=len(raw))
    return JsonRow(number, raw, value, len(raw))


def parse_json(raw: bytes) -> Any:
    """A JSON value, parsed like `json` does. Raises UnicodeEncodeError for an unpaired surrogate."""
    return _parsed(raw)[0]


def _parsed(raw: bytes) -> tuple[Any, bool]:
    """A JSON value, and whether it is known to be plain (`is_plain_row`)."""
    try:
        value = orjson.loads(raw)
        if is_plain_row(value):
            return value, True
        if MANY_DIGITS not in raw.translate(DIGITS_AS_ZEROS):
            return value, False
    except orjson.JSONDecodeError:
        pass  # `json` has the better message, and accepts NaN, which validation refuses with its column
    value = json.loads(raw.decode())
    if SURROGATE_ESCAPE.search(raw):
        json.dumps(value, ensure_ascii=False).encode()
    return value, False


def is_plain_row(value: Any) -> bool:
    """Whether a value is an object of few levels, with no number that may be an integer over 64 bits. Most
    rows are: they need no look at their bytes.
    """
    return type(value) is dict and _is_plain(value, PLAIN_LEVELS)


def _is_plain(value: Any, levels: int) -> bool:
    parts: Iterable[Any] = value.values() if type(value) is dict else value
    if SIMPLE.issuperset(map(type, parts)):
        return True
    for part in parts:
        kind = type(part)
        if kind in SIMPLE:
            continue
        if kind is float:
            if not -SURE < part < SURE:
                return False
        elif levels == 1 or not _is_plain(part, levels - 1):
            return False
    return True


def parse_nested_json(text: str) -> Any:
    """A JSON value in a text column. Raises ValueError, also if it is nested too deeply."""
    value = json.loads(text)
    if is_too_deep(value):
        raise ValueError(
            f"JSON text that is nested too deeply, more than {source_policy.MAX_JSON_DEPTH} levels"
        )
    return value


def numbered_lines(file: SourceFile) -> Iterator[tuple[int, bytes, str | None]]:
    """(1-based number, bytes without line end, fault or None) of every line that is not blank."""
    number = 0
    with open_stored(file) as stored:
        most = row_limit(file, stored)
        for lines, fault in _split(read_blocks(file, stored, count_rows=False)):
            if number == 0 and fault is None:
                lines[0] = lines[0].removeprefix(b"\xef\xbb\xbf")
                if lines[0][:2] in UTF16_MARKS:
                    yield 0, lines[0][:LARGE_ROW_KEPT_BYTES], "the file is UTF-16; convert it to UTF-8"
                    return
            for raw in lines:
                number += 1
                if number > most:
                    raise too_many_rows(file.name, stored_size(stored, file.size_bytes))
                if fault is not None or raw.strip():
                    yield number, raw, fault


def open_stored(file: SourceFile) -> Any:
    """The stored bytes of a file, local or on the Hub. Raises SourceRefused if the file must not be read."""
    if file.fault:
        raise SourceRefused(file.fault)
    if "://" not in file.path:
        return open_regular(file.path, file.roots, file.name)
    from huggingface_hub import HfFileSystem

    return HfFileSystem().open(file.path, "rb")


def row_limit(file: SourceFile, stored: BinaryIO) -> int:
    """Largest number of rows of a file; a file that is not compressed is its own limit."""
    if Path(file.path).suffix not in BLOCK_BYTES:
        return sys.maxsize
    return allowed_rows(stored_size(stored, file.size_bytes)) + 1


def read_blocks(file: SourceFile, stored: BinaryIO, *, count_rows: bool = True) -> Iterator[bytes]:
    """Decompressed blocks of a file. Raises SourceRefused if it expands too far, and BROKEN_STREAM errors.

    `count_rows` False: the caller counts the lines.
    """
    suffix = Path(file.path).suffix
    block_bytes = BLOCK_BYTES.get(suffix, 1 << 20)
    stream: Any = stored
    if suffix == ".gz":
        stream = gzip.GzipFile(fileobj=stored)
    elif suffix == ".zst":
        stream = pa.CompressedInputStream(pa.PythonFile(stored, mode="r"), "zstd")
    read = stream.read1 if isinstance(stream, (gzip.GzipFile, io.BufferedReader)) else stream.read
    stored_bytes = stored_size(stored, file.size_bytes)
    expanded = lines = 0
    while True:
        try:
            block = read(block_bytes)
        except OSError as error:
            # pyarrow reports a broken stream as an OSError without errno. A disk error has an errno and must
            # be raised.
            if error.errno is not None:
                raise
            raise EOFError(str(error)) from error
        if not block:
            return
        if stream is not stored:
            expanded += len(block)
            lines += block.count(b"\n") if count_rows else 0
            if expanded > allowed_bytes(stored_bytes):
                raise too_large(file.name, stored_bytes)
            if lines > allowed_rows(stored_bytes):
                raise too_many_rows(file.name, stored_bytes)
        file.bytes_read = stored.tell()
        yield block


def _split(blocks: Iterator[bytes]) -> Iterator[tuple[list[bytes], str | None]]:
    """(lines, fault) of a stream: lines without a fault, or one line with its fault. Of a line over
    MAX_ROW_BYTES only the beginning is kept; a broken stream ends with its last partial line.
    """
    pending: list[bytes] = []
    held = dropped = 0
    try:
        for block in blocks:
            *complete, rest = block.split(b"\n")
            if complete:
                yield _joined(pending, complete[0], dropped)
                yield from _whole(complete[1:])
                pending, held, dropped = [], 0, 0
            if held + len(rest) > source_policy.MAX_ROW_BYTES:
                beginning = b"".join(pending) + rest
                dropped += len(beginning) - LARGE_ROW_KEPT_BYTES
                pending, held = [beginning[:LARGE_ROW_KEPT_BYTES]], source_policy.MAX_ROW_BYTES
            elif rest:
                pending.append(rest)
                held += len(rest)
    except BROKEN_STREAM as error:
        yield [b"".join(pending)], f"the file is truncated or broken here: {error}"
        return
    if pending:
        yield _joined(pending, b"", dropped)


def _whole(lines: list[bytes]) -> Iterator[tuple[list[bytes], str | None]]:
    """The same of lines that lie in one block: all at once if none is too long."""
    if lines and max(map(len, lines)) <= source_policy.MAX_ROW_BYTES:
        yield [line.removesuffix(b"\r") for line in lines], None
    else:
        yield from (_joined([], line, 0) for line in lines)


def _joined(pending: list[bytes], last: bytes, dropped: int) -> tuple[list[bytes], str | None]:
    whole = b"".join(pending) + last if pending else last
    length = len(whole) + dropped
    if length > source_policy.MAX_ROW_BYTES:
        return [whole[:LARGE_ROW_KEPT_BYTES]], (
            f"row of {length} bytes; limit {source_policy.MAX_ROW_BYTES}; only its beginning is kept"
        )
    return [whole.removesuffix(b"\r")], None
