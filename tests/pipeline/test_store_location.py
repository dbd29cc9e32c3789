"""Names of folders that a store can be in: every road reads the same rows there, or the name is refused."""

import os
import re

import polars as pl
import pytest

from pipeline.store import Store, StoreError, check_store, connect, query, repair_store


def fill(store, rows):
    for sequence in range(3):
        pair = [rows.trajectory(f"{sequence}-{origin}", origin=origin) for origin in ("human", "online")]
        frame = rows.frame("trajectories", pair)
        assert store.append("trajectories", frame, producer="p", sequence=sequence)
    problem = rows.frame("problems", [rows.problem("src/a")])
    assert store.append("problems", problem, producer="p", sequence=0)


GOOD_NAMES = [
    *("with space", "100%", "a%4", "a%zz", "ümlaut", "a#b", "{x}", "a'b", 'a"b', "a;b", "~x", "$HOME", "-x"),
    *("a:b", "a,b", "a+b", "a<b>", ".hidden", "_spo", "origin=search", "p_origin=online", "x=1"),
]


@pytest.mark.parametrize("name", GOOD_NAMES)
def test_every_road_reads_the_same_rows_under_any_name(tmp_path, rows, name):
    store = Store(tmp_path / name / "store")
    fill(store, rows)
    expected = sorted((f"{n}-{origin}", origin) for n in range(3) for origin in ("human", "online"))
    columns = ["trajectory_id", "origin"]

    def read():
        return Store(store.location).read("trajectories", columns).sort(columns).rows()

    assert read() == expected
    assert store.tail("trajectories", 1)[0].height == 4
    store.pin("old", {"trajectories": 2})
    assert store.maintain("trajectories", retention_hours=0).deleted == 2
    assert read() == expected
    assert store.snapshot("trajectories", 2).read(columns).sort(columns).rows() == expected[:4]
    for read_only in (True, False):
        with connect(store, read_only=read_only) as connection:
            actual = query(connection, "select trajectory_id, origin from trajectories order by all")
            assert actual.rows() == expected
    assert check_store(store).findings == [] and repair_store(store) == []


BAD_NAMES = {
    "a%41b": "%41",
    "a%2Fb": "%2F",
    "a[1]b": "[",
    "a]b": "]",
    "a*b": "*",
    "a?b": "?",
    "a|b": "|",
    "a^b": "^",
    "a\\b": "\\\\",
    "a\nb": "\\n",
    "_delta_log": "_delta_log",
    os.fsdecode(b"a\xffb"): "\\udcff",
}


@pytest.mark.parametrize("name", BAD_NAMES, ids=ascii)
@pytest.mark.parametrize("below", ["", "store"])
def test_a_name_that_would_be_misread_is_refused_in_words(tmp_path, name, below):
    sign = re.escape(f"'{BAD_NAMES[name]}'")
    with pytest.raises(StoreError, match=f"^a store cannot be in the folder [^\n]*{sign} in its path[^\n]*$"):
        Store(tmp_path / name / below)
    assert not list(tmp_path.iterdir())


def test_a_link_with_a_good_name_to_a_bad_one_is_refused(tmp_path):
    (tmp_path / "a[1]b").mkdir()
    (tmp_path / "good").symlink_to(tmp_path / "a[1]b")
    with pytest.raises(StoreError, match="a store cannot be in the folder"):
        Store(tmp_path / "good")


def test_a_file_url_is_refused(tmp_path):
    with pytest.raises(StoreError, match="name a folder by its path, without file:"):
        Store(f"file://{tmp_path}/store")


def test_a_folder_named_like_a_partition_changes_no_value(tmp_path, rows):
    """Readers that take `origin=search` above the store for a partition give every row that origin."""
    store = Store(tmp_path / "origin=search" / "store")
    fill(store, rows)
    assert store.read("trajectories")["origin"].value_counts().sort("origin").rows() == [
        ("human", 3),
        ("online", 3),
    ]
    human = store.snapshot("trajectories").scan().filter(pl.col("origin") == "human")
    assert human.collect().height == 3
