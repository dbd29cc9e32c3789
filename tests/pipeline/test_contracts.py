"""Contracts refuse what breaks them, with table, row, column and value, and the README shows them as they
are.
"""

from datetime import UTC, datetime
from importlib import import_module

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import Schema

from pipeline.store import contract_tables
from pipeline.store.contract_check import ContractError, check
from pipeline.store.contracts import LANGUAGES, SCHEMAS
from pipeline.store.parquet import to_arrow
from pipeline.store.tables import TABLES
from pipeline.store.vocabularies import NOT_A_REWARD, ORIGINS, VERDICTS

FAULTS = [
    ({"origin": "nowhere"}, ["'t2'", "origin = 'nowhere'", "one_of_human", "1 of 3 rows"]),
    ({"origin": None}, ["'t2'", "origin = None", "nullability"]),
    ({"temperature": -0.5}, ["'t2'", "temperature = -0.5", "min"]),
    ({"top_p": 1.5}, ["'t2'", "top_p = 1.5", "max"]),
    ({"temperature": float("nan")}, ["'t2'", "temperature = nan", "nan"]),
    ({"problem_id": ""}, ["'t2'", "problem_id = ''", "min_length"]),
    ({"behaviour_logprob": 2.0}, ["'t2'", "behaviour_logprob = 2.0", "max"]),
    ({"token_ids": [1, 2], "token_logprobs": [-1.0]}, ["'t2'", "each_token_has_its_logprob", "1 of 3 rows"]),
    ({"token_ids": None, "token_logprobs": [-1.0]}, ["'t2'", "each_token_has_its_logprob"]),
    ({"claimed_verdict": "solved"}, ["'t2'", "claimed_verdict = 'solved'"]),
    ({"trajectory_id": "t1"}, ["'t1'", "primary_key", "2 of 3 rows"]),
]


@pytest.mark.parametrize(("fault", "words"), FAULTS)
def test_a_broken_row_is_named(rows, fault, words):
    frame = rows.frame(
        "trajectories", [rows.trajectory("t1"), rows.trajectory("t2") | fault, rows.trajectory("t3")]
    )
    with pytest.raises(ContractError, match=r"^trajectories: rule ") as caught:
        check(TABLES["trajectories"], frame)
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_wrong_columns_are_named(rows):
    frame = rows.frame("trajectories", [rows.trajectory("t1")])
    with pytest.raises(ContractError, match="trajectories: unknown column reward"):
        check(TABLES["trajectories"], frame.with_columns(reward=0.0))
    with pytest.raises(ContractError, match="trajectories: column program is missing"):
        check(TABLES["trajectories"], frame.drop("program"))
    with pytest.raises(ContractError, match=r"^trajectories: [^\n]*source_line[^\n]*$"):
        check(TABLES["trajectories"], frame.with_columns(source_line=pl.lit("seven")))


def test_missing_nullable_columns_are_null_and_types_are_cast(rows):
    frame = rows.frame("trajectories", [rows.trajectory("t1")]).with_columns(
        pl.col("source_line").cast(pl.Int8)
    )
    checked = check(TABLES["trajectories"], frame)
    assert checked.schema == TABLES["trajectories"].schema.create_empty().schema
    assert checked["run_id"].to_list() == [None] and checked["source_line"].to_list() == [7]


def test_a_batch_must_add_up(rows):
    row = {
        "batch_id": "b",
        "adapter": "a",
        "source_file": "f",
        "source_sha256": "s",
        "read": 3,
        "accepted": 1,
        "present": 1,
        "quarantined": 0,
        "started_at": rows.day,
        "finished_at": rows.day,
    }
    with pytest.raises(
        ContractError, match=r"batches: rule read_is_accepted_present_and_quarantined broken by row \['b'\]"
    ):
        check(TABLES["batches"], pl.DataFrame([row]))
    assert check(TABLES["batches"], pl.DataFrame([row | {"quarantined": 1}])).height == 1


