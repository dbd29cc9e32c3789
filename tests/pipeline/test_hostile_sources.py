"""Hostile sources: nothing outside is read, each refusal is one line, and other files are not affected."""

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
import yaml

from pipeline import adapters
from pipeline.adapters import ReadTrajectory, Refused, SourceError, find, register
from pipeline.adapters.bounded_yaml import load_yaml
from pipeline.adapters.rows import RowAdapter
from pipeline.adapters.source_policy import is_plain_name, printable
from pipeline.ingest import Selection, ingest, retry
from pipeline.labelling import CheckerUnavailable, problem_checker
from pipeline.store import Store

SCRIPT = Path(__file__).with_name("hostile_sources.py")
PROBLEM = {"problem_id": "a/b", "statement": "Add two numbers.", "tests": []}
PACKAGE = {
    "problem.yaml": "name: N\n",
    "problem_statement/problem.en.tex": "Sum.",
    "data/secret/1.in": "1\n",
    "data/secret/1.ans": "2\n",
    "submissions/accepted/a.py": "print(2)",
}


def write(root, files):
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.mark.parametrize(
    "options", [["--quick"], pytest.param([], marks=pytest.mark.slow)], ids=["quick", "all"]
)
def test_no_attack_breaches(options):
    """Each in a process of its own, with limits on memory and CPU time; `hostile_sources.py` lists them."""
    done = subprocess.run([sys.executable, SCRIPT, *options], capture_output=True, text=True, timeout=280)
    actual = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, done.stderr
    assert {row["attack"]: row["breaches"] for row in actual if row["breaches"]} == {}
    assert len({row["attack"] for row in actual}) == len(actual) >= 120


def test_what_surrounds_a_hostile_file_goes_into_the_store(store, tmp_path):
    """Every row is accounted for; files that are not read are a line each, the rest a count."""
    (tmp_path / "secret.jsonl").write_text(json.dumps(PROBLEM | {"problem_id": "a/secret"}))
    root = write(
        tmp_path / "source",
        {
            "problems.jsonl": json.dumps(PROBLEM),
            "y.jsonl/inside": "x",
            "._z.jsonl": b"\0\5\x16\7",
            "notes/.DS_Store": b"\0",
            ".git/q.jsonl": json.dumps(PROBLEM | {"problem_id": "a/hidden"}),
        },
    )
    os.mkfifo(root / "x.jsonl")
    os.symlink("../secret.jsonl", root / "v.jsonl")
    os.symlink("/etc", root / "etc")
    batches = ingest(store, "plain", str(root))
    assert [(batch.source_file, batch.accepted, batch.quarantined) for batch in batches] == [
        ("source/problems.jsonl", 1, 0),
        ("source/v.jsonl", 0, 1),
        ("source/x.jsonl", 0, 1),
        ("source/y.jsonl", 0, 1),
    ]
    assert store.read("problems")["problem_id"].to_list() == ["a/b"]
    assert sorted(store.read("quarantine")["reason"]) == [
        "a FIFO instead of a file: x.jsonl; remove it",
        "a folder named like a file: y.jsonl; rename it, or ingest it separately",
        "a link that leads out of the source: v.jsonl; replace it by the file itself",
    ]
    passed_over = {
        "files of the operating system (._*, .DS_Store)": 2,
        "hidden folders": 1,
        "a link that leads out of the source": 1,
    }
    assert batches[0].skipped == passed_over
    # The kinds are what refusals are counted by.
    assert batches[1].reasons == {"a link that leads out of the source": 1}
    # The second time all are known, and what was passed over is said again.
    again = ingest(store, "plain", str(root))
    assert all(batch.was_finished for batch in again) and again[0].skipped == passed_over
    # What was repaired is another file.
    (root / "x.jsonl").unlink()
    write(root, {"x.jsonl": json.dumps(PROBLEM | {"problem_id": "a/c"})})
    assert sum(batch.accepted for batch in ingest(store, "plain", str(root)) if not batch.was_finished) == 1


