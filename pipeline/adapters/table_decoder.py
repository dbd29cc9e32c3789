"""Decoder process for untrusted Parquet and Arrow files, with limits on memory and CPU time.

A Parquet page can claim 2 GiB, a dictionary can expand to any number of values, and an Arrow file can have
offsets outside of its own memory. So tables are decoded here instead of in the ingesting process. This
process has a memory and a CPU limit, no environment and no open file. Requests come on standard input,
answers go to standard output.

    request    one line of JSON: suffix, stored_bytes, max_bytes, max_rows, max_batch_bytes, batch_bytes,
               cpu_s then the answers to READ frames response   frames (kind, length, payload): READ (offset,
               length), COUNT (stated rows), BATCH (an Arrow stream of one batch), FAULT (why reading stops),
               DONE

It is run as a script and imports nothing of this project.
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
FRAME, RANGE, LENGTH = struct.Struct(">cQ"), struct.Struct(">qq"), struct.Struct(">Q")
READ_BYTES = 1 << 20
MAX_ROWS_AT_ONCE = 500
MAX_SCHEMA_DEPTH = 64
# Overhead per value.
VALUE_BYTES = 8
# Limits of Parquet metadata, which is a tree of strings and lists; real files stay far below.
MAX_THRIFT_BYTES, MAX_THRIFT_ITEMS = 64 << 20, 1 << 20


class Refused(Exception):
    """The table exceeds a limit of the request."""


class RemoteTable(io.RawIOBase):
    """The bytes of the table, read on demand from the ingesting process."""

    def __init__(self, answers: BinaryIO, out: BinaryIO, size: int):
        self.answers, self.out, self.size, self.offset = answers, out, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.offset

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self.offset = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self.offset, os.SEEK_END: self.size}[whence]
        return self.offset

    def read(self, size: int = -1) -> bytes:
        left = max(0, self.size - self.offset)
        count = left if size is None or size < 0 else min(size, left)
        send(self.out, READ, RANGE.pack(self.offset, count))
        content = read_exactly(self.answers, LENGTH.unpack(read_exactly(self.answers, LENGTH.size))[0])
        self.offset += len(content)
        return content


def read_exactly(stream: BinaryIO, count: int) -> bytes:
    content = stream.read(count)
    if len(content) < count:
        sys.exit(0)  # the ingesting process has exited
    return content


def send(out: BinaryIO, kind: bytes, payload: Any = b"") -> None:
    out.write(FRAME.pack(kind, len(payload)))
    out.write(payload)
    out.flush()


def decode(request: dict[str, Any], requests: BinaryIO, out: BinaryIO) -> None:
    """Send a table batch by batch, then FAULT if it cannot be read to its end, then DONE."""
    rows = decoded_bytes = 0
    try:
        stored = RemoteTable(requests, out, request["stored_bytes"])
        batches = parquet_batches if request["suffix"] == ".parquet" else arrow_batches
        for large in batches(stored, request, out):
            for batch, size in split_batch(large, request["batch_bytes"], request["max_batch_bytes"]):
                rows, decoded_bytes = rows + batch.num_rows, decoded_bytes + size
                if rows > request["max_rows"]:
                    raise Refused("rows")
                if decoded_bytes > request["max_bytes"]:
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
        send(out, FAULT, f"not a readable table: {error}".encode(errors="backslashreplace"))
    send(out, DONE)


def split_batch(batch: pa.RecordBatch, target_bytes: int, limit: int) -> Iterator[tuple[pa.RecordBatch, int]]:
    """Split a batch into (part, size) of about `target_bytes`. Raises Refused for a row over `limit`."""
    size = sum(decoded_size(column) for column in batch.columns)
    if size <= 4 * target_bytes or batch.num_rows <= 1:
        if size > limit:
            raise Refused("row")
        yield batch, size
        return
    middle = batch.num_rows // 2
    for part in (batch.slice(0, middle), batch.slice(middle)):
        yield from split_batch(part, target_bytes, limit)


def decoded_size(array: pa.Array) -> int:
    """Bytes of the plain values: a value repeated by a dictionary or a view counts every time."""
    data_type = array.type
    if isinstance(data_type, pa.BaseExtensionType):
        return decoded_size(array.storage)
    values = len(array) * VALUE_BYTES
    if pa.types.is_dictionary(data_type):
        if data_type.value_type not in (pa.string(), pa.binary(), pa.large_string(), pa.large_binary()):
            return 2 * values
        # Imported only here: it takes 0.1 s, and the ingesting process imports this file for its constants.
        import pyarrow.compute as pc

        lengths = pc.binary_length(array.dictionary.cast(pa.large_binary()))
        return values + (pc.sum(pc.take(lengths, array.indices)).as_py() or 0)
    if pa.types.is_string_view(data_type) or pa.types.is_binary_view(data_type):
        return values + array.cast(pa.large_binary()).nbytes
    if pa.types.is_map(data_type):
        begin, end = array.offsets[0].as_py(), array.offsets[-1].as_py()
        return values + sum(decoded_size(one.slice(begin, end - begin)) for one in (array.keys, array.items))
    if pa.types.is_struct(data_type):
        return values + sum(map(decoded_size, array.flatten()))
    if data_type.num_fields:
        return values + decoded_size(array.flatten())
    return values + array.nbytes


def plain_batch(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with dictionaries and views replaced by plain values."""
    data_types = [plain_type(field.type) for field in batch.schema]
    columns = [
        column if column.type == data_type else column.cast(data_type)
        for column, data_type in zip(batch.columns, data_types, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def plain_type(data_type: pa.DataType) -> pa.DataType:
    types = pa.types
    if isinstance(data_type, pa.BaseExtensionType):
        plain = plain_type(data_type.storage_type)
        return data_type if plain == data_type.storage_type else plain
    if types.is_dictionary(data_type):
        return plain_type(data_type.value_type)
    if types.is_string_view(data_type):
        return pa.large_string()
    if types.is_binary_view(data_type):
        return pa.large_binary()
    if types.is_struct(data_type):
        return pa.struct([pa.field(field.name, plain_type(field.type)) for field in data_type])
    if types.is_map(data_type):
        return pa.map_(plain_type(data_type.key_type), plain_type(data_type.item_type))
    if types.is_fixed_size_list(data_type):
        return pa.list_(plain_type(data_type.value_type), data_type.list_size)
    if types.is_large_list(data_type):
        return pa.large_list(plain_type(data_type.value_type))
    if types.is_list(data_type):
        return pa.list_(plain_type(data_type.value_type))
    return data_type


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
    # One row group at a time, in batches of about the wanted size: larger ones make Arrow use several times
    # their size.
    for number, group in enumerate(groups):
        fitting = request["batch_bytes"] * group.num_rows // max(group.total_byte_size, 1)
        batch_rows = max(1, min(MAX_ROWS_AT_ONCE, fitting))
        yield from table.iter_batches(batch_size=batch_rows, row_groups=[number], use_threads=False)


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
        # Check all offsets before any is used.
        batch.validate(full=True)
        batch_rows = request["batch_bytes"] * batch.num_rows // max(batch.nbytes, 1)
        for offset in range(0, batch.num_rows, max(1, min(MAX_ROWS_AT_ONCE, batch_rows))):
            yield batch.slice(offset, max(1, min(MAX_ROWS_AT_ONCE, batch_rows)))


def check_schema(schema: pa.Schema) -> None:
    """Raise Refused for columns that are nested too deeply or have an unsupported type."""
    level = [column.type for column in schema]
    for _ in range(MAX_SCHEMA_DEPTH):
        if any(map(is_refused_type, level)):
            raise Refused("type")
        level = [inner for one in level for inner in inner_types(one)]
        if not level:
            return
    raise Refused("depth")


def is_refused_type(data_type: pa.DataType) -> bool:
    types = pa.types
    is_view = types.is_list_view(data_type) or types.is_large_list_view(data_type)
    has_nested_values = types.is_dictionary(data_type) and (
        data_type.value_type.num_fields > 0 or types.is_dictionary(data_type.value_type)
    )
    return is_view or has_nested_values or types.is_union(data_type) or types.is_run_end_encoded(data_type)


def inner_types(one: pa.DataType) -> list[pa.DataType]:
    if isinstance(one, pa.BaseExtensionType):
        return [one.storage_type]
    if pa.types.is_dictionary(one):
        return [one.value_type]
    return [one.field(number).type for number in range(one.num_fields)]


def main(memory_bytes: int) -> None:
    requests, out = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    # Output of libraries must not mix with the frames.
    os.dup2(2, 1)
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    limit = memory_bytes if hard == resource.RLIM_INFINITY else min(memory_bytes, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while line := requests.readline():
        request = json.loads(line)
        signal.setitimer(signal.ITIMER_PROF, request["cpu_s"])
        decode(request, requests, out)
        signal.setitimer(signal.ITIMER_PROF, 0)


if __name__ == "__main__":
    main(int(sys.argv[1]))
