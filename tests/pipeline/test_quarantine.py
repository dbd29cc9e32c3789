"""The quarantine on real stores: listed, shown, and tried again after a fix, with every row accounted for
and nothing deleted.
"""

import gzip
import json

import polars as pl
import pytest
from typer.testing import CliRunner

from flows.cli import app
from pipeline import adapters
from pipeline.adapters import SourceError
from pipeline.ingest import quarantine
from pipeline.ingest.ingestion import ingest
from pipeline.ingest.quarantine import Selection, entries, groups, read_raw, retry
from pipeline.store.store import Store

OWN = """
from pipeline.adapters import ReadTrajectory, register
from pipeline.adapters.rows import RowAdapter
LANGUAGES = {languages!r}

class Notes(RowAdapter):
    name = "notes"

    def items(self, row, file):
        value = row.value
        yield ReadTrajectory(row.line, row.raw, {{
            "problem_id": value["task"], "origin": "human", "policy_id": "human", "source_key": str(row.line),
            "program": value["code"], "extraction": "given", "language": LANGUAGES[value["lang"]],
        }}, row.size)

register(Notes())
"""


def problem(name):
    tests = [{"input": "1", "expected_output": "1"}]
    return {"problem_id": name, "statement": f"Print one for {name}.", "tests": tests}


def program(name, text, **keys):
    who = {"origin": "human", "policy_id": "human", "language": "python3", "source_key": text}
    return {"problem_id": name, "program": text} | who | keys


def write(path, *rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        b"".join((row if isinstance(row, bytes) else json.dumps(row).encode()) + b"\n" for row in rows)
    )
    return str(path)


def accounted(store):
    """Every batch, of a first reading or of a retry: what it says it did is what lies in the store under
    its name.
    """
    for batch in store.read("batches").iter_rows(named=True):
        own = pl.col("batch_id") == batch["batch_id"]
        count = {
            name: store.read(name).filter(own).height for name in ("problems", "trajectories", "quarantine")
        }
        assert batch["read"] == batch["accepted"] + batch["present"] + batch["quarantined"]
        assert count["problems"] + count["trajectories"] == batch["accepted"]
        assert count["quarantine"] == batch["quarantined"]


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def filled(store, tmp_path):
    """Programs for two problems that are not there yet, and rows that are broken for good."""
    rows = [program("a/1", f"print({n})") for n in range(3)] + [
        program("a/2", "print(2)"),
        b"{broken",
        {"nothing": 1},
    ]
    ingest(store, "plain", write(tmp_path / "first.jsonl", *rows, program("a/1", "print(0)", policy_id="")))
    return store


def test_groups_count_by_source_and_reason(filled):
    actual = groups(filled).select("adapter", "source_file", "field", "reason", "rows", "open").rows()
    name = filled.read("batches")["source_file"][0]
    unknown = "the problem is neither in the store nor earlier in this source"
    assert ("plain", name, "problem_id", unknown, 4, 4) in actual and len(actual) == 4
    assert sum(row[4] for row in actual) == filled.read("quarantine").height == 7


def test_a_problem_that_came_in_later_lets_its_programs_in(filled, tmp_path):
    ingest(filled, "plain", write(tmp_path / "later.jsonl", problem("a/1")))
    before = filled.read("quarantine")
    (done,) = retry(filled, Selection(reason="neither in the store"))
    assert (done.rows, done.admitted, done.refused, done.accepted, done.present) == (4, 3, 1, 3, 0)
    assert done.reasons == {"problem_id: the problem is neither in the store nor earlier in this source": 1}
    held = filled.read("trajectories").sort("source_line")
    # They lead back to the file and the line they stood in.
    assert held["source_line"].to_list() == [1, 2, 3] and set(held["source_file"]) == set(
        before["source_file"]
    )
    assert filled.read("quarantine").equals(before)
    assert (
        entries(filled, Selection()).height == 4 and entries(filled, Selection(), only_open=False).height == 7
    )
    outcomes = filled.read("retries").sort("outcome")["outcome"].to_list()
    assert outcomes == ["admitted"] * 3 + ["refused"]
    accounted(filled)
    # Again: only the open one is tried, and still refused. Once its problem is there it gets in, and the rest
    # stays open.
    (again,) = retry(filled, Selection(reason="neither in the store"))
    assert (again.rows, again.refused) == (1, 1)
    ingest(filled, "plain", write(tmp_path / "last.jsonl", problem("a/2")))
    (last,) = retry(filled, Selection())
    assert (last.rows, last.admitted, last.refused) == (4, 1, 3)
    assert filled.read("retries").height == 4 + 1 + 4
    accounted(filled)


def test_a_mended_adapter(store, tmp_path):
    ingest(store, "plain", write(tmp_path / "p.jsonl", problem("a/1")))
    own = tmp_path / "notes.py"
    own.write_text(OWN.format(languages={"py": "python3"}))
    rows = [
        {"task": "a/1", "code": "print(1)", "lang": "py"},
        {"task": "a/1", "code": "int main(){}", "lang": "c++"},
    ]
    adapters.load(f"{own}:notes")
    (batch,) = ingest(store, f"{own}:notes", write(tmp_path / "notes.jsonl", *rows))
    assert (batch.accepted, batch.quarantined, batch.reasons) == (1, 1, {"c++: key is missing": 1})
    own.write_text(OWN.format(languages={"py": "python3", "c++": "cpp"}))
    adapters.load(f"{own}:notes")
    (done,) = retry(store, Selection(adapter="notes"))
    assert (done.admitted, done.accepted) == (1, 1)
    assert sorted(store.read("trajectories")["language"]) == ["cpp", "python3"]
    accounted(store)


