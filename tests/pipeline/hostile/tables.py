"""Parquet and Arrow files: what takes little room and becomes large, and what leads outside its own bytes."""

import struct

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hostile.attack import Attack, fifo, link, secret_file, write

ATTACKS: list[Attack] = []
GOOD = {"step": [1], "prompt": ["Add."], "completion": ["```python\nprint(1)\n```"]}


def attack(name, reason, *, good=1, adapter="trl", **more):
    """A decorator: the function writes a file, beside a good table."""

    def add(make):
        def fill(folder):
            write(folder / "source" / "completions_1.parquet", b"")
            if good:
                pq.write_table(pa.table(GOOD), folder / "source" / "completions_1.parquet")
            else:
                (folder / "source" / "completions_1.parquet").unlink()
            secret_file(folder)
            make(folder / "source")

        ATTACKS.append(Attack(f"{adapter}: {name}", adapter, fill, good, reason, **more))
        return make

    return add


@attack("100 million rows of one value", "more than")
def constant(folder):
    table = pa.table({"completion": dictionary(1_000_000, "x")})
    with pq.ParquetWriter(folder / "x.parquet", table.schema) as writer:
        for _ in range(100):
            writer.write_table(table)


@attack("a value of 700 MiB", "expands to more than")
def large_value(folder):
    pq.write_table(pa.table({"completion": ["\0" * (700 << 20)]}), folder / "x.parquet", compression="zstd")


@attack("a value of 8 MiB in 2,000 rows", "expands to more than", cpu_s=10)
def repeated(folder):
    table = pa.table({"completion": dictionary(2_000, "a" * (8 << 20))})
    path = folder / "x.parquet"
    pq.write_table(table, path, compression="zstd", dictionary_pagesize_limit=1 << 30)


@attack(
    "a value of 8 MiB in 2,000 rows, of which the schema says nothing",
    "a table that needs more than",
    cpu_s=30,
)
def repeated_plain(folder):
    table = pa.table({"completion": dictionary(2_000, "a" * (8 << 20))})
    path = folder / "x.parquet"
    pq.write_table(table, path, compression="zstd", dictionary_pagesize_limit=1 << 30, store_schema=False)


@attack("a row with 100 million elements", "a row of more than", cpu_s=10)
def long_list(folder):
    elements = dictionary(100_000_000, "a" * 20)
    column = pa.ListArray.from_arrays(pa.array([0, len(elements)], pa.int32()), elements)
    pq.write_table(pa.table({"prompt": column}), folder / "x.parquet", compression="zstd")


@attack("sizes in the metadata that are false", "a row of more than", cpu_s=10)
def false_sizes(folder):
    """A page of 600 MiB whose group says that it is small: the sizes are exchanged in the metadata."""
    path = folder / "x.parquet"
    size = 600 << 20
    pq.write_table(
        pa.table({"completion": ["\0" * size]}),
        path,
        compression="zstd",
        use_dictionary=False,
        write_statistics=False,
    )
    content = bytearray(path.read_bytes())
    footer = struct.unpack("<i", content[-8:-4])[0]
    begin = len(content) - 8 - footer
    metadata = pq.read_metadata(path)
    stated = metadata.row_group(0).column(0).total_uncompressed_size
    while (at := content.find(varint(stated), begin)) >= 0:
        content[at : at + len(varint(stated))] = varint(1000, len(varint(stated)))
    path.write_bytes(content)
    assert pq.read_metadata(path).row_group(0).total_byte_size == 1000


def varint(value, length=0):
    """A number of Thrift's compact protocol, zigzag, in at least so many bytes."""
    value, actual = value << 1, bytearray()
    while value or not actual:
        actual.append(value & 0x7F | 0x80)
        value >>= 7
    actual += b"\x80" * (length - len(actual))
    actual[-1] &= 0x7F
    return bytes(actual)


@attack("columns nested 90 deep", "nested too deeply")
def deep_schema(folder):
    kind = pa.int8()
    for _ in range(90):
        kind = pa.struct([("a", kind)])
    pq.write_table(pa.table({"prompt": pa.array([None], kind)}), folder / "x.parquet")


