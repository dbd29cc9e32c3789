"""Connections on a part of a store give what one on the whole store gives."""

import pytest

from pipeline.store import sql
from pipeline.store.part_connections import connect_for
from pipeline.store.store import Store


@pytest.mark.parametrize("name", sql.VIEWS)
def test_a_view_has_the_rows_that_it_has_beside_all_others(small_store, name):
    text = f"select * from {name} order by all"
    with sql.connect(small_store) as whole, connect_for(small_store, text) as part:
        assert sql.query(part, text).equals(sql.query(whole, text))


def test_what_a_query_does_not_name_is_not_there(small_store):
    text = "with verdicts as (select 1 as n) select n from verdicts, problems limit 1"
    with connect_for(small_store, text) as connection:
        assert sql.query(connection, text).rows() == [(1,)]
        with pytest.raises(sql.SqlError, match="evaluations"):
            sql.query(connection, "select * from evaluations")


def test_versions_and_mistakes_are_those_of_the_whole_store(small_store):
    count = "select count(*) from trajectories"
    with connect_for(small_store, count, pins={"trajectories": 0}) as connection:
        assert sql.query(connection, count).item() == small_store.snapshot("trajectories", 0).read().height
    for wrong in ("select 1; select 2 +", "select nothing from problems", "drop table problems"):
        with connect_for(small_store, wrong) as connection, pytest.raises(sql.SqlError):
            sql.query(connection, wrong)


def test_of_a_table_in_since_it_has_what_was_added(tmp_path, rows):
    store = Store(tmp_path / "store")

    def add(*names):
        frame = rows.frame("trajectories", [rows.trajectory(name) for name in names])
        store.append_next("trajectories", frame, producer="test")

    def there(since):
        text = "select trajectory_id from trajectories order by all"
        with connect_for(store, text, since=since) as connection:
            return sql.query(connection, text)["trajectory_id"].to_list()

    assert there({"trajectories": store.version("trajectories")}) == []
    add("a", "b")
    before = store.version("trajectories")
    add("c")
    add("d")
    assert there({"trajectories": before}) == ["c", "d"] and there({"verdicts": 0}) == ["a", "b", "c", "d"]
    store.maintain("trajectories")
    assert there({"trajectories": before}) == ["c", "d"]
    store.maintain("trajectories", retention_hours=0)  # deletes what was compacted
    assert there({"trajectories": before}) == ["a", "b", "c", "d"]
