"""Stores that earlier commits of this project wrote open today, and go on.

`old_stores/stores.tar.xz` holds what their own code wrote: `appended` by e6c7ec3, the first commit with a
store (two trajectories of one problem, through `Store.append`), `ingested` by 0165fec (three programs of one
problem and a refused row, ingested from JSON lines, judged and deduplicated). No file has a content hash yet.
"""

import json
import tarfile
from pathlib import Path

import pytest

from pipeline.dedup import deduplicate
from pipeline.ingest import ingest
from pipeline.labelling import label
from pipeline.store import Store, connect, query
from pipeline.store.checking import check_store
from sandbox import Pool

ARCHIVE = Path(__file__).parent / "old_stores" / "stores.tar.xz"


@pytest.fixture
def old(tmp_path):
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path


def answer(store, sql):
    with connect(store) as connection:
        return query(connection, sql).rows()


def test_the_verdicts_of_an_old_store_are_read(old):
    rows = answer(
        Store(old / "ingested"), "select source_key, verdict, reward_binary from judged order by all"
    )
    assert rows == [("ann", "accepted", 0.0), ("bob", "wrong_answer", -1.0), ("cem", "accepted", 0.0)]


@pytest.mark.parametrize("name", ["appended", "ingested"])
def test_an_old_store_has_no_fault(old, name):
    assert check_store(Store(old / name)).findings == []


@pytest.mark.parametrize(("name", "before"), [("appended", 2), ("ingested", 3)])
def test_an_old_store_goes_on(old, name, before):
    store = Store(old / name)
    row = {"problem_id": "old/double", "source_key": "dan", "origin": "human", "policy_id": "human"}
    (old / "new.jsonl").write_text(json.dumps(row | {"language": "python3", "program": "print(5)"}) + "\n")
    (summary,) = ingest(store, "plain", str(old / "new.jsonl"))
    assert (summary.accepted, summary.quarantined) == (1, 0)
    with Pool(1) as pool:
        label(store, pool)
    deduplicate(store)
    store.maintain("trajectories")
    verdicts = dict(answer(store, "select source_key, verdict from judged"))
    assert len(verdicts) == before + 1 and verdicts["dan"] == "wrong_answer"
    assert answer(store, "select count(*) from clusters") == [(before + 1,)]
    assert check_store(store).findings == []
