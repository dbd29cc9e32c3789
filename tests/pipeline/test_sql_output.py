"""Results written out: every format gives the rows back, nested values and empty results included."""

from __future__ import annotations

import io
import json

import duckdb
import polars as pl
import pytest

from pipeline.store.sql import SqlError
from pipeline.store.sql_output import BATCH_ROWS, write_file, write_rows

ROWS = (
    "SELECT i, [i, i + 1] AS pair, {'a': 'x,\"y\"\n' || i} AS struct, NULL AS nothing"
    f" FROM range({BATCH_ROWS + 10}) t(i)"
)


@pytest.fixture(scope="module")
def connection():
    with duckdb.connect() as opened:
        yield opened


def written(connection, query, format):
    file = io.BytesIO()
    write_rows(connection.sql(query), file, format)
    return file.getvalue()


def test_every_format_gives_the_rows_back(connection, tmp_path):
    expected = connection.sql(ROWS).pl().drop("nothing")
    assert pl.DataFrame(json.loads(written(connection, ROWS, "json"))).drop("nothing").equals(expected)
    assert pl.read_ndjson(written(connection, ROWS, "jsonl")).drop("nothing").equals(expected)
    write_file(connection.sql(ROWS), tmp_path / "rows.parquet")
    assert pl.read_parquet(tmp_path / "rows.parquet").drop("nothing").equals(expected)
    csv = pl.read_csv(written(connection, ROWS, "csv"))
    assert csv["i"].equals(expected["i"]) and json.loads(csv["struct"][7]) == expected["struct"][7]
    assert [json.loads(text) for text in csv["pair"]] == expected["pair"].to_list()


def test_a_result_without_rows(connection):
    none = ROWS + " WHERE false"
    assert json.loads(written(connection, none, "json")) == [] and written(connection, none, "jsonl") == b""
    assert written(connection, none, "csv") == b"i,pair,struct,nothing\n"
    assert pl.read_parquet(written(connection, none, "parquet")).columns == ["i", "pair", "struct", "nothing"]


def test_a_query_that_fails_half_way_leaves_no_file(connection, tmp_path):
    failing = (
        f"SELECT CASE WHEN i = {BATCH_ROWS + 5} THEN error('at last') ELSE i END AS i"
        f" FROM range({BATCH_ROWS + 10}) t(i)"
    )
    with pytest.raises(SqlError, match="at last"):
        write_file(connection.sql(failing), tmp_path / "rows.csv")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "fault"), [("rows.txt", "unknown format 'txt'"), ("none/rows.csv", "cannot write")]
)
def test_a_file_that_cannot_be_written(connection, tmp_path, name, fault):
    with pytest.raises(SqlError, match=fault):
        write_file(connection.sql("SELECT 1"), tmp_path / name)
