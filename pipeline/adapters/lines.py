"""JSON lines out of plain, gzip and zstd files: one row at a time, and a `Refused` for each row that is none.

Memory is bounded by `source_policy.MAX_ROW_BYTES`, whatever the size of the file or of a row.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import zlib
from collections.abc import Callable, Iterator
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
    stored_bytes_of,
    too_large,
    too_many_rows,
)

SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.zst")
KEPT_OF_GIANT_BYTES = 1 << 20
# pyarrow throws away the whole of a read that hits the end of a truncated stream, so zstd is read in small
# pieces.
BLOCK_BYTES = {".gz": 1 << 20, ".zst": 1 << 16}
BROKEN_STREAM = (EOFError, gzip.BadGzipFile, zlib.error, pa.ArrowInvalid)
SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")
# orjson reads integers over 64 bits as floats: rows with that many digits in a row are left to `json`.
DIGITS_AS_ZEROS = bytes.maketrans(b"123456789", b"000000000")
MANY_DIGITS = b"0" * 19
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


@dataclass(slots=True)
class JsonRow:
    """An object of a JSON lines file, with its 1-based line and the line's bytes; also a row of a table,
    written out as JSON.
    """

    line: int
    raw: Raw
    value: dict[str, Any]
    size: int = 0

    @property
    def text(self) -> bytes:
        """The row as it was read."""
        return self.raw if isinstance(self.raw, bytes) else self.raw()


P = ParamSpec("P")
Rows = Iterator[JsonRow | Refused]


def refused_in_place(
    rows: Callable[Concatenate[SourceFile, P], Rows],
) -> Callable[Concatenate[SourceFile, P], Rows]:
    """Rows of a file that end with a `Refused` where the policy for sources ends them: line 0 where none
    was read before.
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


@refused_in_place
def json_rows(file: SourceFile) -> Iterator[JsonRow | Refused]:
    """Every chosen line that is not blank, as an object or as refused. Sets `file.rows_in_file` to the
    lines it holds.
    """
    lines = file.draw() if file.draw else None
    file.rows_in_file = 0
    for number, raw, fault in numbered_lines(file):
        file.rows_in_file += 1
        if fault is not None:
            yield Refused(number, raw, fault, size=len(raw))
        elif lines is None or number in lines:
            yield parse(number, raw)


def parse(number: int, raw: bytes) -> JsonRow | Refused:
    """One line as an object; refused where it is not UTF-8, not JSON, not an object, or text that no file
    can hold.
    """
    try:
        value = value_of(raw)
    except UnicodeDecodeError as error:
        return Refused(number, raw, f"not UTF-8: {error.reason} at byte {error.start}", size=len(raw))
    except UnicodeEncodeError:
        return Refused(number, raw, "holds an unpaired surrogate, which is no text", size=len(raw))
    except RecursionError:
        reason = (
            f"not JSON that can be read: nested too deeply, more than {source_policy.MAX_JSON_DEPTH} levels"
        )
        return Refused(number, raw, reason, size=len(raw))
    except ValueError as error:
        return Refused(number, raw, f"not JSON: {error}", size=len(raw))
    # Each level of nesting begins with a bracket, so few rows have to be looked through.
    if raw.count(b"[") + raw.count(b"{") > source_policy.MAX_JSON_DEPTH and is_too_deep(value):
        reason = (
            f"not JSON that can be read: nested too deeply, more than {source_policy.MAX_JSON_DEPTH} levels"
        )
        return Refused(number, raw, reason, size=len(raw))
    if not isinstance(value, dict):
        return Refused(number, raw, f"not a JSON object but {type(value).__name__}", size=len(raw))
    return JsonRow(number, raw, value, len(raw))


def value_of(raw: bytes) -> Any:
    """A JSON value, as `json` reads it. Raises UnicodeEncodeError for text that no file can hold."""
    if MANY_DIGITS not in raw.translate(DIGITS_AS_ZEROS):
        try:
            return orjson.loads(raw)
        except orjson.JSONDecodeError:
            pass  # `json` says what is wrong, and takes NaN, which the contracts refuse with its column
    value = json.loads(raw.decode())
    if SURROGATE_ESCAPE.search(raw):
        json.dumps(value, ensure_ascii=False).encode()
    return value


