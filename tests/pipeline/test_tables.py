"""Tables that are decoded in a process of their own give what pyarrow says of them."""

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.adapters import SourceFile
from pipeline.adapters.rows import rows


def test_a_table_is_the_same_whatever_its_types(tmp_path):
    """Dictionaries and views are sent as their values; what a row holds is what pyarrow says of the file."""
    words = pa.array(["a", "b" * 40, None] * 400)
    table = pa.table(
        {
            "words": words.dictionary_encode(),
            "view": words.cast(pa.string_view()),
            "lists": pa.array([["x"], None, ["y" * 20, None]] * 400, pa.list_(pa.string_view())),
            "map": pa.array([[("k", 1)], [], None] * 400, pa.map_(pa.string(), pa.int8())),
            "struct": pa.array([{"a": 1, "b": ["c"]}, None, {"a": None, "b": None}] * 400),
            "time": pa.array([0, 1, None] * 400, pa.timestamp("us", "UTC")),
        }
    )
    with pa.ipc.new_file(tmp_path / "t.arrow", table.schema) as writer:
        writer.write_table(table)
    pq.write_table(table.drop_columns(["view", "lists"]), tmp_path / "t.parquet", row_group_size=700)
    for name, wanted in (("t.arrow", table), ("t.parquet", table.drop_columns(["view", "lists"]))):
        actual = list(rows(SourceFile(str(tmp_path / name), name, "0", 1)))
        assert [row.value for row in actual] == wanted.to_pylist()
        assert [row.line for row in actual] == list(range(1, 1201))


def test_two_tables_may_be_read_at_once_and_left_early(tmp_path):
    for name in "ab":
        pq.write_table(pa.table({"x": [f"{name}{n}" for n in range(2_000)]}), tmp_path / f"{name}.parquet")
    for _ in range(3):
        both = [rows(SourceFile(str(tmp_path / f"{name}.parquet"), name, "0", 1)) for name in "ab"]
        pairs = [(next(both[0]).value["x"], next(both[1]).value["x"]) for _ in range(1_500)]
        assert pairs == [(f"a{n}", f"b{n}") for n in range(1_500)]
