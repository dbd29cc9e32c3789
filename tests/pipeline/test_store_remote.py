"""The same store on object storage: somebody else's S3 server (moto) on the loopback, in a process of its
own.
"""

import subprocess
import sys

import pytest

from pipeline.corpora import publication as corpora
from pipeline.corpora.parquet_export import export
from pipeline.store import sql
from pipeline.store.store import Store, StoreError
from pipeline.store.tables import TABLES

# Stays within the store's address and keys, so that it can also be run in another process.
WRITER = """
import json, sys
sys.path.insert(0, sys.argv[1])
from store_worker import batch
from pipeline.store.store import Store
store = Store(sys.argv[2], json.loads(sys.argv[3]))
name = sys.argv[4]
added = [store.append("trajectories", batch(name, n, 5), producer=name, sequence=n) for n in range(3)]
print(sum(added))
"""


@pytest.fixture(name="options")
def options_fixture(object_storage):
    return object_storage


def test_everything_works_as_on_a_disk(options, fill_store, small_store, tmp_path):
    store = fill_store(Store("s3://bucket/whole", options))
    for name, table in TABLES.items():
        assert store.read(name).sort(table.key).equals(small_store.read(name).sort(table.key))
    with sql.connect(store) as remote, sql.connect(small_store) as local:
        for view in sql.VIEWS:
            order = f"SELECT * FROM {view} ORDER BY ALL"
            assert sql.query(remote, order).equals(sql.query(local, order)), view
    corpus = corpora.publish(store, corpora.Spec("all", "FROM judged"))
    before = corpora.read_rows(store, corpus)
    store.pin("run", {"verdicts": 1})
    for name in ("trajectories", "verdicts"):
        store.maintain(name, retention_hours=0)
    assert store.tail("trajectories", 0)[0].height == 28
    assert corpora.read_rows(Store(store.location, options), corpus).equals(before)
    assert (export(store, corpus, tmp_path / "out") / "data/train.parquet").stat().st_size > 0


def test_writers_in_several_processes_and_twins(options):
    import json
    from pathlib import Path

    location = "s3://bucket/shared"
    arguments = [sys.executable, "-c", WRITER, str(Path(__file__).parent), location, json.dumps(options)]
    writers = [
        subprocess.Popen([*arguments, who], stdout=subprocess.PIPE, text=True)
        for who in ("one", "twin", "twin")
    ]
    added = [int(writer.communicate(timeout=280)[0]) for writer in writers]
    assert added[0] == 3 and added[1] + added[2] == 3
    ids = Store(location, options).read("trajectories", ["trajectory_id"])["trajectory_id"]
    assert ids.len() == ids.n_unique() == 2 * 3 * 5


def test_the_address_alone_is_enough_where_the_environment_has_the_keys(options, fill_store, monkeypatch):
    for name, value in options.items():
        monkeypatch.setenv(name.upper(), value)
    store = fill_store(Store("s3://bucket/environment"))
    with sql.connect(Store("s3://bucket/environment")) as connection:
        (count,) = sql.query(connection, "SELECT count(*) FROM trajectories").row(0)
    assert count == store.read("trajectories").height > 0
    assert corpora.publish(store, corpora.Spec("all", "FROM judged")).rows.len() > 0


def test_a_bucket_that_is_not_there(options, rows):
    store = Store("s3://no-such-bucket/store", options)
    with pytest.raises(StoreError, match=r"^problems: cannot [^\n]*no-such-bucket[^\n]*$"):
        store.append("problems", rows.frame("problems", [rows.problem("src/a")]), producer="p", sequence=0)