def test_no_null_slips_through_a_rule(rows):
    """A null in a column with a rule of its own, but not nullable, is refused and not compared away."""
    frame = rows.frame("verdicts", [rows.verdict("t1", "accepted") | {"verdict": None}])
    with pytest.raises(ContractError, match="verdict"):
        check(TABLES["verdicts"], frame)


@pytest.mark.parametrize("name", TABLES)
def test_types_survive_delta_and_every_column_is_explained(name):
    table = TABLES[name]
    assert pa.schema(Schema.from_arrow(table.arrow_schema).to_arrow()).names == table.schema.column_names()
    assert table.key and set(table.key) <= set(table.schema.column_names())
    assert all(column.description for column in table.schema.columns().values())
    assert {*table.partition_by, *table.bloom_filter} <= set(table.schema.column_names())


@pytest.mark.parametrize("name", TABLES)
def test_a_file_is_the_same_whether_its_texts_are_views_or_strings(name):
    table = TABLES[name]
    types = table.empty.schema
    whole = pl.DataFrame(
        {
            column: pl.Series([value_of(kind, n) for n in range(200)], dtype=kind)
            for column, kind in types.items()
        }
    )
    for rows in (whole, whole.head(0), whole.slice(50, 99)):
        strings = rows.select(table.arrow_schema.names).to_arrow().cast(table.arrow_schema)
        assert parquet_of(to_arrow(table, rows)) == parquet_of(strings)


def value_of(kind, number):
    """A value of a type: nulls, empty and long texts, lists of 0 to 2 parts."""
    if isinstance(kind, pl.List):
        return [value_of(kind.inner, number + part) for part in range(number % 3)]
    if isinstance(kind, pl.Struct):
        return {field.name: value_of(field.dtype, number) for field in kind.fields}
    if kind == pl.String:
        return None if number % 5 == 0 else "é" * (number * 7 % 40)
    return {
        pl.Binary: bytes(number % 40),
        pl.Boolean: number % 2 == 0,
        pl.Datetime("us", "UTC"): datetime.fromtimestamp(number, UTC),
    }.get(kind, number)


def parquet_of(table):
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, store_schema=False, data_page_size=300, row_group_size=80)
    return sink.getvalue().to_pybytes()


def test_names_that_others_rely_on():
    assert ORIGINS == ("human", "earlier_training", "earlier_run", "other_policy", "search", "online")
    assert set(NOT_A_REWARD) < set(VERDICTS) and "accepted" not in NOT_A_REWARD and "unknown" in LANGUAGES


def test_the_readme_shows_the_contracts_as_they_are():
    text = contract_tables.README.read_text()
    assert contract_tables.with_tables(text) == text, "run: python -m pipeline.store.contract_tables"
    assert (
        "| `run_id` | string | yes | training or sampling run |" in text
        and "| `program` | string |  | the program" in text
    )
    assert "one of `human`, `earlier_training`" in text and "list of struct (test_id string" in text
    with pytest.raises(ValueError, match="no part between"):
        contract_tables.with_tables("nothing")


def test_the_types_that_readers_use_are_those_of_the_contracts():
    """`columns.json` has them, so that reading a store does not load the contracts."""
    written = "run: python -m pipeline.store.contract_tables"
    assert contract_tables.COLUMNS.read_text() == contract_tables.all_columns(), written
    for name, schema in SCHEMAS.items():
        assert TABLES[name].empty.schema == schema.create_empty().schema
    assert TABLES.keys() == SCHEMAS.keys()


@pytest.mark.parametrize("package", ["pipeline.store", "pipeline.text", "sandbox", "flows.runtime"])
def test_a_package_gives_every_name_that_it_exports(package):
    """They are imported at first use, so a wrong entry would show only there."""
    module = import_module(package)
    for name in module.__all__:
        assert getattr(module, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = module.nothing
