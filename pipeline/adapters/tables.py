"""Reads rows of Parquet and Arrow files; a separate process (`table_decoder.py`) decodes them."""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.adapters import Refused, SourceFile, table_decoder
from pipeline.adapters.lines import JsonRow, end_with_refusal, open_stored
from pipeline.adapters.source_policy import (
    SourceRefused,
    allowed_bytes,
    allowed_rows,
    printable,
    refused,
    stored_size,
    too_large,
    too_many_rows,
)
from pipeline.adapters.table_decoder import BATCH, COUNT, FAULT, FRAME, LENGTH, RANGE, READ

TABLES = (".parquet", ".arrow")
BATCH_BYTES = 4 << 20
# Limit of one row, or of a few rows that cannot be split. A Parquet page can have 2 GiB, and decoding it
# needs twice its size.
MAX_BATCH_BYTES = 512 << 20
MAX_FRAME_BYTES = 2 * MAX_BATCH_BYTES
DECODER_MEMORY_BYTES = 4 << 30
# CPU seconds for a file: far more than decoding needs.
CPU_S, BYTES_PER_CPU_S = 20.0, 1e6
INHERITED_VARIABLES = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL")
ENVIRONMENT = {"ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_ARENA_MAX": "1", "OPENBLAS_NUM_THREADS": "1"}
CountedBatch = tuple[pa.RecordBatch, int]


@end_with_refusal
def table_rows(file: SourceFile) -> Iterator[JsonRow | Refused]:
    """Rows of a Parquet file, Arrow file or Arrow stream; `raw` is the row as JSON, made only if refused."""
    selected_lines = file.select_lines() if file.select_lines else None
    file.rows_in_file = 0
    with open_stored(file) as stored:
        for batch, total in _batches(file, stored):
            is_valid = _is_valid(batch)
            for offset in range(batch.num_rows):
                file.rows_in_file += 1
                if selected_lines is None or file.rows_in_file in selected_lines:
                    row, size = batch.slice(offset, 1), batch.nbytes // batch.num_rows
                    yield _row(row, file.rows_in_file, size, is_valid)
            if total:
                # Parquet is not read sequentially, so progress is measured in rows.
                file.bytes_read += file.size_bytes * batch.num_rows // total
            else:
                file.bytes_read = max(file.bytes_read, stored.tell())


def json_bytes(value: dict[str, Any]) -> bytes:
    """A row of a table, or a part of it, as JSON for the quarantine."""
    return json.dumps(value, ensure_ascii=False, default=str).encode(errors="backslashreplace")


def _is_valid(batch: pa.RecordBatch) -> bool:
    try:
        batch.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _row(row: pa.RecordBatch, number: int, size: int, is_valid: bool) -> JsonRow | Refused:
    try:
        if not is_valid:
            row.validate(full=True)
        value = row.to_pylist()[0]
    except (ValueError, TypeError, ArithmeticError, pa.ArrowException) as error:
        return Refused(number, b"", f"row cannot be read: {printable(str(error))}", size=size)
    return JsonRow(number, partial(json_bytes, value), value, size)


def _batches(file: SourceFile, stored: Any) -> Iterator[CountedBatch]:
    """(batch, number of rows that the table states, 0 if it does not state it)."""
    decoder = _Decoder.start()
    try:
        yield from decoder.decode(file, stored)
    except BaseException:
        decoder.close()
        raise
    decoder.release()


@dataclass
class _Decoder:
    """A decoder process; it decodes one table at a time."""

    process: subprocess.Popen[bytes]
    # Process id of the process that started it; a forked child must not use or kill it.
    owner: int

    @staticmethod
    def start() -> _Decoder:
        while _idle:
            decoder = _idle.pop()
            if decoder.owner == os.getpid() and decoder.process.poll() is None:
                return decoder
        environment = {
            name: os.environ[name] for name in INHERITED_VARIABLES if name in os.environ
        } | ENVIRONMENT
        # -P: do not import modules from the script's folder.
        script = str(Path(table_decoder.__file__))
        process = subprocess.Popen(
            [sys.executable, "-P", script, str(DECODER_MEMORY_BYTES)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        return _Decoder(process, os.getpid())

    def release(self) -> None:
        _idle.append(self)

    def close(self) -> None:
        if self.owner == os.getpid():
            self.process.kill()
            self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                pipe.close()

    def decode(self, file: SourceFile, stored: Any) -> Iterator[CountedBatch]:
        """Batches with the stated number of rows. Raises SourceRefused, also if the process has exited."""
        stored_bytes, total = stored_size(stored, file.size_bytes), 0
        self._send_request(file, stored_bytes)
        while True:
            kind, payload = self._read_frame(file)
            if kind == READ:
                self._send_range(stored, *RANGE.unpack(payload))
            elif kind == COUNT:
                total = LENGTH.unpack(payload)[0]
            elif kind == BATCH:
                yield pa.ipc.open_stream(payload).read_next_batch(), total
            elif kind == FAULT:
                raise refusal(payload.decode(errors="replace"), file.name, stored_bytes)
            else:
                return

    def _send_request(self, file: SourceFile, stored_bytes: int) -> None:
        request = {
            "suffix": Path(file.path).suffix,
            "stored_bytes": stored_bytes,
            "max_bytes": allowed_bytes(stored_bytes),
            "max_rows": allowed_rows(stored_bytes),
            "max_batch_bytes": MAX_BATCH_BYTES,
            "batch_bytes": BATCH_BYTES,
            "cpu_s": CPU_S + stored_bytes / BYTES_PER_CPU_S,
        }
        self._write(json.dumps(request).encode() + b"\n")

    def _send_range(self, stored: Any, offset: int, size: int) -> None:
        stored.seek(offset)
        content = stored.read(size)
        self._write(LENGTH.pack(len(content)))
        self._write(content)

    def _write(self, content: bytes) -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(content)
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # the process has exited; reading the next frame reports it

    def _read_frame(self, file: SourceFile) -> tuple[bytes, bytes]:
        assert self.process.stdout is not None
        head = self.process.stdout.read(FRAME.size)
        kind, size = FRAME.unpack(head) if len(head) == FRAME.size else (b"", 0)
        payload = self.process.stdout.read(size) if size <= MAX_FRAME_BYTES else b""
        if not kind or len(payload) < size:
            self.process.kill()
            raise refused(
                f"a table whose decoder stopped ({exit_text(self.process.wait())})",
                file.name,
                "it is damaged or malicious; export it again from its origin",
            )
        return kind, payload


# Idle decoders, reused for the next table.
_idle: list[_Decoder] = []


@atexit.register
def close_decoders() -> None:
    while _idle:
        _idle.pop().close()


def exit_text(status: int) -> str:
    return f"signal {-status}" if status < 0 else f"exit status {status}"


def refusal(fault: str, name: str, stored_bytes: int) -> SourceRefused:
    """The refusal for a fault that the decoder reported."""
    if fault == "rows":
        return too_many_rows(name, stored_bytes)
    if fault == "bytes":
        return too_large(name, stored_bytes)
    if fault == "row":
        kind = f"a row of more than {MAX_BATCH_BYTES:,} bytes"
        return refused(kind, name, "it and the rest of the file are not read; make its values smaller")
    if fault == "type":
        return refused("a table with columns of an unsupported type", name, "write them as text")
    if fault == "memory":
        return refused(
            f"a table that needs more than {DECODER_MEMORY_BYTES >> 30} GiB to decode",
            name,
            "write it again with smaller row groups",
        )
    if fault == "depth":
        return refused("a table with columns nested too deeply", name, "write them as JSON text")
    return refused(printable(fault), name, "export it again from its origin")
