"""A process that decodes tables of strangers: Parquet and Arrow files, in bounded memory and CPU time.

A Parquet page may claim 2 GiB, a dictionary may stand for any number of values, and an Arrow file may hold offsets into memory
that is not its own. So tables are decoded here and not in the process that ingests: this one has a limit on its memory and
its CPU time, no environment and no file of its own. It is asked over standard input and answers on standard output.

    ingestion -> here   one line of JSON: suffix, stored_bytes, max_bytes, max_rows, batch_bytes, cpu_s; then answers to READ
    here -> ingestion   frames (kind, length, payload): READ (offset, length), COUNT (rows stated), BATCH (an Arrow stream of one
                        batch), FAULT (why the file is not read further), DONE

It is run as a script and imports nothing of the project.
"""

from __future__ import annotations

import io
import json
import os
import resource
import signal
import struct
import sys
from collections.abc import Iterator
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

READ, COUNT, BATCH, FAULT, DONE = b"R", b"N", b"B", b"F", b"D"
FRAME, PLACE, LENGTH = struct.Struct(">cQ"), struct.Struct(">qq"), struct.Struct(">Q")
READ_BYTES = 1 << 20
MAX_ROWS_AT_ONCE = 500
MAX_SCHEMA_DEPTH = 64
# Metadata of Parquet files is a tree of strings and lists; a million columns of many row groups fit into these.
MAX_THRIFT_BYTES, MAX_THRIFT_ITEMS = 64 << 20, 1 << 20


class Refused(Exception):
    """A table that goes beyond what the request allows."""


class Asked(io.RawIOBase):
    """The table's bytes, asked for from the process that ingests."""

    def __init__(self, answers: BinaryIO, out: BinaryIO, size: int):
        self.answers, self.out, self.size, self.place = answers, out, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.place

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self.place = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self.place, os.SEEK_END: self.size}[whence]
        return self.place

    def read(self, size: int = -1) -> bytes:
        wanted = max(0, self.size - self.place if size is None or size < 0 else size)
        wanted = max(0, min(wanted, self.size - self.place))
        send(self.out, READ, PLACE.pack(self.place, wanted))
        content = exactly(self.answers, LENGTH.unpack(exactly(self.answers, LENGTH.size))[0])
        self.place += len(content)
        return content


def exactly(stream: BinaryIO, count: int) -> bytes:
    content = stream.read(count)
    if len(content) < count:
        sys.exit(0)  # ingestion has gone
    return content


def send(out: BinaryIO, kind: bytes, payload: Any = b"") -> None:
    out.write(FRAME.pack(kind, len(payload)))
    out.write(payload)
    out.flush()


def answer(request: dict[str, Any], given: BinaryIO, out: BinaryIO) -> None:
    """Send a table batch by batch, and how it ended."""
    rows = held = 0
    try:
        stored = Asked(given, out, request["stored_bytes"])
        batches = parquet_batches if request["suffix"] == ".parquet" else arrow_batches
        for batch in batches(stored, request, out):
            rows, held = rows + batch.num_rows, held + batch.nbytes
            if rows > request["max_rows"]:
                raise Refused("rows")
            if held > request["max_bytes"] or batch.nbytes > request["max_batch_bytes"]:
                raise Refused("bytes")
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, batch.schema) as writer:
                writer.write_batch(batch)
            send(out, BATCH, sink.getvalue())
    except Refused as refusal:
        send(out, FAULT, str(refusal).encode())
    except MemoryError:
        send(out, FAULT, b"memory")
    except Exception as error:
        send(out, FAULT, f"not a table that can be read: {error}".encode(errors="backslashreplace"))
    send(out, DONE)


def parquet_batches(stored: Any, request: dict[str, Any], out: BinaryIO) -> Iterator[pa.RecordBatch]:
    table = pq.ParquetFile(
        stored,
        buffer_size=READ_BYTES,
        pre_buffer=False,
        thrift_string_size_limit=MAX_THRIFT_BYTES,
        thrift_container_size_limit=MAX_THRIFT_ITEMS,
    )
    check_schema(table.schema_arrow)
    if table.metadata.num_rows > request["max_rows"]:
        raise Refused("rows")
    send(out, COUNT, LENGTH.pack(max(table.metadata.num_rows, 0)))
    groups = [table.metadata.row_group(number) for number in range(table.num_row_groups)]
    if sum(group.total_byte_size for group in groups) > request["max_bytes"]:
        raise Refused("bytes")
    # One row group at a time, and as many rows as a block holds: more of them together cost Arrow several times their size.
    for number, group in enumerate(groups):
        fitting = request["batch_bytes"] * group.num_rows // max(group.total_byte_size, 1)
        at_once = max(1, min(MAX_ROWS_AT_ONCE, fitting))
        yield from table.iter_batches(batch_size=at_once, row_groups=[number], use_threads=False)


def arrow_batches(stored: Any, request: dict[str, Any], out: BinaryIO) -> Iterator[pa.RecordBatch]:
    try:
        batches: Any = pa.ipc.open_stream(stored)
    except pa.ArrowInvalid:
        stored.seek(0)
        reader = pa.ipc.open_file(stored)
        batches = (reader.get_batch(number) for number in range(reader.num_record_batches))
        check_schema(reader.schema)
    else:
        check_schema(batches.schema)
    for batch in batches:
        # Offsets are checked before anything follows them.
        batch.validate(full=True)
        at_once = request["batch_bytes"] * batch.num_rows // max(batch.nbytes, 1)
        for place in range(0, batch.num_rows, max(1, min(MAX_ROWS_AT_ONCE, at_once))):
            yield batch.slice(place, max(1, min(MAX_ROWS_AT_ONCE, at_once)))


def check_schema(schema: pa.Schema) -> None:
    """Raises Refused for columns that are nested too deeply."""
    level = [column.type for column in schema]
    for _ in range(MAX_SCHEMA_DEPTH):
        level = [inner for one in level for inner in inner_types(one)]
        if not level:
            return
    raise Refused("depth")


def inner_types(one: pa.DataType) -> list[pa.DataType]:
    if isinstance(one, pa.BaseExtensionType):
        return [one.storage_type]
    if pa.types.is_dictionary(one):
        return [one.value_type]
    return [one.field(number).type for number in range(one.num_fields)]


def main(memory_bytes: int) -> None:
    given, out = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    # What a library prints must not get between the frames.
    os.dup2(2, 1)
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    limit = memory_bytes if hard == resource.RLIM_INFINITY else min(memory_bytes, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while line := given.readline():
        request = json.loads(line)
        signal.setitimer(signal.ITIMER_PROF, request["cpu_s"])
        answer(request, given, out)
        signal.setitimer(signal.ITIMER_PROF, 0)


if __name__ == "__main__":
    main(int(sys.argv[1]))
