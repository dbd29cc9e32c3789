"""pass@k by contest month, contamination and provenance of the tests, by values worked out by hand."""

import json
from datetime import UTC, datetime

import polars as pl
import pytest

from pipeline.adapters.io_tests import day
from pipeline.ingest import ingest
from pipeline.store import connect, query
from pipeline.store.store import Store

TEST = {"input": "3", "expected_output": "6"}
PROBLEMS = [
    {"problem_id": "own/old", "contest_date": "2023-05-07", "tests": [TEST | {"origin": "judge"}]},
    {
        "problem_id": "own/new",
        "contest_date": "2024-06-30",
        "tests": [TEST | {"origin": "statement"}, TEST | {"origin": "program"}, TEST | {"origin": "program"}],
    },
    {"problem_id": "own/undated", "tests": [TEST | {"kind": "public"}]},
]
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def connection(tmp_path_factory):
    folder = tmp_path_factory.mktemp("properties")
    rows = [problem | {"statement": f"Print twice n, {problem['problem_id']}."} for problem in PROBLEMS]
    (folder / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    store = Store(folder / "store")
    (batch,) = ingest(store, "plain", str(folder / "problems.jsonl"))
    assert batch.accepted == 3
    hashes = dict(store.read("problems", ["problem_id", "test_set_hash"]).iter_rows())
    lines = []
    # The policy solves the old problem twice of two, the new one once of two, the undated one never.
    for name, outcomes in (("old", "11"), ("new", "10"), ("undated", "00")):
        for number, is_right in enumerate(outcomes):
            key = f"{name}{number}{is_right}"
            who = {"origin": "other_policy", "policy_id": "m", "language": "python3", "source_key": key}
            lines.append({"problem_id": f"own/{name}", "program": f"print({key!r})"} | who)
    (folder / "samples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    ingest(store, "plain", str(folder / "samples.jsonl"))
    verdicts = [
        verdict(*row, hashes[row[1]])
        for row in store.read("trajectories", ["trajectory_id", "problem_id", "source_key"]).iter_rows()
    ]
    store.append_next("verdicts", frame_of(store, "verdicts", verdicts), producer="t")
    checked = {
        "pass_number": 1, "algorithm": "a", "evaluation": "true",
        "evaluation_problems": ["own/old", "own/new"], "made_at": NOW, "pins": "{}", "marked": 2,
    }  # fmt: skip
    leak = {
        "pass_number": 1, "kind": "trajectory", "subject_id": "x", "evaluation_problem_id": "own/old",
        "evidence": "ngrams", "problem_id": "own/old", "overlap": 1.0, "example": None,
    }  # fmt: skip
    itself = leak | {"subject_id": "own/new", "kind": "problem", "evaluation_problem_id": "own/new"}
    leaks = [leak, itself | {"evidence": "itself"}]
    store.append_next("contaminations", frame_of(store, "contaminations", leaks), producer="t")
    store.append_next("decontaminations", frame_of(store, "decontaminations", [checked]), producer="t")
    with connect(store) as opened:
        yield opened


def verdict(trajectory_id, problem_id, key, tests):
    is_right = key.endswith("1")
    return {
        "trajectory_id": trajectory_id, "test_set_hash": tests, "judge_version": "j", "attempt": 1,
        "problem_id": problem_id, "verdict": "accepted" if is_right else "wrong_answer",
        "passed": int(is_right), "total": 1, "tests": [], "cpu_s": 0.1, "tier": "t", "judged_at": NOW,
    }  # fmt: skip


def frame_of(store, table, rows):
    types = store.read(table).schema
    return pl.DataFrame(rows, schema={name: types[name] for name in rows[0]})


def passes(connection, property):
    rows = query(
        connection,
        "SELECT value, pass_at_k, problems FROM pass_at_k_of_samples_by_property"
        " WHERE property = $property AND k = 1 ORDER BY value",
        {"property": property},
    )
    return rows.rows()


def test_by_contest_month(connection):
    assert passes(connection, "contest_month") == [
        ("2023-05", 1.0, 1),
        ("2024-06", 0.5, 1),
        ("unknown", 0.0, 1),
    ]


def test_by_contamination(connection):
    assert passes(connection, "contamination") == [
        ("clean", 0.5, 1),
        ("leaked", 1.0, 1),
        ("unchecked", 0.0, 1),
    ]


def test_by_provenance_of_the_tests(connection):
    expected = [("judge", 1.0, 1), ("program+statement", 0.5, 1), ("public", 0.0, 1)]
    assert passes(connection, "tests_origin") == expected


def test_a_wrong_date_is_refused_with_its_form(tmp_path):
    row = PROBLEMS[0] | {"statement": "s", "contest_date": "7 May 2023"}
    (tmp_path / "problems.jsonl").write_text(json.dumps(row) + "\n")
    store = Store(tmp_path / "store")
    (batch,) = ingest(store, "plain", str(tmp_path / "problems.jsonl"))
    assert batch.reasons == {"contest_date: breaks the rule is_a_date_yyyy_mm_dd": 1}


def test_a_date_that_a_later_version_adds_is_no_other_problem(tmp_path):
    store = Store(tmp_path / "store")
    row = PROBLEMS[2] | {"statement": "s"}
    for number, one in enumerate((row, row | {"contest_date": "2024-01-01"})):
        (tmp_path / f"problems{number}.jsonl").write_text(json.dumps(one) + "\n")
        (batch,) = ingest(store, "plain", str(tmp_path / f"problems{number}.jsonl"))
        assert batch.reasons == {}
    assert batch.present == 1


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2024-01-01T00:00:00", "2024-01-01"),
        (1_577_628_300, "2019-12-29"),
        ("2019-13-40", None),
        ("soon", None),
        (None, None),
        (True, None),
        (1_577_628_300_000, None),
    ],
)
def test_day(value, expected):
    assert day(value) == expected
