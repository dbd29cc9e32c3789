"""Rows out of documents and tables: streamed, bounded in memory, and whatever is broken refused where it
breaks.
"""

import gzip
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.adapters import ReadTrajectory, Refused, SourceError, SourceFile, find, source_policy
from pipeline.adapters.documents import document_rows
from pipeline.adapters.rows import RowAdapter, rows
from pipeline.ingest.ingestion import ingest
from pipeline.store.store import Store

ROOT = Path(__file__).parents[2]
MEMORY_MB = 1500


def of(path, content, depth=1):
    path.write_bytes(content)
    return list(document_rows(SourceFile(str(path), path.name, "0", len(content)), depth))


def values_of(actual):
    return [row.reason if isinstance(row, Refused) else row.value for row in actual]


END = "the file is truncated or broken here: the document does not end"
ELSE = "neither an object nor a list"
DOCUMENTS = {
    "objects": (
        b'\xef\xbb\xbf[ {"a": "]}\\"x["} ,\n{"b": [1, {"c": 2}]}\n]\n',
        [{"a": ']}"x['}, {"b": [1, {"c": 2}]}],
    ),
    "lists": (b"[[1], []]", [{"items": [1]}, {"items": []}]),
    "empty": (b"[]", []),
    "nothing": (b"", []),
    "values between": (b'[{"a":1}, 5, {"b":2}, "x"]', [{"a": 1}, ELSE, {"b": 2}, ELSE]),
    "a number": (b"5", [ELSE]),
    "cut off": (b'[{"a":1}, {"b":', [{"a": 1}, END]),
    "cut in a text": (b'[{"a":1}, {"b":"c', [{"a": 1}, END]),
    "closed too often": (
        b'[{"a":1}]]',
        [{"a": 1}, "the file is truncated or broken here: a closing bracket has no opening bracket"],
    ),
    "two documents": (b'[{"a":1}]\n[{"b":1}]', [{"a": 1}, {"b": 1}]),
    "broken inside": (
        b'[{"a":1}, {"b" 1}, {"c":3}]',
        [{"a": 1}, "not JSON: Expecting ':' delimiter", {"c": 3}],
    ),
    "UTF-16": ('[{"a": 1}]'.encode("utf-16"), ["the file is UTF-16; convert it to UTF-8"]),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents(tmp_path, name):
    content, expected = DOCUMENTS[name]
    actual = values_of(of(tmp_path / "x.json", content))
    assert [one.partition(": line")[0] if isinstance(one, str) else one for one in actual] == expected


def test_lists_deeper_in_a_document(tmp_path):
    value = {"date": "[{", "eval": {"t/0": [{"task_id": "t/0"}], "t/1": []}, "hash": 1}
    assert values_of(of(tmp_path / "x.json", json.dumps(value, indent=1).encode(), 2)) == [
        {"items": [{"task_id": "t/0"}]},
        {"items": []},
    ]


def test_rows_across_blocks_keep_their_bytes(tmp_path):
    """The blocks of a file are a megabyte: texts, escapes and brackets lie across their borders."""
    values = [{"i": number, "s": 'é"\\[{' * (number % 997)} for number in range(3000)]
    content = json.dumps(values, ensure_ascii=False).encode()
    assert len(content) > 5 << 20
    for packed, name in ((content, "x.json"), (gzip.compress(content, 1), "x.json.gz")):
        actual = of(tmp_path / name, packed)
        assert values_of(actual) == values and [row.line for row in actual] == list(range(1, 3001))
        assert actual[7].text == json.dumps(values[7], ensure_ascii=False).encode()


def test_a_gigantic_row_ends_the_document(tmp_path, monkeypatch):
    monkeypatch.setattr(source_policy, "MAX_ROW_BYTES", 3 << 20)
    values = [{"a": 1}, {"a": "x" * (9 << 20)}, {"a": 2}]
    first, last = of(tmp_path / "x.json", json.dumps(values).encode())
    assert (
        first.value == {"a": 1}
        and "a row of more than 3145728 bytes; it and the rest of the file are not read" in last.reason
    )
    assert len(last.raw) == 1 << 20


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_truncated_document(tmp_path, suffix):
    content = json.dumps([{"i": number, "s": os.urandom(200).hex()} for number in range(2000)]).encode()
    packed = gzip.compress(content) if suffix == ".gz" else pa.compress(content, "zstd", asbytes=True)
    *good, last = of(tmp_path / f"x.json{suffix}", packed[: len(packed) // 2])
    assert [row.value["i"] for row in good] == list(range(len(good))) and 700 < len(good) < 1300
    assert last.reason.startswith("the file is truncated or broken here") and last.line == len(good) + 1


class Notes(RowAdapter):
    name = "rows_of_this_test"

    def items(self, row, file):
        value = row.value
        columns = {
            "problem_id": value["task"],
            "origin": "human",
            "policy_id": "human",
            "source_key": str(row.line),
        }
        yield ReadTrajectory(
            row.line,
            row.raw,
            columns | {"program": value["code"], "extraction": "given", "language": "python3"},
        )


def table(count):
    return pa.table({"task": ["a/1"] * count, "code": [f"print({n})" for n in range(count)]})


@pytest.mark.parametrize("form", ["parquet", "stream", "file"])
def test_tables_whole_and_broken(tmp_path, form):
    path = tmp_path / ("t.parquet" if form == "parquet" else "t.arrow")
    if form == "parquet":
        pq.write_table(table(100), path, row_group_size=30)
    else:
        with (pa.ipc.new_stream if form == "stream" else pa.ipc.new_file)(path, table(1).schema) as writer:
            for batch in table(100).to_batches(max_chunksize=30):
                writer.write_batch(batch)
    whole = SourceFile(str(path), "t", "0", path.stat().st_size)
    actual = list(rows(whole))
    assert [row.value["code"] for row in actual] == [f"print({n})" for n in range(100)]
    assert (actual[41].line, json.loads(actual[41].text)) == (42, {"task": "a/1", "code": "print(41)"})
    assert whole.rows_in_file == 100 and 0 < whole.bytes_read <= whole.size_bytes
    assert [
        row.line for row in rows(SourceFile(str(path), "t", "0", 1, select_lines=lambda: frozenset({3, 99})))
    ] == [3, 99]
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    *good, last = rows(SourceFile(str(path), "t", "0", 1))
    assert isinstance(last, Refused) and last.reason.startswith("not a readable table")
    assert last.line == (len(good) + 1 if good else 0)


def test_a_table_without_a_column_is_refused_row_by_row(tmp_path):
    pq.write_table(table(5).drop_columns("code"), tmp_path / "t.parquet")
    items = list(Notes().read(SourceFile(str(tmp_path / "t.parquet"), "t", "0", 1)))
    assert [(item.line, item.reason, item.field) for item in items] == [
        (n, "key is missing", "code") for n in range(1, 6)
    ]
    assert json.loads(items[0].raw()) == {"task": "a/1"}


def test_a_json_file_may_hold_lines(tmp_path):
    for name, content in (
        ("a.json", b'\xef\xbb\xbf\n{"a": [1]}\n{"b": {"c": 2}}\n'),
        ("b.json", b'[{"a": [1]}, {"b": {"c": 2}}]'),
    ):
        (tmp_path / name).write_bytes(content)
        actual = list(rows(SourceFile(str(tmp_path / name), name, "0", len(content))))
        assert values_of(actual) == [{"a": [1]}, {"b": {"c": 2}}]
    (tmp_path / "c.json.gz").write_bytes(b"no gzip")
    assert "truncated or broken" in values_of(rows(SourceFile(str(tmp_path / "c.json.gz"), "c", "0", 7)))[0]


def test_sources_that_are_none(tmp_path):
    with pytest.raises(SourceError, match=r"no \.jsonl, .* in "):
        Notes().files(str(tmp_path), None)
    (tmp_path / "x.txt").write_text("{}")
    with pytest.raises(SourceError, match=r"no \.jsonl"):
        Notes().files(str(tmp_path / "x.txt"), None)
    with pytest.raises(SourceError, match="is not a local file or folder"):
        find("apps").files("no such name/at all", None)


def test_every_built_in_adapter_says_what_it_reads():
    from pipeline.adapters import BUILT_IN

    listed = (ROOT / "pipeline" / "adapters" / "README.md").read_text()
    for name, what in BUILT_IN.items():
        module = sys.modules[type(find(name)).__module__]
        assert find(name).name == name and what and len(module.__doc__) > 200
        assert f"| `{name}` |" in listed


def test_progress_counts_the_whole_source(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.jsonl").write_text('{"x": 1}\n' * 10)
    seen = []
    store = Store(tmp_path / "store")
    for _ in range(2):
        ingest(
            store, "plain", str(tmp_path), on_progress=lambda p: seen.append((p.bytes_read, p.bytes_total))
        )
    # The second time both are finished.
    assert seen == [(90, 180), (180, 180)] * 2


LARGE = """
import json, resource, sys
from pipeline.ingest.ingestion import ingest
from pipeline.store.store import Store
(batch,) = ingest(Store(sys.argv[1]), sys.argv[2], sys.argv[3])
peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
print(json.dumps([batch.read, batch.accepted, batch.quarantined, peak_mb]))
"""


def ingested(tmp_path, adapter, path):
    """(read, accepted, quarantined, peak MiB) of a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", LARGE, str(tmp_path / "store"), adapter, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    return json.loads(done.stdout)


@pytest.mark.soak
@pytest.mark.timeout(3600)  # minutes to write the file and to read it, more beside other work
@pytest.mark.parametrize("form", ["jsonl", "jsonl.gz", "jsonl.zst", "json", "parquet"])
def test_memory_is_bounded_whatever_the_size(tmp_path, form):
    """A file of 2 GB with rows of up to 50 MB; the largest are problems with as many bytes of tests."""
    sizes = [50 << 20 if number % 10 == 0 else 4 << 20 for number in range(240)]
    made = (
        {"id": n, "question": "Q", "solutions": "[]", "input_output": large(n, size)}
        for n, size in enumerate(sizes)
    )
    path = tmp_path / f"train.{form}"
    if form == "parquet":
        writer = None
        for row in made:
            part = pa.Table.from_pylist([row])
            writer = writer or pq.ParquetWriter(path, part.schema, compression="none")
            writer.write_table(part)
        writer.close()
    else:
        with written_to(path) as file:
            file.write("[" if form == "json" else "")
            for number, row in enumerate(made):
                file.write(
                    (",\n" if form == "json" and number else "")
                    + json.dumps(row)
                    + ("" if form == "json" else "\n")
                )
            file.write("]" if form == "json" else "")
    assert form.endswith(("gz", "zst")) or path.stat().st_size > 2 << 30
    read, accepted, quarantined, peak_mb = ingested(tmp_path, "apps", path)
    print(f"{form}: {path.stat().st_size >> 20} MB, peak {peak_mb} MB")
    assert (read, accepted, quarantined) == (240, 240, 0) and peak_mb < MEMORY_MB


def written_to(path):
    if path.suffix == ".gz":
        return gzip.open(path, "wt", compresslevel=1)
    if path.suffix == ".zst":
        return io.TextIOWrapper(pa.CompressedOutputStream(str(path), "zstd"))
    return path.open("w")


def large(number, size):
    return json.dumps({"inputs": [f"{number} " + "7 " * (size // 2)], "outputs": ["1"]})