@attack("a text that is not UTF-8", "row cannot be read", good=2)
def not_utf8(folder):
    row = {name: pa.array(values * 2) for name, values in GOOD.items()}
    row["completion"] = pa.array([b"\xff\xfe", b"print(1)"], pa.binary()).view(pa.string())
    row["prompt"] = pa.array(["Add."] * 2)
    pq.write_table(pa.table(row), folder / "x.parquet")


@attack("metadata that asks for 2 GiB", "not a readable table")
def long_metadata(folder):
    write(
        folder / "x.parquet",
        b"PAR1" + b"\x15\x02\x19\xfc\xff\xff\xff\x7f" * 100 + struct.pack("<i", 800) + b"PAR1",
    )


@attack("a table that is no table", "not a readable table")
def no_table(folder):
    write(folder / "x.parquet", b"PAR1" + b"\0" * 100 + b"PAR1")


@attack("an empty file", "not a readable table")
def empty(folder):
    write(folder / "x.parquet", b"")


@attack("a FIFO", "a FIFO instead of a file")
def pipe(folder):
    fifo(folder / "x.parquet")


@attack("a link to a file of the host", "a link that leads out of the source")
def linked(folder):
    link(folder / "x.parquet", "../outside/secret.txt")


@attack("a link to /dev/zero", "a link that leads out of the source", adapter="code_contests", good=0)
def endless(folder):
    link(folder / "x.parquet", "/dev/zero")


@attack("offsets that lead out of an Arrow file", "not a readable table", adapter="apps", good=0)
def offsets(folder):
    """Strings whose offsets end 1 GiB after the file: what lies there in memory would become a statement."""
    column = pa.array(["abcdefgh", "x" * 56])
    with pa.ipc.new_stream(folder / "x.arrow", pa.schema([("question", pa.string())])) as writer:
        writer.write_batch(pa.record_batch([column], names=["question"]))
    exchange(folder / "x.arrow", struct.pack("<3i", 0, 8, 64), struct.pack("<3i", 0, 8, 1 << 30))


@attack("an Arrow buffer that claims 1 TiB", "a table that needs more than", adapter="apps", good=0)
def claimed(folder):
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_stream(
        folder / "x.arrow", pa.schema([("question", pa.string())]), options=options
    ) as writer:
        writer.write_batch(pa.record_batch([pa.array(["a" * 5_000])], names=["question"]))
    frame = b"\x28\xb5\x2f\xfd"
    exchange(folder / "x.arrow", struct.pack("<q", 5_000) + frame, struct.pack("<q", 1 << 40) + frame)


def exchange(path, right, false):
    content = path.read_bytes()
    assert right in content
    path.write_bytes(content.replace(right, false))


def table_of(adapter, name, reason, column, good=0):
    """An Arrow file with a column that takes little room and stands for much."""

    @attack(name, reason, adapter=adapter, good=good)
    def make(folder):
        values = column()
        with pa.ipc.new_file(folder / "x.arrow", pa.schema([("question", values.type)])) as writer:
            writer.write_batch(pa.record_batch([values], names=["question"]))


def dictionary(count, value):
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), [value])


def views():
    """2,000 views of one text of 8 MiB."""
    view = struct.pack("<i4sii", 8 << 20, b"aaaa", 0, 0)
    buffers = [None, pa.py_buffer(view * 2_000), pa.py_buffer(b"a" * (8 << 20))]
    return pa.Array.from_buffers(pa.string_view(), 2_000, buffers)


def list_views():
    """Ten levels of lists, each ten times the whole list below it."""
    values = pa.array(["x"])
    for _ in range(10):
        size = len(values)
        values = pa.ListViewArray.from_arrays(
            pa.array([0] * 10, pa.int32()), pa.array([size] * 10, pa.int32()), values
        )
    return values


table_of(
    "apps",
    "a dictionary of 2 MiB in 2,000 rows",
    "expands to more than",
    lambda: dictionary(2_000, "a" * (2 << 20)),
    0,
)
table_of("apps", "views of 8 MiB in 2,000 rows", "a table that needs more than", views)
table_of("apps", "lists of lists that overlap", "columns of an unsupported type", list_views)
table_of("apps", "100 million rows of nothing", "more than", lambda: pa.nulls(100_000_000))
