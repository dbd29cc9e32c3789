"""A process that decodes tables of strangers: Parquet and Arrow files, in bounded memory and CPU time.

A Parquet page may claim 2 GiB, a dictionary may stand for any number of values, and an Arrow file may hold
offsets into memory that is not its own. So tables are decoded here and not in the process that ingests: this
one has a limit on its memory and its CPU time, no environment and no file of its own. It is asked over
standard input and answers on standard output.

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
import pyarrow.compute as pc
import pyarrow.parquet as pq

READ, COUNT, BATCH, FAULT, DONE = b"R", b"N", b"B", b"F", b"D"
FRAME, PLACE, LENGTH = struct.Struct(">cQ"), struct.Struct(">qq"), struct.Struct(">Q")
READ_BYTES = 1 << 20
MAX_ROWS_AT_ONCE = 500
MAX_SCHEMA_DEPTH = 64
# What a value weighs beside its own bytes.
VALUE_BYTES = 8
# Metadata of Parquet files is a tree of strings and lists; a million columns of many row groups fit into
# these.
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
        for large in batches(stored, request, out):
            for batch, weight in in_portions(large, request["batch_bytes"], request["max_batch_bytes"]):
                rows, held = rows + batch.num_rows, held + weight
                if rows > request["max_rows"]:
                    raise Refused("rows")
                if held > request["max_bytes"]:
                    raise Refused("bytes")
                sink = pa.BufferOutputStream()
                plain = plain_batch(batch)
                with pa.ipc.new_stream(sink, plain.schema) as writer:
                    writer.write_batch(plain)
                send(out, BATCH, sink.getvalue())
    except Refused as refusal:
        send(out, FAULT, str(refusal).encode())
    except MemoryError:
        send(out, FAULT, b"memory")
    except Exception as error:
        send(out, FAULT, f"not a table that can be read: {error}".encode(errors="backslashreplace"))
    send(out, DONE)


def in_portions(batch: pa.RecordBatch, wanted: int, at_most: int) -> Iterator[tuple[pa.RecordBatch, int]]:
    """The batch in portions of at least a row that weigh about `wanted`, and what each weighs. Raises
    Refused for a row over `at_most`.
    """
    weight = sum(weigh(column) for column in batch.columns)
    if weight <= 4 * wanted or batch.num_rows <= 1:
        if weight > at_most:
            raise Refused("row")
        yield batch, weight
        return
    middle = batch.num_rows // 2
    for part in (batch.slice(0, middle), batch.slice(middle)):
        yield from in_portions(part, wanted, at_most)


def weigh(array: pa.Array) -> int:
    """Bytes of the values once each stands for itself: what a dictionary or a view repeats counts every time."""
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        return weigh(array.storage)
    values = len(array) * VALUE_BYTES
    if pa.types.is_dictionary(kind):
        if kind.value_type not in (pa.string(), pa.binary(), pa.large_string(), pa.large_binary()):
            return 2 * values
        lengths = pc.binary_length(array.dictionary.cast(pa.large_binary()))
        return values + (pc.sum(pc.take(lengths, array.indices)).as_py() or 0)
    if pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
        return values + array.cast(pa.large_binary()).nbytes
    if pa.types.is_map(kind):
        begin, end = array.offsets[0].as_py(), array.offsets[-1].as_py()
        return values + sum(weigh(one.slice(begin, end - begin)) for one in (array.keys, array.items))
    if pa.types.is_struct(kind):
        return values + sum(map(weigh, array.flatten()))
    if kind.num_fields:
        return values + weigh(array.flatten())
    return values + array.nbytes


def plain_batch(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch without dictionaries and views, so that it is sent with its own values only."""
    kinds = [plain_type(field.type) for field in batch.schema]
    columns = [
        column if column.type == kind else column.cast(kind)
        for column, kind in zip(batch.columns, kinds, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def plain_type(kind: pa.DataType) -> pa.DataType:
    types = pa.types
    if isinstance(kind, pa.BaseExtensionType):
        plain = plain_type(kind.storage_type)
        return kind if plain == kind.storage_type else plain
    if types.is_dictionary(kind):
        return plain_type(kind.value_type)
    if types.is_string_view(kind):
        return pa.large_string()
    if types.is_binary_view(kind):
        return pa.large_binary()
    if types.is_struct(kind):
        return pa.struct([pa.field(field.name, plain_type(field.type)) for field in kind])
    if types.is_map(kind):
        return pa.map_(plain_type(kind.key_type), plain_type(kind.item_type))
    if types.is_fixed_size_list(kind):
        return pa.list_(plain_type(kind.value_type), kind.list_size)
    if types.is_large_list(kind):
        return pa.large_list(plain_type(kind.value_type))
    if types.is_list(kind):
        return pa.list_(plain_type(kind.value_type))
    return kind


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
    # One row group at a time, and as many rows as a block holds: more of them together cost Arrow several
    # times their size.
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
    """Raises Refused for columns that are nested too deeply, or of a type that is rare and cannot be weighed."""
    level = [column.type for column in schema]
    for _ in range(MAX_SCHEMA_DEPTH):
        if any(map(is_refused_type, level)):
            raise Refused("type")
        level = [inner for one in level for inner in inner_types(one)]
        if not level:
            return
    raise Refused("depth")


def is_refused_type(kind: pa.DataType) -> bool:
    types = pa.types
    is_view = types.is_list_view(kind) or types.is_large_list_view(kind)
    has_nested_values = types.is_dictionary(kind) and (
        kind.value_type.num_fields > 0 or types.is_dictionary(kind.value_type)
    )
    return is_view or has_nested_values or types.is_union(kind) or types.is_run_end_encoded(kind)


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
