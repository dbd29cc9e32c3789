"""The store on a local disk: appends, snapshots, tails, pins, maintenance, schema evolution, and what
other programs read.
"""

from dataclasses import replace

import dataframely as dy
import duckdb
import polars as pl
import pytest
from deltalake import DeltaTable

from pipeline.store import sql
from pipeline.store.contract_check import ContractError
from pipeline.store.contracts import Trajectories
from pipeline.store.store import Statistics, Store, StoreError
from pipeline.store.tables import TABLES


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def add(rows):
    def add_trajectories(store, sequence, ids, producer="p", **columns):
        frame = rows.frame("trajectories", [rows.trajectory(name, **columns) for name in ids])
        return store.append("trajectories", frame, producer=producer, sequence=sequence)

    return add_trajectories


def ids(rows):
    return sorted(rows["trajectory_id"])


def test_an_append_is_read_back_with_the_types_of_the_contract(store, rows):
    trajectory = rows.trajectory("t1", token_ids=[1, 2], temperature=0.5, origin="online")
    frame = rows.frame("trajectories", [trajectory])
    assert store.append("trajectories", frame, producer="p", sequence=0)
    got = store.read("trajectories")
    assert got.schema == Trajectories.create_empty().schema
    assert {name: got[name][0] for name in trajectory if name != "token_ids"} == {
        name: value for name, value in trajectory.items() if name != "token_ids"
    }
    assert got["token_ids"].to_list() == [[1, 2]] and got["run_id"].to_list() == [None]


def test_reading_creates_nothing(store, tmp_path):
    assert (
        store.read("verdicts").is_empty()
        and store.version("verdicts") == -1
        and store.last_sequence("verdicts", "p") == -1
    )
    assert store.tail("verdicts", -1)[0].is_empty() and store.statistics("verdicts") == Statistics(
        0, 0, 0, -1
    )
    assert store.maintain("verdicts").files_after == 0 and not (tmp_path / "store").exists()


def test_a_retry_adds_nothing(store, add):
    assert add(store, 3, ["a"]) and not add(store, 3, ["a"]) and not add(store, 2, ["b"])
    assert not add(Store(store.location), 3, ["a"])
    assert add(store, 3, ["c"], producer="another")
    assert ids(store.read("trajectories")) == ["a", "c"]
    assert (store.last_sequence("trajectories", "p"), store.last_sequence("trajectories", "none")) == (3, -1)


def test_append_next_counts_by_itself(store, rows):
    for name in ("a", "b"):
        store.append_next("trajectories", rows.frame("trajectories", [rows.trajectory(name)]), producer="p")
    store.append_next("trajectories", Trajectories.create_empty(), producer="p")
    assert store.last_sequence("trajectories", "p") == 1 and ids(store.read("trajectories")) == ["a", "b"]


def test_a_still_store_sees_what_was_there_and_what_it_writes_itself(store, add):
    add(store, 0, ["a"])
    other = Store(store.location)
    with store.pinned_reads():
        assert store.version("trajectories") == 1 and store.version("verdicts") == -1
        add(other, 0, ["b"], producer="q")
        assert store.version("trajectories") == 1 and ids(store.read("trajectories")) == ["a"]
        # A twin of what is there already is seen, although it came in meanwhile.
        assert not add(store, 0, ["b"], producer="q") and store.last_sequence("trajectories", "q") == 0
        assert add(store, 1, ["c"]) and ids(store.read("trajectories")) == ["a", "b", "c"]
    add(other, 1, ["d"], producer="q")
    assert ids(store.read("trajectories")) == ["a", "b", "c", "d"] and store.version("trajectories") == 4


def test_a_refused_append_leaves_nothing(store, add, rows):
    add(store, 0, ["a"])
    with pytest.raises(ContractError):
        add(store, 1, ["b"], origin="nowhere")
    assert store.version("trajectories") == 1 and ids(store.read("trajectories")) == ["a"]
    assert add(store, 1, ["b"])


def test_a_snapshot_is_not_disturbed(store, add):
    add(store, 0, ["a"])
    lazy, snapshot = store.snapshot("trajectories").scan(), store.snapshot("trajectories")
    add(store, 1, ["b"], origin="online")
    store.maintain("trajectories")
    assert (
        ids(lazy.collect())
        == ids(snapshot.read())
        == ids(store.snapshot("trajectories", snapshot.version).read())
        == ["a"]
    )
    assert store.snapshot("trajectories", -1).read().is_empty()
    assert ids(store.read("trajectories")) == ["a", "b"]


