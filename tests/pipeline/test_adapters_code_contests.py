"""The CodeContests adapter on a Parquet file built here in the data set's exact schema, as its card on the
Hub states it.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.adapters import SourceError, find
from pipeline.adapters.code_contests import split_name
from pipeline.ingest.ingestion import ingest
from pipeline.store.store import Store

TESTS = pa.struct([("input", pa.list_(pa.string())), ("output", pa.list_(pa.string()))])
PROGRAMS = pa.struct([("language", pa.list_(pa.int64())), ("solution", pa.list_(pa.string()))])
SCHEMA = pa.schema(
    [
        ("name", pa.string()),
        ("description", pa.string()),
        ("public_tests", TESTS),
        ("private_tests", TESTS),
        ("generated_tests", TESTS),
        ("source", pa.int64()),
        ("difficulty", pa.int64()),
        ("solutions", PROGRAMS),
        ("incorrect_solutions", PROGRAMS),
        ("cf_contest_id", pa.int64()),
        ("cf_index", pa.string()),
        ("cf_points", pa.float32()),
        ("cf_rating", pa.int32()),
        ("cf_tags", pa.list_(pa.string())),
        ("is_description_translated", pa.bool_()),
        ("untranslated_description", pa.string()),
        ("time_limit", pa.struct([("seconds", pa.int64()), ("nanos", pa.int64())])),
        ("memory_limit_bytes", pa.int64()),
        ("input_file", pa.string()),
        ("output_file", pa.string()),
    ]
)
# What `datasets` writes beside the Arrow schema: the class labels.
LABELS = {
    "source": ["UNKNOWN_SOURCE", "CODECHEF", "CODEFORCES", "HACKEREARTH", "CODEJAM", "ATCODER", "AIZU"],
    "difficulty": [
        "UNKNOWN_DIFFICULTY",
        "EASY",
        "MEDIUM",
        "HARD",
        "HARDER",
        "HARDEST",
        "EXTERNAL",
        *"ABCDEFGHIJKLMNOPQRSTUV",
    ],
}


def row(name="76_B. Mice", **columns):
    return {
        "name": name,
        "description": "A flock of hungry mice ...",
        "public_tests": {"input": ["3 2\n"], "output": ["1\n"]},
        "private_tests": {"input": ["4 4\n", "5 5\n"], "output": ["2\n", "3\n"]},
        "generated_tests": {"input": ["6 6\n"], "output": ["4\n"]},
        "source": 2,
        "difficulty": 8,
        "solutions": {
            "language": [2, 3, 1, 4],
            "solution": ["int main(){}", "print(1)", "print 1", "class A {}"],
        },
        "incorrect_solutions": {
            "language": [0, 3],
            "solution": ["#include <iostream>\nusing namespace std;", "print(2)"],
        },
        "cf_contest_id": 76,
        "cf_index": "B",
        "cf_points": 0.0,
        "cf_rating": 2100,
        "cf_tags": ["greedy", ""],
        "is_description_translated": False,
        "untranslated_description": "",
        "time_limit": {"seconds": 0, "nanos": 500_000_000},
        "memory_limit_bytes": 256 << 20,
        "input_file": "",
        "output_file": "",
    } | columns


def features():
    def value(kind):
        if pa.types.is_struct(kind):
            return {field.name: value(field.type) for field in kind}
        if pa.types.is_list(kind):
            return {"feature": value(kind.value_type), "_type": "List"}
        return {
            "dtype": str(kind).replace("float", "float32").replace("float3232", "float32"),
            "_type": "Value",
        }

    made = {field.name: value(field.type) for field in SCHEMA}
    made |= {name: {"names": names, "_type": "ClassLabel"} for name, names in LABELS.items()}
    return json.dumps({"info": {"features": made}}).encode()


def write(path, rows, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist(rows, schema=SCHEMA.with_metadata({b"huggingface": features()}))
    pq.write_table(table, path, **options)
    return path


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def one(store, path, **options):
    (batch,) = ingest(store, "code_contests", str(path), **options)
    assert batch.read == batch.accepted + batch.present + batch.quarantined
    return batch


def test_a_row_becomes_a_problem_its_tests_and_its_solutions(store, tmp_path):
    batch = one(store, write(tmp_path / "data" / "valid-00000-of-00001.parquet", [row()]))
    assert batch.rows == {"problems": 1, "tests": 4, "trajectories": 6}
    (problem,) = store.read("problems").to_dicts()
    assert problem["problem_id"] == "codecontests/codeforces/76_B. Mice" and problem["split"] == "valid"
    assert (problem["time_limit_s"], problem["memory_limit_mb"], problem["difficulty"]) == (
        0.5,
        256.0,
        "2100",
    )
    assert (problem["checker"], problem["case_sensitive"], problem["float_tol"], problem["tags"]) == (
        "tokens",
        False,
        None,
        ["greedy"],
    )
    tests = store.read("tests").sort("position").select("test_id", "kind", "input", "expected_output").rows()
    assert tests == [
        ("public/1", "public", "3 2\n", "1\n"),
        ("private/1", "private", "4 4\n", "2\n"),
        ("private/2", "private", "5 5\n", "3\n"),
        ("generated/1", "generated", "6 6\n", "4\n"),
    ]
    actual = (
        store.read("trajectories")
        .sort("program")
        .select("program", "language", "claimed_verdict", "origin")
        .rows()
    )
    assert actual == [
        ("#include <iostream>\nusing namespace std;", "cpp", "rejected", "human"),
        ("class A {}", "java", "accepted", "human"),
        ("int main(){}", "cpp", "accepted", "human"),
        ("print 1", "python2", "accepted", "human"),
        ("print(1)", "python3", "accepted", "human"),
        ("print(2)", "python3", "rejected", "human"),
    ]


def test_values_that_stand_for_nothing(store, tmp_path):
    empty = {"input": [], "output": []}
    unknown = row(
        "p",
        source=5,
        difficulty=0,
        cf_rating=0,
        cf_tags=[],
        time_limit=None,
        memory_limit_bytes=0,
        private_tests=empty,
        generated_tests=empty,
        solutions={"language": [], "solution": []},
        public_tests={"input": ["1"], "output": ["0.50 -1.25"]},
    )
    one(store, write(tmp_path / "train-0.parquet", [unknown]))
    (problem,) = store.read("problems").to_dicts()
    assert [problem[name] for name in ("time_limit_s", "memory_limit_mb", "difficulty", "tags")] == [
        None,
        None,
        None,
        [],
    ]
    assert (problem["checker"], problem["float_tol"], problem["problem_id"]) == (
        "float",
        1e-6,
        "codecontests/atcoder/p",
    )


def test_what_cannot_be_judged_or_read_is_refused(store, tmp_path):
    rows = [
        row("file", input_file="mice.in"),
        row("uneven", private_tests={"input": ["1", "2"], "output": ["1"]}),
        row("label", source=99),
        row("good"),
        row("null", description=None),
    ]
    batch = one(store, write(tmp_path / "test.parquet", rows))
    actual = (
        store.read("quarantine").sort("source_line", "field").select("source_line", "field", "reason").rows()
    )
    assert actual[0][:2] == (1, "input_file") and actual[0][2].startswith(
        "reads or writes the file 'mice.in'"
    )
    refused = [(line, reason) for line, field, reason in actual if field != "problem_id"]
    assert refused == [
        (1, "reads or writes the file 'mice.in' instead of standard input and output"),
        (2, "2 inputs but 1 outputs"),
        (3, "not the schema of CodeContests: IndexError tuple index out of range"),
        (5, "is missing"),
    ]
    # The solutions of a refused problem are refused with it.
    assert batch.reasons["problem_id: the problem is neither in the store nor earlier in this source"] == 18
    assert batch.rows == {"problems": 1, "tests": 4, "trajectories": 6}
    raw = json.loads(store.read("quarantine").filter(field="input_file")["raw"][0])
    assert raw["input_file"] == "mice.in" and raw["public_tests"] == {"input": ["3 2\n"], "output": ["1\n"]}


def test_a_folder_in_the_layout_of_the_hub_is_read_file_by_file_and_only_once(store, tmp_path):
    for name, problems in (
        ("train-00000-of-00002", "ab"),
        ("train-00001-of-00002", "bc"),
        ("test-00000-of-00001", "d"),
    ):
        write(tmp_path / "code_contests" / "data" / f"{name}.parquet", [row(one) for one in problems])
    batches = ingest(store, "code_contests", str(tmp_path / "code_contests"))
    assert [batch.source_file for batch in batches] == [
        f"code_contests/data/{name}.parquet"
        for name in ("test-00000-of-00001", "train-00000-of-00002", "train-00001-of-00002")
    ]
    assert [(batch.accepted, batch.present) for batch in batches] == [(7, 0), (14, 0), (7, 7)]
    splits = dict(store.read("problems").select("title", "split").rows())
    assert splits == {"a": "train", "b": "train", "c": "train", "d": "test"}
    assert all(
        batch.was_finished for batch in ingest(store, "code_contests", str(tmp_path / "code_contests"))
    )


def test_a_bounded_sample_takes_the_first_rows_and_few_solutions(store, tmp_path):
    many = {"language": [3] * 10 + [2] * 10, "solution": [f"print({n})" for n in range(20)]}
    rows = [row(f"p{n}", solutions=many) for n in range(24)]
    batch = one(store, write(tmp_path / "train.parquet", rows, row_group_size=5), limit=10)
    assert batch.rows == {"problems": 10, "tests": 40, "trajectories": 10 * (3 + 3 + 2)}
    assert store.read("problems").sort("source_line")["title"].to_list() == [f"p{n}" for n in range(10)]


def test_a_broken_file_is_refused_and_a_name_that_is_nowhere_is_an_error(store, tmp_path):
    path = write(tmp_path / "train.parquet", [row()])
    path.write_bytes(path.read_bytes()[:-100])
    assert one(store, path).quarantined == 1
    assert store.read("quarantine").select("source_line").item() == 0
    with pytest.raises(SourceError, match="is not a local file or folder"):
        find("code_contests").files("no such name/at all", None)


def test_splits_from_file_names():
    names = (
        "train-00000-of-00039.parquet",
        "a/validation.parquet",
        "b/valid-0.parquet",
        "test.parquet",
        "everything.parquet",
    )
    assert [split_name(name) for name in names] == ["train", "valid", "valid", "test", "none"]


LARGE = """
import re, sys
from pipeline.ingest.ingestion import ingest
from pipeline.store.store import Store
(batch,) = ingest(Store(sys.argv[1]), "code_contests", sys.argv[2])
# Not ru_maxrss, which begins with what the parent had.
peak_kb = int(re.search("VmHWM:\\s+([0-9]+)", open("/proc/self/status").read())[1])
print(batch.read, batch.accepted, peak_kb >> 10)
"""


@pytest.mark.soak
def test_memory_is_bounded_by_far_less_than_a_row_group(tmp_path):
    """Row groups of 100 rows and 360 MB, most of it generated tests, as the data set's files have them."""
    path, text = tmp_path / "train.parquet", "123456 " * 4285
    with pq.ParquetWriter(path, SCHEMA) as writer:
        for begin in range(0, 300, 100):
            tests = [[f"{begin + n} {k} {text}" for k in range(120)] for n in range(100)]
            rows = [
                row(f"p{begin + n}", generated_tests={"input": one, "output": ["1"] * 120})
                for n, one in enumerate(tests)
            ]
            writer.write_table(pa.Table.from_pylist(rows, schema=SCHEMA))
    command = [sys.executable, "-c", LARGE, str(tmp_path / "store"), str(path)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    read, accepted, peak_mb = map(int, done.stdout.split())
    assert read == accepted == 300 * 7 and peak_mb < 1500
