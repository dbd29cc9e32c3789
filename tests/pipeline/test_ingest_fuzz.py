"""Mutated rows of every format: nothing crashes, and every row is accounted for."""

import gzip
import json
import random
from pathlib import Path

import polars as pl
import pytest

from pipeline.adapters import SourceFile
from pipeline.adapters.bundle import HUMAN, MODEL, PROBLEMS
from pipeline.adapters.code_contests import read_row
from pipeline.admission import Admission
from pipeline.ingest import ingest
from pipeline.store import Store

ROWS = 300
ODD_VALUES = [
    None, True, -1, 0, 1 << 70, 1.5, float("nan"), float("inf"), "", "x", "\0", "\ud800", "é" * 50, [], {}, [None], [[]],
    {"": 1}, [1, "a"], "accepted", "stdin", {"kind": None}, [{"input": 1}], [{"input": "1", "output": "2"}], "python3",
    {"input": ["1"], "output": []},
]  # fmt: skip
ODD_BYTES = [
    b"\0",
    b"\xff\xfe",
    b"\xc3",
    b'"',
    b"\\",
    b"{",
    b"}",
    b"[",
    b"\r",
    b"\n",
    b"\\u0000",
    b"\\ud800",
    b"1e999",
    b"\xef\xbb\xbf",
    b",",
]


def bundle_rows():
    problem = {
        "problem_id": "a/1", "source": "a", "split": "train", "title": None, "statement": "Do.", "io_mode": "stdin",
        "tags": ["t"], "time_limit_s": 1, "memory_limit_mb": None, "checker": {"kind": "token", "case_sensitive": False},
        "difficulty": 3,
        "license": "x", "tests_quality": "full", "public_tests": [{"input": "1", "output": "2"}],
        "hidden_tests": [{"assert": "f()"}],
    }  # fmt: skip
    human = {
        "problem_id": "a/1", "solution_id": "s", "language": "python3", "source": "print(2)", "verdict": "accepted",
        "verdict_basis": "b", "author_kind": "human",
    }  # fmt: skip
    model = {
        "problem_id": "a/1", "sample_id": "m#1", "model": "m", "mode": "generate", "sampling": {"n": 2, "temperature": 0.5},
        "language": "cpp", "code": "int main(){}", "completion": "```cpp\nint main(){}\n```", "verdict": None,
        "verdict_basis": "b",
    }  # fmt: skip
    return {PROBLEMS: problem, HUMAN: human, MODEL: model}


def plain_rows():
    problem = {
        "problem_id": "a/1", "title": "t", "statement": "Do.", "checker": {"kind": "float", "float_tol": 1e-6}, "tags": ["t"],
        "time_limit_s": 1.0, "tests": [{"test_id": "1", "kind": "public", "input": "1", "expected_output": "2"}], "split": "test",
    }  # fmt: skip
    trajectory = {
        "problem_id": "a/1", "origin": "search", "policy_id": "p", "completion": "```python\nprint(2)\n```", "token_ids": [1, 2],
        "temperature": 1.0, "behaviour_logprob": -2.5, "policy_step": 3, "claimed_verdict": "WA", "source_key": "k",
    }  # fmt: skip
    return [problem, trajectory]


def changed(value, generator):
    """A JSON value with one change somewhere inside."""
    if isinstance(value, dict) and value and generator.random() < 0.9:
        key = generator.choice(list(value))
        if generator.random() < 0.15:
            return {name: item for name, item in value.items() if name != key}
        if generator.random() < 0.1:
            return value | {f"{key}x": value[key]}
        return value | {key: changed(value[key], generator)}
    if isinstance(value, list) and value and generator.random() < 0.7:
        place = generator.randrange(len(value))
        return [*value[:place], changed(value[place], generator), *value[place + 1 :]]
    return generator.choice(ODD_VALUES)