def test_a_tail_gives_each_row_once_across_compaction_and_restart(store, add):
    assert store.tail("trajectories", -1)[1] == -1
    add(store, 0, ["a"])
    first, reached = store.tail("trajectories", -1)
    assert ids(first) == ["a"] and first.columns == TABLES["trajectories"].schema.column_names()
    for sequence in range(1, 6):
        add(store, sequence, [f"b{sequence}", f"c{sequence}"], origin="online" if sequence % 2 else "human")
        if sequence in (2, 4):
            store.maintain("trajectories")
    more, reached = Store(store.location).tail("trajectories", reached)
    assert ids(more) == sorted(f"{letter}{n}" for letter in "bc" for n in range(1, 6))
    assert store.tail("trajectories", reached)[0].is_empty()
    assert ids(store.tail("trajectories", -1)[0]) == ids(store.read("trajectories"))


def test_a_tail_that_comes_too_late_says_so(store, add):
    for sequence in range(3):
        add(store, sequence, [f"a{sequence}"])
    store.maintain("trajectories", retention_hours=0)
    with pytest.raises(StoreError, match="trajectories: cannot follow from version 0") as caught:
        store.tail("trajectories", 0)
    assert "\n" not in str(caught.value)


def test_compaction_leaves_the_rows_and_fewer_files(store, add):
    for sequence in range(8):
        add(store, sequence, [f"a{sequence}"], origin="online" if sequence % 2 else "human")
    rows = store.read("trajectories")
    done = store.maintain("trajectories", retention_hours=0)
    assert (done.files_before, done.files_after, done.deleted) == (8, 2, 8)
    assert store.read("trajectories").sort("trajectory_id").equals(rows.sort("trajectory_id"))
    size = store.statistics("trajectories")
    assert (size.rows, size.files, size.version) == (
        8,
        2,
        store.version("trajectories"),
    ) and size.bytes > 1000
    assert not store.needs_compaction("trajectories")


def test_pinned_versions_survive_maintenance_and_the_others_do_not(store, add):
    pinned, lost = {}, []
    for sequence in range(20):
        add(store, sequence, [f"a{sequence:02}"])
        if sequence % 3 == 0:
            pinned[f"run-{sequence}"] = store.pin(f"run-{sequence}", store.pins(["trajectories"]))[
                "trajectories"
            ]
        if sequence % 5 == 4:
            lost.append(store.version("trajectories"))
            store.maintain("trajectories", retention_hours=0)
    store = Store(store.location)
    for count, version in enumerate(pinned.values()):
        retained = store.snapshot("trajectories", version).read()
        assert ids(retained) == [f"a{n:02}" for n in range(count * 3 + 1)]
    with pytest.raises(StoreError, match="damaged or gone"):
        store.snapshot("trajectories", lost[0]).read()
    assert store.pinned() == {label: {"trajectories": version} for label, version in pinned.items()}


def test_an_unpinned_version_goes(store, add):
    add(store, 0, ["a"])
    versions = store.pin("run")
    assert versions["trajectories"] == 1 and versions["verdicts"] == -1
    add(store, 1, ["b"])
    store.maintain("trajectories", retention_hours=0)
    assert ids(store.snapshot("trajectories", 1).read()) == ["a"]
    store.unpin("run")
    assert store.pinned() == {}
    store.maintain("trajectories", retention_hours=0)
    with pytest.raises(StoreError, match="damaged or gone"):
        store.snapshot("trajectories", 1).read()
    with pytest.raises(StoreError, match="no pin other; there are: none"):
        store.unpin("other")
    with pytest.raises(StoreError, match="no version 77"):
        store.pin("run", {"trajectories": 77})


def test_what_a_corpus_pins_survives_maintenance(tmp_path, fill_store):
    from pipeline.corpora import publication as corpora

    store = fill_store(Store(tmp_path / "store"))
    corpus = corpora.publish(store, corpora.Spec("all", "FROM judged"))
    before = corpora.read_rows(store, corpus)
    for name in TABLES:
        store.maintain(name, retention_hours=0)
        store.maintain(name, retention_hours=0)
    assert corpora.read_rows(Store(store.location), corpus).equals(before)


class Wider(Trajectories):
    mood = dy.String(nullable=True, description="a column that came later")


@pytest.fixture
def wider(monkeypatch):
    old = TABLES["trajectories"]
    new = replace(old, contract=Wider)
    return lambda: monkeypatch.setitem(TABLES, "trajectories", new), lambda: monkeypatch.setitem(
        TABLES, "trajectories", old
    )