def test_a_hostile_package_ends_no_other(store, tmp_path):
    root = tmp_path / "contest"
    write(root / "bomb", PACKAGE | {"problem.yaml": "name: " + "[" * 5000})
    write(root / "good", PACKAGE)
    write(root / "linked", PACKAGE)
    (root / "linked" / "data" / "secret" / "1.ans").unlink()
    os.symlink("/etc/hostname", root / "linked" / "data" / "secret" / "1.ans")
    (root / "packed.zip").write_bytes(b"PK")
    batches = ingest(store, "kattis", str(root))
    assert [(batch.source_file, batch.accepted, batch.quarantined) for batch in batches] == [
        ("contest/bomb", 0, 2),
        ("contest/good", 2, 0),
        ("contest/linked", 0, 2),
        ("contest/packed.zip", 0, 1),
    ]
    refused = store.read("quarantine").sort("source_line", descending=True)
    reasons = dict(refused.select("source_file", "reason").iter_rows())
    assert reasons["contest/linked"].startswith("a link that leads out of the source: data/secret/1.ans")
    assert reasons["contest/packed.zip"].startswith(
        "an archive that cannot be read (File is not a zip file): "
    )


def test_packages_of_one_name_in_two_collections(store, tmp_path):
    """A submission is never judged by the tests of another package, also not after a retry."""
    write(tmp_path / "first" / "problems" / "p", PACKAGE)
    write(tmp_path / "second" / "problems" / "p", PACKAGE | {"data/secret/1.ans": "3\n"})
    (first,) = ingest(store, "kattis", str(tmp_path / "first" / "problems"))
    (second,) = ingest(store, "kattis", str(tmp_path / "second" / "problems"))
    assert (first.accepted, second.accepted, second.quarantined) == (2, 0, 2)
    reasons = set(store.read("quarantine")["reason"])
    assert "the problem that it solves was refused" in reasons
    (tried,) = retry(store, Selection())
    assert (tried.admitted, tried.refused) == (0, 2)


def test_a_submission_of_another_encoding_is_still_retried(store, tmp_path):
    write(tmp_path / "c" / "p", PACKAGE | {"submissions/accepted/b.py": "print(2) # é".encode("latin-1")})
    (batch,) = ingest(store, "kattis", str(tmp_path / "c"))
    assert (batch.accepted, batch.quarantined) == (2, 1)
    (tried,) = retry(store, Selection(), encoding="latin-1")
    assert (tried.admitted, tried.refused) == (1, 0)


class Failing(RowAdapter):
    """Its own errors: in a row, and between rows."""

    name = "failing_of_this_test"
    fails_between = True

    def items(self, row, file):
        if row.value["x"] == 2:
            raise UnboundLocalError("a slip")
        columns = {
            "problem_id": "a/b",
            "origin": "human",
            "policy_id": "human",
            "source_key": f"{file.name}#{row.line}",
        }
        columns |= {"program": f"print({row.line})", "extraction": "given", "language": "python3"}
        yield ReadTrajectory(row.line, row.raw, columns, row.size)

    def read(self, file):
        yield from super().read(file)
        if self.fails_between:
            raise AssertionError("over\ntwo lines")


def test_an_error_of_an_adapter_refuses_its_file_by_name_and_is_read_again(store, tmp_path):
    register(Failing())
    root = write(
        tmp_path / "source",
        {"p.jsonl": json.dumps(PROBLEM), "r/a.jsonl": '{"x": 1}\n{"x": 2}\n', "r/b.jsonl": '{"x": 3}\n'},
    )
    ingest(store, "plain", str(root / "p.jsonl"))
    batches = ingest(store, "failing_of_this_test", str(root / "r"))
    assert [(batch.accepted, batch.quarantined) for batch in batches] == [(1, 2), (1, 1)]
    reasons = (
        store.read("quarantine").filter(adapter="failing_of_this_test").sort("source_file", "source_line")
    )
    assert reasons["reason"].to_list() == [
        "AssertionError in adapter failing_of_this_test: after line 2 of r/a.jsonl: over two lines;"
        " the rest is not read: fix the adapter, and ingest the file again",
        "UnboundLocalError in the adapter: a slip",
        "AssertionError in adapter failing_of_this_test: after line 1 of r/b.jsonl: over two lines;"
        " the rest is not read: fix the adapter, and ingest the file again",
    ]
    assert b"Traceback" in reasons["raw"][0] and reasons["raw"][1] == b'{"x": 2}'
    # The file was not finished: it is read again, and nothing of it is there twice.
    again = ingest(store, "failing_of_this_test", str(root / "r"))
    assert not any(batch.was_finished for batch in again) and len(store.read("trajectories")) == 2
    Failing.fails_between = False
    try:
        repaired = ingest(store, "failing_of_this_test", str(root / "r"))
        assert [(batch.accepted, batch.quarantined) for batch in repaired] == [(1, 1), (1, 0)]
        assert all(batch.was_finished for batch in ingest(store, "failing_of_this_test", str(root / "r")))
    finally:
        Failing.fails_between = True