def mutated(row, generator):
    """A row as bytes, after some changes to its values or to its bytes."""
    for _ in range(generator.choice([0, 1, 1, 2, 5])):
        row = changed(row, generator) if isinstance(row, dict) else row
    raw = json.dumps(row).encode()
    for _ in range(generator.choice([0, 0, 0, 1, 3])):
        place = generator.randrange(len(raw) + 1)
        match generator.randrange(4):
            case 0:
                raw = raw[:place] + generator.choice(ODD_BYTES) + raw[place:]
            case 1:
                raw = raw[:place] + raw[place + generator.randrange(1, 9) :]
            case 2:
                raw = raw[:place]
            case 3:
                raw = raw[:place] + raw[place // 2 :]
    return raw


def lines_in(text):
    """Rows that a file holds: its lines that are not blank."""
    return sum(bool(line.strip()) for line in text.removeprefix(b"\xef\xbb\xbf").split(b"\n"))


def accounted(store, batch):
    assert batch.read == batch.accepted + batch.present + batch.quarantined
    own = pl.col("batch_id") == batch.batch_id
    held = {name: store.read(name).filter(own).height for name in ("problems", "trajectories", "quarantine")}
    assert held["problems"] + held["trajectories"] == batch.accepted and held["quarantine"] == batch.quarantined
    return batch.read


@pytest.mark.parametrize("seed", range(2))
def test_plain(tmp_path, seed):
    generator = random.Random(seed)
    good = plain_rows()
    rows = [json.dumps(row).encode() for row in good] + [mutated(generator.choice(good), generator) for _ in range(ROWS)]
    text = b"\n".join(rows)
    path = tmp_path / "rows.jsonl"
    path.write_bytes(text)
    store = Store(tmp_path / "store")
    (batch,) = ingest(store, "plain", str(path))
    assert accounted(store, batch) == lines_in(text)
    assert batch.accepted + batch.present > 10 and batch.quarantined > 100


def test_bundle(tmp_path):
    generator = random.Random(5)
    folder = tmp_path / "bundle"
    folder.mkdir()
    read = {}
    for name, good in bundle_rows().items():
        text = b"\n".join([json.dumps(good).encode(), *(mutated(good, generator) for _ in range(ROWS))])
        (folder / name).write_bytes(gzip.compress(text))
        read[name] = lines_in(text)
    store = Store(tmp_path / "store")
    batches = ingest(store, "bundle", str(folder))
    assert {Path(batch.source_file).name: accounted(store, batch) for batch in batches} == read
    # The bounded sample reads the same broken files.
    for batch in ingest(Store(tmp_path / "other"), "bundle", str(folder), limit=3):
        accounted(Store(tmp_path / "other"), batch)


def test_code_contests_rows(tmp_path):
    generator = random.Random(9)
    tests, programs = {"input": ["1"], "output": ["2"]}, {"language": [3, 2], "solution": ["print(2)", "int main(){}"]}
    good = {
        "name": "p", "description": "Do.", "public_tests": tests, "private_tests": tests, "generated_tests": tests, "source": 2,
        "difficulty": 7, "solutions": programs, "incorrect_solutions": programs, "cf_rating": 800, "cf_tags": ["a"],
        "time_limit": {"seconds": 1, "nanos": 0}, "memory_limit_bytes": 1 << 28, "input_file": "", "output_file": "",
    }  # fmt: skip
    store = Store(tmp_path / "store")
    admission = Admission(store, "batch", "code_contests", SourceFile("f", "f", "0", 0))
    items = [item for number in range(ROWS) for item in read_row(number, changed(good, generator), "train", None)]
    chunk = admission.decide(items)
    assert admission.counts.read == len(items) and chunk.quarantine.height == admission.counts.quarantined > 50
    assert chunk.problems.height + chunk.trajectories.height == admission.counts.accepted
    for table, rows in chunk.tables():
        store.append(table, rows, producer="test", sequence=1)