def test_a_new_nullable_column_needs_no_rewrite(store, add, wider, rows):
    widen, narrow = wider
    add(store, 0, ["old"])
    files = store.snapshot("trajectories").files
    widen()
    newer = Store(store.location)
    assert newer.read("trajectories")["mood"].to_list() == [None]
    frame = rows.frame("trajectories", [rows.trajectory("new") | {"mood": "calm"}])
    assert newer.append("trajectories", frame, producer="p", sequence=1)
    assert set(files) < set(newer.snapshot("trajectories").files)
    expected = [("new", "calm"), ("old", None)]
    for step in (lambda: None, lambda: newer.maintain("trajectories")):
        step()
        assert newer.read("trajectories", ["trajectory_id", "mood"]).sort("trajectory_id").rows() == expected
        with sql.connect(newer) as connection:
            assert (
                sql.query(connection, "SELECT trajectory_id, mood FROM trajectories ORDER BY ALL").rows()
                == expected
            )
    assert (
        newer.tail("trajectories", -1)[0].sort("trajectory_id").select("trajectory_id", "mood").rows()
        == expected
    )
    assert ids(newer.snapshot("trajectories", 1).read()) == ["old"]
    # A program that does not know the column yet reads and appends as before.
    narrow()
    assert add(store, 2, ["late"]) and ids(Store(store.location).read("trajectories")) == [
        "late",
        "new",
        "old",
    ]
    widen()
    assert newer.read("trajectories").sort("trajectory_id")["mood"].to_list() == [None, "calm", None]


def test_other_programs_read_the_same_rows(tmp_path, fill_store, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    import datasets

    store = fill_store(Store(tmp_path / "store"))
    store.maintain("trajectories")
    snapshot = store.snapshot("trajectories")
    expected = snapshot.read().sort("trajectory_id")
    delta = (
        pl.scan_delta(f"{store.location}/trajectories")
        .select(expected.columns)
        .sort("trajectory_id")
        .collect()
    )
    assert delta.equals(expected)
    relation = duckdb.connect().sql(
        f"SELECT * FROM read_parquet({list(snapshot.files)}, hive_partitioning = false)"
    )
    assert (
        relation.pl()
        .sort("trajectory_id")
        .select("trajectory_id", "origin", "program")
        .equals(expected.select("trajectory_id", "origin", "program"))
    )
    loaded = datasets.load_dataset(
        "parquet", data_files=list(snapshot.files), split="train", cache_dir=str(tmp_path / "cache")
    )
    columns = ["trajectory_id", "origin", "temperature", "token_ids"]
    assert (
        pl.DataFrame(loaded.to_list()).select(columns).sort("trajectory_id").rows()
        == expected.select(columns).rows()
    )


def test_rows_are_looked_up_through_a_bloom_filter(store, add):
    add(store, 0, ["a", "b"])
    files = list(store.snapshot("trajectories").files)
    actual = duckdb.sql(
        f"SELECT path_in_schema, bloom_filter_offset FROM parquet_metadata({files})"
    ).fetchall()
    assert {name for name, offset in actual if offset is not None} == {"trajectory_id"}


def test_bounds_of_long_texts_are_cut_and_hide_no_row(store, add, rows):
    """Readers skip files and row groups by the least and greatest value; cut ones must still be bounds."""
    texts = [
        *("é" * 200 + x for x in "abc"),
        *("\U0010ffff" * 100 + x for x in "ab"),
        "z" * 63 + "é" * 50,
        "a",
    ]
    for sequence, text in enumerate(texts):
        frame = rows.frame("trajectories", [rows.trajectory(f"t{sequence}", program=text)])
        store.append("trajectories", frame, producer="test", sequence=sequence)
    for _ in range(2):
        snapshot = store.snapshot("trajectories")
        with sql.connect(store) as connection:
            for text in texts:
                expected = sum(other >= text for other in texts)
                statement = "SELECT count(*) FROM trajectories WHERE program >= $text"
                assert sql.query(connection, statement, {"text": text}).item() == expected
                for frame in (snapshot.scan(), pl.scan_delta(snapshot.uri)):
                    assert frame.filter(pl.col("program") >= text).collect().height == expected
                    assert frame.filter(pl.col("program") == text).collect().height == 1
        store.maintain("trajectories")


def test_the_log_is_never_cut(store, add):
    add(store, 0, ["a"])
    configuration = DeltaTable(f"{store.location}/trajectories").metadata().configuration
    assert configuration["delta.enableExpiredLogCleanup"] == "false"
