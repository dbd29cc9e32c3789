"""Rows of Parquet and Arrow files, decoded in a process of their own (`table_decoder.py`) and read here
one by one.
"""

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
from pipeline.adapters.lines import JsonRow, opened, refused_in_place
from pipeline.adapters.source_policy import (
    SourceRefused,
    allowed_bytes,
    allowed_rows,
    printable,
    refused,
    stored_bytes_of,
    too_large,
    too_many_rows,
)
from pipeline.adapters.table_decoder import BATCH, COUNT, FAULT, FRAME, LENGTH, PLACE, READ

TABLES = (".parquet", ".arrow")
BATCH_BYTES = 4 << 20
# Of one row, or of a few that are stored as one. A page of Parquet may hold 2 GiB, and is there twice while
# it is decoded.
MAX_BATCH_BYTES = 512 << 20
MAX_FRAME_BYTES = 2 * MAX_BATCH_BYTES
DECODER_MEMORY_BYTES = 4 << 30
# CPU seconds for a file: far more than decoding it takes.
CPU_S, BYTES_PER_CPU_S = 20.0, 1e6
PASSED_ON = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL")
ENVIRONMENT = {"ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_ARENA_MAX": "1", "OPENBLAS_NUM_THREADS": "1"}
Counted = tuple[pa.RecordBatch, int]


@refused_in_place
def table_rows(file: SourceFile) -> Iterator[JsonRow | Refused]:
    """Rows of a Parquet file or an Arrow stream or file; the bytes of a row are its JSON, made when it is
    refused.
    """
    chosen = file.draw() if file.draw else None
    file.rows_in_file = 0
    with opened(file) as stored:
        for batch, total in _batches(file, stored):
            is_valid = _is_valid(batch)
            for place in range(batch.num_rows):
                file.rows_in_file += 1
                if chosen is None or file.rows_in_file in chosen:
                    one, size = batch.slice(place, 1), batch.nbytes // batch.num_rows
                    yield _row(one, file.rows_in_file, size, is_valid)
            if total:
                # A Parquet file is not read from its beginning to its end, so progress goes by rows.
                file.bytes_read += file.size_bytes * batch.num_rows // total
            else:
                file.bytes_read = max(file.bytes_read, stored.tell())


def written(value: dict[str, Any]) -> bytes:
    """A row that was not text, or a part of one, as text for the quarantine."""
    return json.dumps(value, ensure_ascii=False, default=str).encode(errors="backslashreplace")


def _is_valid(batch: pa.RecordBatch) -> bool:
    try:
        batch.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _row(one: pa.RecordBatch, number: int, size: int, is_valid: bool) -> JsonRow | Refused:
    try:
        if not is_valid:
            one.validate(full=True)
        value = one.to_pylist()[0]
    except (ValueError, TypeError, ArithmeticError, pa.ArrowException) as error:
        return Refused(number, b"", f"not a row that can be read: {printable(str(error))}", size=size)
    return JsonRow(number, partial(written, value), value, size)


def _batches(file: SourceFile, stored: Any) -> Iterator[Counted]:
    """Batches of a table, and how many rows it states that it has in all (0: it does not state it)."""
    decoder = _Decoder.start()
    try:
        yield from decoder.decode(file, stored)
    except BaseException:
        decoder.close()
        raise
    decoder.keep()


@dataclass
class _Decoder:
    """A decoding process; one table at a time."""

    process: subprocess.Popen[bytes]
    # A process that was forked from the one that started this decoder must leave it alone.
    owner: int

    @staticmethod
    def start() -> _Decoder:
        while _idle:
            decoder = _idle.pop()
            if decoder.owner == os.getpid() and decoder.process.poll() is None:
                return decoder
        environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ} | ENVIRONMENT
        # -P: modules beside the script are none of its libraries.
        script = str(Path(table_decoder.__file__))
        process = subprocess.Popen(
            [sys.executable, "-P", script, str(DECODER_MEMORY_BYTES)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        return _Decoder(process, os.getpid())

    def keep(self) -> None:
        _idle.append(self)

    def close(self) -> None:
        if self.owner == os.getpid():
            self.process.kill()
            self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                pipe.close()

    def decode(self, file: SourceFile, stored: Any) -> Iterator[Counted]:
        """Batches and the stated number of rows. Raises SourceRefused, also where the process has ended."""
        stored_bytes, total = stored_bytes_of(stored, file.size_bytes), 0
        self._ask(file, stored_bytes)
        while True:
            kind, payload = self._frame(file)
            if kind == READ:
                self._give(stored, *PLACE.unpack(payload))
            elif kind == COUNT:
                total = LENGTH.unpack(payload)[0]
            elif kind == BATCH:
                yield pa.ipc.open_stream(payload).read_next_batch(), total
            elif kind == FAULT:
                raise refusal(payload.decode(errors="replace"), file.name, stored_bytes)
            else:
                return

    def _ask(self, file: SourceFile, stored_bytes: int) -> None:
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

    def _give(self, stored: Any, place: int, size: int) -> None:
        stored.seek(place)
        content = stored.read(size)
        self._write(LENGTH.pack(len(content)))
        self._write(content)

    def _write(self, content: bytes) -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(content)
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # the next frame is missing, and that says it

    def _frame(self, file: SourceFile) -> tuple[bytes, bytes]:
        assert self.process.stdout is not None
        head = self.process.stdout.read(FRAME.size)
        kind, size = FRAME.unpack(head) if len(head) == FRAME.size else (b"", 0)
        payload = self.process.stdout.read(size) if size <= MAX_FRAME_BYTES else b""
        if not kind or len(payload) < size:
            self.process.kill()
            raise refused(
                f"its decoding ended ({ended(self.process.wait())})",
                file.name,
                "it is damaged, or made to do harm; write it again from where it came from",
            )
        return kind, payload


# Decoders that wait for the next table.
_idle: list[_Decoder] = []


@atexit.register
def close_decoders() -> None:
    while _idle:
        _idle.pop().close()


def ended(status: int) -> str:
    return f"signal {-status}" if status < 0 else f"exit status {status}"


def refusal(fault: str, name: str, stored_bytes: int) -> SourceRefused:
    """The refusal that a fault of the decoder stands for."""
    if fault == "rows":
        return too_many_rows(name, stored_bytes)
    if fault == "bytes":
        return too_large(name, stored_bytes)
    if fault == "row":
        kind = f"a row of more than {MAX_BATCH_BYTES:,} bytes"
        return refused(kind, name, "neither it nor what follows is read; make its values smaller")
    if fault == "type":
        return refused("a table with columns of a type that is not read", name, "write them as text")
    if fault == "memory":
        return refused(
            f"a table that takes more than {DECODER_MEMORY_BYTES >> 30} GiB to decode",
            name,
            "write it again with smaller row groups",
        )
    if fault == "depth":
        return refused("a table with columns nested too deeply", name, "write them as JSON text")
    return refused(printable(fault), name, "write it again from where it came from")