def json_in_row(text: str) -> Any:
    """A JSON value that a row holds as text. Raises ValueError, also where it is nested too deeply."""
    value = json.loads(text)
    if is_too_deep(value):
        raise ValueError(
            f"JSON text that is nested too deeply, more than {source_policy.MAX_JSON_DEPTH} levels"
        )
    return value


def numbered_lines(file: SourceFile) -> Iterator[tuple[int, bytes, str | None]]:
    """(1-based number, bytes without line end, fault or None) of every line that is not blank."""
    with opened(file) as stored:
        for number, (raw, fault) in enumerate(_split(blocks(file, stored)), start=1):
            if number == 1 and fault is None:
                raw = raw.removeprefix(b"\xef\xbb\xbf")
                if raw[:2] in UTF16_MARKS:
                    yield 0, raw[:KEPT_OF_GIANT_BYTES], "the file is UTF-16; convert it to UTF-8"
                    return
            if fault is not None or raw.strip():
                yield number, raw, fault


def opened(file: SourceFile) -> Any:
    """The stored bytes of a file, here or on the Hub. Raises SourceRefused for a file that is not to be read."""
    if file.fault:
        raise SourceRefused(file.fault)
    if "://" not in file.path:
        return open_regular(file.path, file.places, file.name)
    from huggingface_hub import HfFileSystem

    return HfFileSystem().open(file.path, "rb")


def blocks(file: SourceFile, stored: BinaryIO) -> Iterator[bytes]:
    """The file's text, unpacked. Raises SourceRefused where it expands too far, and what BROKEN_STREAM names."""
    suffix = Path(file.path).suffix
    block_bytes = BLOCK_BYTES.get(suffix, 1 << 20)
    stream: Any = stored
    if suffix == ".gz":
        stream = gzip.GzipFile(fileobj=stored)
    elif suffix == ".zst":
        stream = pa.CompressedInputStream(pa.PythonFile(stored, mode="r"), "zstd")
    read = stream.read1 if isinstance(stream, (gzip.GzipFile, io.BufferedReader)) else stream.read
    stored_bytes = stored_bytes_of(stored, file.size_bytes)
    expanded = lines = 0
    while True:
        try:
            block = read(block_bytes)
        except OSError as error:
            # pyarrow reports a broken stream as an OSError without errno; a failing disk has one and must be
            # heard.
            if error.errno is not None:
                raise
            raise EOFError(str(error)) from error
        if not block:
            return
        if stream is not stored:
            expanded, lines = expanded + len(block), lines + block.count(b"\n")
            if expanded > allowed_bytes(stored_bytes):
                raise too_large(file.name, stored_bytes)
            if lines > allowed_rows(stored_bytes):
                raise too_many_rows(file.name, stored_bytes)
        file.bytes_read = stored.tell()
        yield block


def _split(blocks: Iterator[bytes]) -> Iterator[tuple[bytes, str | None]]:
    """Lines of a stream; a row over source_policy.MAX_ROW_BYTES keeps only its beginning, a broken stream
    ends with what was left.
    """
    pending: list[bytes] = []
    held = dropped = 0
    try:
        for block in blocks:
            *complete, rest = block.split(b"\n")
            for piece in complete:
                yield _joined(pending, piece, dropped)
                pending, held, dropped = [], 0, 0
            if held + len(rest) > source_policy.MAX_ROW_BYTES:
                kept = b"".join(pending) + rest
                dropped += len(kept) - KEPT_OF_GIANT_BYTES
                pending, held = [kept[:KEPT_OF_GIANT_BYTES]], source_policy.MAX_ROW_BYTES
            elif rest:
                pending.append(rest)
                held += len(rest)
    except BROKEN_STREAM as error:
        yield b"".join(pending), f"the file is truncated or broken here: {error}"
        return
    if pending:
        yield _joined(pending, b"", dropped)


def _joined(pending: list[bytes], last: bytes, dropped: int) -> tuple[bytes, str | None]:
    whole = b"".join(pending) + last if pending else last
    length = len(whole) + dropped
    if length > source_policy.MAX_ROW_BYTES:
        return whole[
            :KEPT_OF_GIANT_BYTES
        ], f"row of {length} bytes; at most {source_policy.MAX_ROW_BYTES}; only its beginning is kept"
    return whole.removesuffix(b"\r"), None