def test_rows_in_another_encoding(store, tmp_path):
    text = json.dumps(program("a/1", "print('é')"), ensure_ascii=False)
    path = write(tmp_path / "latin.jsonl", problem("a/1"), text.encode("latin-1"), text.encode())
    (batch,) = ingest(store, "plain", path)
    assert (batch.accepted, batch.quarantined) == (2, 1)
    with pytest.raises(SourceError, match="unknown encoding: klingon"):
        retry(store, Selection(), encoding="klingon")
    (wrong,) = retry(store, Selection(), encoding="ascii")
    assert wrong.refused == 1 and wrong.reasons == {"not ascii": 1}
    (done,) = retry(store, Selection(reason="not UTF-8"), encoding="latin-1")
    # Read rightly it is the row that the file had in UTF-8 already.
    assert (done.admitted, done.accepted, done.present) == (1, 0, 1)
    with pytest.raises(SourceError, match="no open row"):
        retry(store, Selection())
    accounted(store)


def test_a_row_of_many_solutions_gets_in_in_part(store, tmp_path):
    """A refused APPS row; fixed by hand it has a problem, a valid solution and an empty one."""
    row = {"problem_id": 1, "question": "Q", "solutions": json.dumps(["print(1)", ""]), "input_output": "{"}
    (batch,) = ingest(store, "apps", write(tmp_path / "train.jsonl", row))
    assert (batch.read, batch.quarantined) == (1, 1)
    mended = json.dumps({**row, "input_output": json.dumps({"inputs": ["1"], "outputs": ["1"]})}).encode()
    real = quarantine.read_raw
    try:
        quarantine.read_raw = lambda store, names: dict.fromkeys(names, mended)
        (done,) = retry(store, Selection())
    finally:
        quarantine.read_raw = real
    assert (done.rows, done.admitted, done.accepted, done.quarantined) == (1, 1, 2, 1)
    # The solution that is still refused is a row of the quarantine now, by itself.
    (left,) = entries(store, Selection()).iter_rows(named=True)
    assert left["field"] == "program" and json.loads(
        read_raw(store, [left["quarantine_id"]])[left["quarantine_id"]]
    )["solutions"] == [""]
    accounted(store)


class Killed(BaseException):
    """Like a kill: nothing catches it."""


class DyingStore(Store):
    def __init__(self, location, commits):
        super().__init__(location)
        self.left = commits

    def append(self, *arguments, **options):
        done = super().append(*arguments, **options)
        self.left -= 1
        if not self.left:
            raise Killed
        return done


def test_killed_at_every_commit_in_turn(tmp_path, monkeypatch):
    monkeypatch.setattr(quarantine, "CHUNK_ROWS", 3)
    store = Store(tmp_path / "store")
    rows = [program("a/1", f"print({n})") for n in range(4)] + [{"nothing": 1}]
    ingest(store, "plain", write(tmp_path / "first.jsonl", *rows))
    ingest(store, "plain", write(tmp_path / "later.jsonl", problem("a/1")))
    kills = 0
    while entries(store, Selection()).height == 5 and kills < 20:
        with pytest.raises(Killed):
            retry(DyingStore(store.location, 1), Selection())
        kills += 1
    # Trajectories and outcomes of two portions, and the batch.
    assert kills == 5
    assert store.read("trajectories").height == 4 and store.read("retries").height == 5
    assert entries(store, Selection()).height == 1
    accounted(store)


def spo(store, *arguments):
    return CliRunner().invoke(app, ["quarantine", *arguments, "--store", store.location])


def test_the_commands(filled, tmp_path):
    listed = spo(filled, "list", "--json")
    rows = [json.loads(line) for line in listed.stdout.splitlines()]
    assert sum(row["rows"] for row in rows) == 7 and all(row["open"] == row["rows"] for row in rows)
    assert "neither in the store" in spo(filled, "list").stdout
    shown = spo(filled, "show", "--reason", "not JSON").stdout
    assert "first.jsonl:5" in shown and "{broken" in shown
    assert spo(filled, "show", "--reason", "not JSON", "--raw").stdout_bytes == b"{broken\n"
    name = entries(filled, Selection(reason="not JSON"))["quarantine_id"][0]
    assert name in spo(filled, "show", name[:12]).stdout
    ingest(filled, "plain", write(tmp_path / "later.jsonl", problem("a/1")))
    done = spo(filled, "retry", "--reason", "neither", "--json")
    assert json.loads(done.stdout)["admitted"] == 3
    assert "no open row of the quarantine is selected" in str(
        spo(filled, "retry", "--reason", "no such reason").exception
    )
    assert spo(filled, "retry", "--set", "policy").exit_code == 2


@pytest.mark.parametrize("suffix", ["gz", "cut.gz"])
def test_what_is_refused_as_a_file_stays_until_the_file_is_mended(store, tmp_path, suffix):
    path = tmp_path / "rows.jsonl.gz"
    packed = gzip.compress(b"\xff\xfe" + json.dumps(problem("a/1")).encode("utf-16-le"))
    path.write_bytes(packed if suffix == "gz" else packed[: len(packed) // 2])
    ingest(store, "plain", str(path))
    (done,) = retry(store, Selection())
    assert (done.rows, done.refused) == (1, 1)
    accounted(store)
