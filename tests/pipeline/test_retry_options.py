"""A retry reads refused rows with what their ingestion was given: the mapping and the columns set."""

import json

import pytest

from pipeline.adapters import SourceError
from pipeline.ingest import ingest
from pipeline.ingest.quarantine import Selection, given_options, retry
from pipeline.store.store import Store

STATEMENT = "Read one integer n from standard input and print twice its value, nothing else."
PROBLEM = {
    "problem_id": "own/double",
    "statement": STATEMENT,
    "tests": [{"input": "3", "expected_output": "6"}],
}
# Its names are none that the adapter guesses.
ROW = {"asked": "own/double", "said": "```python\nprint(int(input()) * 2)\n```", "good": 1.0}
MAPPING = {"completion": "said", "problem_id": "asked", "reward": "good"}


@pytest.fixture
def refused(tmp_path):
    """A store with one row that was refused because its problem was not there; the problem is there now."""
    store = Store(tmp_path / "store")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "rows.jsonl").write_text(json.dumps(ROW) + "\n")
    columns = {"policy_id": "qwen", "temperature": "0.5", "language": "python3"}
    (batch,) = ingest(
        store, "samples", str(tmp_path / "mine" / "rows.jsonl"), columns=columns, mapping=MAPPING
    )
    assert (batch.accepted, batch.quarantined) == (0, 1)
    (tmp_path / "problems.jsonl").write_text(json.dumps(PROBLEM) + "\n")
    ingest(store, "plain", str(tmp_path / "problems.jsonl"))
    return store


def test_mapping_and_columns_are_used_again(refused):
    (summary,) = retry(refused, Selection(adapter="samples"))
    assert (summary.admitted, summary.reasons) == (1, {})
    row = refused.read("trajectories").row(0, named=True)
    assert (row["policy_id"], row["temperature"], row["language"]) == ("qwen", 0.5, "python3")
    assert (row["problem_id"], row["claimed_verdict"]) == ("own/double", "accepted")
    assert row["program"] == "print(int(input()) * 2)\n"


def test_a_column_of_the_retry_replaces_that_of_the_ingestion(refused):
    retry(refused, Selection(), columns={"temperature": "1.0"})
    row = refused.read("trajectories").row(0, named=True)
    assert (row["policy_id"], row["temperature"]) == ("qwen", 1.0)


def test_a_second_retry_remembers_too(tmp_path, refused):
    """The rows that a retry refuses stay with their first batch, whose options count."""
    (tmp_path / "other.jsonl").write_text(json.dumps(ROW | {"asked": "own/other"}) + "\n")
    ingest(refused, "samples", str(tmp_path / "other.jsonl"), columns={"policy_id": "p"}, mapping=MAPPING)
    retry(refused, Selection())
    (tmp_path / "problems.jsonl").write_text(json.dumps(PROBLEM | {"problem_id": "own/other"}) + "\n")
    ingest(refused, "plain", str(tmp_path / "problems.jsonl"))
    (summary,) = retry(refused, Selection())
    assert summary.admitted == 1
    assert sorted(refused.read("trajectories")["policy_id"]) == ["p", "qwen"]


def test_a_shared_store_names_no_file():
    """A pair without a key names a file on the command line; from a store it is left out."""
    assert given_options('{"map": {"/etc/secret.toml": "", "reward": "r"}}') == ({}, {"reward": "r"})
    with pytest.raises(SourceError, match=r"batches\.options"):
        given_options("[]")
    with pytest.raises(SourceError, match="cannot be set"):
        given_options('{"set": {"program": "x"}}')