def test_a_failing_disk_is_heard(store, tmp_path, monkeypatch):
    """It says nothing about the file: a batch that ended so is not finished, and nothing is in the
    quarantine.
    """
    path = write(tmp_path, {"p.jsonl": json.dumps(PROBLEM)}) / "p.jsonl"

    def broken(file):
        yield from ()
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(find("plain"), "read", broken)
    with pytest.raises(OSError, match="Input/output error"):
        ingest(store, "plain", str(path))
    monkeypatch.undo()
    assert ingest(store, "plain", str(path))[0].accepted == 1 and not len(store.read("quarantine"))


def test_a_hostile_file_does_not_spoil_a_bounded_sample(tmp_path):
    lines = "".join(json.dumps(PROBLEM | {"problem_id": f"a/{n}"}) + "\n" for n in range(20))
    root = write(tmp_path / "source", {"problems.jsonl": lines})
    os.mkfifo(root / "x.jsonl")
    (root / "y.jsonl.gz").write_bytes(gzip.compress(b"\n" * 200_000_000, 9))
    items = [item for file in find("plain").files(str(root), 5) for item in find("plain").read(file)]
    refused = [item.reason.partition(":")[0] for item in items if isinstance(item, Refused)]
    assert (len(items) - len(refused), sorted(refused)[0]) == (5, "a FIFO instead of a file")
    assert len(refused) == 2


def test_a_row_of_a_shared_store_runs_no_file(store, tmp_path):
    """Quarantine rows name an adapter, so a writer of the store could choose the code that a retry runs."""
    mark = tmp_path / "ran"
    own = tmp_path / "evil.py"
    own.write_text(f"open({str(mark)!r}, 'w').close()\n")
    ingest(store, "plain", str(write(tmp_path, {"x.jsonl": "no JSON"}) / "x.jsonl"))
    hostile = store.read("quarantine").with_columns(
        pl.lit(f"{own}:evil").alias("adapter"), pl.lit("f" * 32).alias("quarantine_id")
    )
    store.append(
        "quarantine", hostile.with_columns(pl.lit("other").alias("batch_id")), producer="x", sequence=0
    )
    with pytest.raises(SourceError, match="only if the user names it on the command line"):
        retry(store, Selection(adapter=f"{own}:evil"))
    with pytest.raises(SourceError, match="only if the user names it"):
        ingest(store, f"{own}:evil", str(tmp_path))
    assert not mark.exists()
    with pytest.raises(SourceError, match="no adapter 'evil'"):
        adapters.load(f"{own}:evil")
    assert mark.exists()


def test_a_checker_of_a_store_needs_plain_names():
    for path in (
        "output_validators/v/..",
        "output_validators/v/-o.h",
        "output_validators/v/a\nb.h",
        "",
        "x" * 101 + ".h",
    ):
        programs = [{"role": "checker", "interface": "output_validator", "path": "v.py", "text": "1"}]
        programs.append({"role": "checker", "interface": "output_validator", "path": path, "text": ""})
        problem = {"checker": "custom", "input_mode": "stdin", "programs": json.dumps(programs)}
        with pytest.raises(CheckerUnavailable, match="unsafe name"):
            problem_checker(problem)


def test_yaml_of_packages_is_read_as_before():
    text = "a: &x {b: [1, 2.5, yes], c: null}\nd: *x\ne: 2020-01-01\nf: |\n  line\n"
    assert load_yaml(text, "x") == yaml.safe_load(text)


def test_names_of_files_are_one_printable_line():
    assert printable("a\n\x1b[31m\udcff\u202eé b") == "a\\n\\x1b[31m\\udcff\\u202eé b"
    assert [is_plain_name(name) for name in ("a.h", "my check.cpp", "é.py")] == [True, True, True]
    names = ("", ".", "..", ".x", "-o", "a/b", "a\0", "a\nb", "x" * 101, "é" * 51)
    assert [is_plain_name(name) for name in names] == [False] * 10
