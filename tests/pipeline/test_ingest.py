"""Ingestion end to end on real stores: every row accounted for, nothing twice, whatever is wrong with the
file.
"""

import gzip
import json
import os
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

from pipeline.adapters import Refused, SourceError, source_policy
from pipeline.ingest import ingestion as ingestion
from pipeline.ingest.ingestion import ingest
from pipeline.store.identity import trajectory_id
from pipeline.store.store import Store

DATA = Path(os.environ.get("SPO_DATA", Path(__file__).parents[2] / "../shared/data"))


def problem(name="mine/sum", **keys):
    test = {"test_id": "1", "kind": "public", "mode": "stdin", "input": "1 2\n", "expected_output": "3\n"}
    return {"problem_id": name, "title": "Sum", "statement": "Add two numbers.", "tests": [test]} | keys


def solution(program="print(3)", name="mine/sum", **keys):
    who = {"origin": "human", "policy_id": "human", "language": "python3", "source_key": f"key of {program}"}
    return {"problem_id": name, "program": program} | who | keys


def write(path, *rows):
    """A JSON lines file of objects, or of bytes that are taken as they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def faults(store):
    rows = store.read("quarantine").sort("source_line")
    return list(zip(rows["source_line"], rows["field"], rows["reason"], strict=True))


def accounted(store, batches):
    """The accounts of batches agree with what lies in the store under their names."""
    for batch in batches:
        assert batch.read == batch.accepted + batch.present + batch.quarantined
        own = pl.col("batch_id") == batch.batch_id
        count = {
            name: store.read(name).filter(own).height
            for name in ("problems", "trajectories", "quarantine", "batches")
        }
        assert count["problems"] + count["trajectories"] == batch.accepted
        assert count["quarantine"] == batch.quarantined == sum(batch.reasons.values())
        assert count["batches"] == 1
    return True


def one(store, path, **options):
    (batch,) = batches = ingest(store, "plain", str(path), **options)
    assert accounted(store, batches)
    return batch


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def test_rows_arrive_whole_and_lead_back_to_their_line(store, tmp_path):
    tests = [
        {"input": "1 2\n", "expected_output": "3\n", "kind": "public"},
        {"test_id": "edge", "input": "", "expected_output": "", "kind": "generated"},
    ]
    sampled = {
        "origin": "other_policy",
        "policy_id": "m",
        "temperature": 0.5,
        "top_p": 1,
        "sample_index": 3,
        "token_ids": [1, 2],
    }
    path = write(
        tmp_path / "set" / "rows.jsonl",
        problem(
            tests=tests,
            time_limit_s=2,
            checker={"kind": "float", "float_tol": 1e-6},
            tags=["math"],
            split="valid",
        ),
        b"",
        solution(claimed_verdict="AC", claimed_basis="judge"),
        solution(
            **sampled,
            behaviour_logprob=-1.5,
            token_logprobs=[-1.5, 0],
            finish_reason="stop",
            claimed_verdict="WA",
            run_id="r",
            policy_step=7,
        ),
    )
    batch = one(store, path)
    assert (batch.read, batch.accepted, batch.rows) == (3, 3, {"problems": 1, "tests": 2, "trajectories": 2})
    (actual,) = store.read("problems").to_dicts()
    assert actual["problem_id"] == "mine/sum" and actual["source"] == "mine" and actual["time_limit_s"] == 2.0
    assert (actual["checker"], actual["float_tol"], actual["case_sensitive"], actual["split"]) == (
        "float",
        1e-6,
        True,
        "valid",
    )
    assert (actual["source_file"], actual["source_line"], actual["test_count"]) == ("set/rows.jsonl", 1, 2)
    rows = (
        store.read("tests")
        .sort("position")
        .select("test_id", "position", "kind", "mode", "input", "expected_output")
        .rows()
    )
    assert rows == [("1", 0, "public", "stdin", "1 2\n", "3\n"), ("edge", 1, "generated", "stdin", "", "")]
    human, model = store.read("trajectories").sort("source_line").to_dicts()
    assert (human["source_line"], human["claimed_verdict"], human["extraction"], human["temperature"]) == (
        3,
        "accepted",
        "given",
        None,
    )
    assert (
        model["source_line"] == 4
        and model["claimed_verdict"] == "wrong_answer"
        and model["token_ids"] == [1, 2]
    )
    assert {name: model[name] for name in sampled} == sampled | {"top_p": 1.0}
    assert (model["behaviour_logprob"], model["run_id"], model["policy_step"]) == (-1.5, "r", 7)
    assert model["token_logprobs"] == [-1.5, 0.0]
    assert [row["trajectory_id"] for row in (human, model)] == [trajectory_id(row) for row in (human, model)]


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".jsonl.zst"])
def test_the_same_rows_from_another_file_are_present(store, tmp_path, suffix):
    rows = [problem(), *[solution(f"print({n})") for n in range(5)]]
    one(store, write(tmp_path / "a" / "rows.jsonl", *rows))
    text = write(tmp_path / "b" / "plain", *rows, solution("print(9)")).read_bytes()
    path = tmp_path / "b" / f"rows{suffix}"
    packed = {
        ".jsonl": lambda b: b,
        ".jsonl.gz": gzip.compress,
        ".jsonl.zst": lambda b: pa.compress(b, "zstd", asbytes=True),
    }
    path.write_bytes(packed[suffix](text))
    batch = one(store, path)
    assert (batch.read, batch.accepted, batch.present) == (7, 1, 6)
    assert store.read("trajectories")["trajectory_id"].n_unique() == store.read("trajectories").height == 6


def test_a_finished_batch_is_only_looked_up(store, tmp_path):
    path = write(tmp_path / "rows.jsonl", problem(), solution(), b"{")
    first = one(store, path)
    versions = store.pins()
    again = one(store, path)
    assert again.was_finished and not first.was_finished
    assert store.pins() == versions
    same = ("batch_id", "read", "accepted", "present", "quarantined", "rows", "reasons")
    assert [getattr(again, name) for name in same] == [getattr(first, name) for name in same]


def test_a_row_twice_in_one_file_is_present_the_second_time(store, tmp_path):
    batch = one(store, write(tmp_path / "rows.jsonl", problem(), problem(), solution(), solution()))
    assert (batch.accepted, batch.present) == (2, 2)


def test_an_id_with_other_content_is_refused(store, tmp_path):
    changed = problem(statement="Subtract two numbers.")
    other_test = problem()
    other_test["tests"] = [other_test["tests"][0] | {"expected_output": "4\n"}]
    batch = one(store, write(tmp_path / "a.jsonl", problem(), changed, other_test, problem()))
    assert (batch.accepted, batch.present, batch.quarantined) == (1, 1, 2)
    later = one(store, write(tmp_path / "b.jsonl", changed, problem()))
    assert (later.accepted, later.present, later.quarantined) == (0, 1, 1)
    assert later.reasons == {"problem_id: another problem with different content has this id": 1}
    assert json.loads(store.read("quarantine").filter(batch_id=later.batch_id)["raw"][0]) == changed
    assert store.read("problems").height == store.read("tests").height == 1


def test_trajectories_with_one_key_and_two_programs_are_two_samples(store, tmp_path):
    rows = [problem(), solution("print(1)", source_key="k"), solution("print(2)", source_key="k")]
    assert one(store, write(tmp_path / "rows.jsonl", *rows)).accepted == 3


def test_a_trajectory_needs_its_problem_before_it(store, tmp_path):
    path = write(tmp_path / "rows.jsonl", solution(), problem(), solution("print(4)"))
    batch = one(store, path)
    assert (batch.accepted, batch.quarantined) == (2, 1)
    assert faults(store) == [
        (1, "problem_id", "the problem is neither in the store nor earlier in this source")
    ]
    # Now the problem is in the store.
    assert one(store, write(tmp_path / "later.jsonl", solution())).accepted == 1


def test_a_refused_problem_is_no_problem_for_its_trajectories(store, tmp_path):
    batch = one(store, write(tmp_path / "rows.jsonl", problem(split="holdout"), solution()))
    assert batch.quarantined == 2 and not store.read("tests").height


BAD_ROWS = [
    (b'{"problem_id": "mine/x", "statement": ', None, "not JSON: Expecting value"),
    (b"[1, 2]", None, "expected a JSON object, found list"),
    (b'{"a": ' + b"[" * 200_000, None, "JSON that is nested too deeply"),
    (b'{"problem_id": "mine/\xff"}', None, "not UTF-8: invalid start byte at byte 21"),
    (b'{"problem_id": "mine/x", "program": "\\ud800"}', None, "contains an unpaired surrogate"),
    (b'{"program": "a\x00b"}', None, "not JSON: Invalid control character"),
    ({"hello": 1}, None, "neither a problem (statement) nor a trajectory"),
    (solution("print('\0')", source_key="k"), "program", "contains a NUL character"),
    (solution(""), "program", "is empty"),
    (solution(7), "program", "expected text, found int"),
    (solution(None), "program", "neither program nor completion"),
    (solution(language="brainfuck"), "language", "is not one of bash c cpp csharp cuda d go"),
    (solution(language=3), "language", "expected text, found int 3"),
    (solution(origin="alien"), "origin", "is not one of human"),
    (solution(policy_id=""), "policy_id", "is shorter than 1, found str ''"),
    (solution(claimed_verdict="superb"), "claimed_verdict", "is not one of accepted"),
    (solution(temperature=-1), "temperature", "is less than 0, found float -1.0"),
    (solution(temperature=float("nan")), "temperature", "expected a finite number"),
    (solution(sample_index=1 << 40), "sample_index", "expected a 32-bit integer"),
    (solution(token_ids=[1, None]), "token_ids", "null in a list"),
    (solution(verdict="accepted"), "verdict", "unknown key"),
    ({key: value for key, value in solution().items() if key != "origin"}, "origin", "is missing"),
    (problem("sum"), "problem_id", "is not of the form <source>/<id>"),
    (problem(split="holdout"), "split", "is not one of train valid test none, found str 'holdout'"),
    (problem(statement=""), "statement", "is empty, and nothing says why, found str ''"),
    (problem(time_limit_s="2"), "time_limit_s", "expected a finite number, found str '2'"),
    (problem(time_limit_s=0), "time_limit_s", "is not greater than 0, found float 0.0"),
    (problem(time_limit_s=10**400), "time_limit_s", "expected a finite number"),
    (problem(checker={"kind": "psychic"}), "checker", "is not one of tokens"),
    (problem(checker={"kind": "tokens", "tolerance": 1}), "checker.tolerance", "unknown key"),
    (problem(tags=["a", 1]), "tags", "expected text, found int 1"),
    (problem(tests=[{"input": "1"}]), "tests[0].expected_output", "is missing"),
    (problem(tests=[{"expected_output": "1"}]), "tests[0].input", "is missing"),
    (
        problem(tests=[{"input": "", "expected_output": "", "mode": "telepathy"}]),
        "tests.mode",
        "is not one of stdin assert",
    ),
    (
        problem(tests=[{"input": "", "expected_output": "", "test_id": "1"}] * 2),
        "tests[1].test_id",
        "is used by an earlier",
    ),
    (problem(tests={"input": ""}), "tests", "is not a list of objects"),
]


def test_every_kind_of_bad_row_is_kept_with_its_reason(store, tmp_path):
    rows = [row for row, _, _ in BAD_ROWS]
    path = write(tmp_path / "rows.jsonl", problem("mine/good"), *rows, solution(name="mine/good"))
    batch = one(store, path)
    assert (batch.read, batch.accepted, batch.quarantined) == (len(rows) + 2, 2, len(rows))
    retained = path.read_bytes().split(b"\n")
    actual = store.read("quarantine").sort("source_line").to_dicts()
    for number, (row, (_, column, reason)) in enumerate(zip(actual, BAD_ROWS, strict=True), start=2):
        assert (row["source_line"], row["field"]) == (number, column), row
        assert row["reason"].startswith(reason) and row["raw"] == retained[number - 1]


def test_an_unknown_language_is_kept_with_similar_ones(store, tmp_path):
    one(
        store,
        write(tmp_path / "rows.jsonl", problem("mine/good"), solution(name="mine/good", language="pyhton")),
    )
    (row,) = store.read("quarantine").to_dicts()
    assert row["reason"].endswith("found str 'pyhton'; did you mean python3 or python2?")


def test_a_custom_checker_needs_no_output_and_a_call_does(store, tmp_path):
    custom = problem("mine/custom", checker={"kind": "custom"}, tests=[{"input": "1"}])
    function = {"input_mode": "function", "checker": {"kind": "function"}, "entry_point": "f"}
    asserts = problem("mine/assert", **function, tests=[{"mode": "assert", "input": "assert f(1) == 2"}])
    call = problem("mine/call", **function, tests=[{"mode": "call", "input": "f(1)"}])
    batch = one(
        store, write(tmp_path / "rows.jsonl", custom, asserts, call, problem("mine/untested", tests=[]))
    )
    assert batch.accepted == 3 and batch.reasons == {"tests[].expected_output: is missing": 1}


def test_windows_line_ends_and_a_byte_order_mark_are_no_content(store, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(
        b"\xef\xbb\xbf" + json.dumps(problem()).encode() + b"\r\n" + json.dumps(solution()).encode()
    )
    assert one(store, path).accepted == 2


def test_a_utf16_file_is_refused_as_a_whole(store, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes("\n".join(json.dumps(row) for row in (problem(), solution())).encode("utf-16"))
    assert one(store, path).read == 1
    assert faults(store) == [(0, None, "the file is UTF-16; convert it to UTF-8")]


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_truncated_file_gives_what_is_whole_and_says_where_it_broke(store, tmp_path, suffix):
    rows = [problem(), *[solution(f"print({n}) # {os.urandom(300).hex()}") for n in range(2000)]]
    text = write(tmp_path / "rows", *rows).read_bytes()
    packed = gzip.compress(text) if suffix == ".gz" else pa.compress(text, "zstd", asbytes=True)
    path = tmp_path / f"rows.jsonl{suffix}"
    path.write_bytes(packed[: len(packed) // 2])
    batch = one(store, path)
    assert 700 < batch.accepted < 1300 and batch.quarantined == 1
    ((line, _, reason),) = faults(store)
    assert line == batch.accepted + 1 and reason.startswith("the file is truncated or broken here")
    # Once the file is whole, what came in before is present and the rest is accepted.
    path.write_bytes(packed)
    mended = one(store, path)
    assert (mended.present, mended.accepted, mended.quarantined) == (batch.accepted, 2001 - batch.accepted, 0)


def test_a_file_that_is_not_what_its_name_says(store, tmp_path):
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(json.dumps(problem()).encode())
    assert one(store, path).quarantined == 1


def test_a_gigantic_row_is_bounded_in_memory_and_the_next_row_is_read(store, tmp_path, monkeypatch):
    monkeypatch.setattr(source_policy, "MAX_ROW_BYTES", 4 << 20)
    giant = solution("x" * (9 << 20))
    batch = one(store, write(tmp_path / "rows.jsonl", problem(), giant, solution()))
    assert (batch.accepted, batch.quarantined) == (2, 1)
    ((line, _, reason),) = faults(store)
    assert line == 2 and reason.startswith(f"row of {len(json.dumps(giant))} bytes; limit {4 << 20}")
    assert store.read("quarantine")["raw"].bin.size().item() == 1 << 20


def test_long_texts_stand_in_no_commit_of_the_log(store, tmp_path):
    """Least and greatest values of columns are bounds of a few bytes; whole, they would stay in memory
    with the log.
    """
    long = problem(tests=[{"input": f"{n} " + "7" * 1_000_000, "expected_output": "1"} for n in range(3)])
    one(store, write(tmp_path / "rows.jsonl", long, solution("print(1) # " + "x" * 1_000_000)))
    commits = list(Path(store.location).rglob("_delta_log/*.json"))
    assert commits and max(path.stat().st_size for path in commits) < 20_000
    assert store.read("tests")["input"].str.len_chars().to_list() == [1_000_002] * 3
    # Bounds cut short still find what they hold.
    wanted = pl.col("input") == "2 " + "7" * 1_000_000
    assert store.snapshot("tests").scan().filter(wanted).collect().height == 1


def test_chunks_close_at_rows_or_bytes(monkeypatch):
    items = [Refused(line, b"", "", size=size) for line, size in enumerate([1, 1, 1, 50, 1, 1], start=1)]
    monkeypatch.setattr(ingestion, "CHUNK_ROWS", 3)
    monkeypatch.setattr(ingestion, "CHUNK_BYTES", 50)
    assert [[item.line for item in chunk] for chunk in ingestion.split_chunks(iter(items))] == [
        [1, 2, 3],
        [4],
        [5, 6],
    ]
    # What is too large for a chunk that has begun opens the next one.
    items = [Refused(line, b"", "", size=size) for line, size in enumerate([30, 15, 10, 70, 5], start=1)]
    assert [[item.line for item in chunk] for chunk in ingestion.split_chunks(iter(items))] == [
        [1, 2],
        [3],
        [4],
        [5],
    ]


def test_progress_reaches_the_end_of_the_file(store, tmp_path, monkeypatch):
    monkeypatch.setattr(ingestion, "CHUNK_ROWS", 100)
    path = write(tmp_path / "rows.jsonl", problem(), *[solution(f"print({n})") for n in range(250)])
    seen = []
    one(store, path, on_progress=seen.append)
    assert [step.read for step in seen] == [100, 200, 251]
    assert seen[-1].bytes_read == seen[-1].bytes_total == path.stat().st_size


@pytest.mark.parametrize("source", ["nowhere.jsonl", "empty"])
def test_a_source_that_is_not_there_is_an_error(store, tmp_path, source):
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match=source):
        ingest(store, "plain", str(tmp_path / source))
