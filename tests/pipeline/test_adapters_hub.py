"""Data sets of the Hub whose files are not at hand: small tables in the exact schema of their cards."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.adapters.recognition import recognise
from pipeline.ingest import ingest
from pipeline.ingest.quarantine import Selection, retry
from pipeline.store.store import Store

STATEMENT = "Read one integer n from standard input and print twice its value, nothing else."
CODEFORCES = {
    "id": "852/A", "title": "Double", "description": STATEMENT, "input_format": "n", "output_format": "2n",
    "interaction_format": None, "note": None, "examples": [{"input": "3", "output": "6"}],
    "official_tests": [{"input": "5", "output": "10"}], "official_tests_complete": True, "time_limit": 1.0,
    "memory_limit": 256.0, "rating": 800, "tags": [], "input_mode": "stdio", "generated_checker": None,
    "contest_start": 1_504_531_500,
}  # fmt: skip
SUBMISSION = {
    "submission_id": "30036031", "source": "print(int(input()) * 2)\n", "contestId": "852",
    "problem_index": "A", "programmingLanguage": "PyPy 3-64", "verdict": "OK", "testset": "TESTS",
    "passedTestCount": 12.0, "timeConsumedMillis": 46.0, "memoryConsumedBytes": 262_144.0,
    "creationTimeSeconds": 1_504_535_100.0, "problem_id": "852/A",
}  # fmt: skip
PLUS = {
    "source": "Codeforces", "id": "852_A", "title": "Double", "description": STATEMENT, "time_limit": 1000,
    "memory_limit": 268_435_456, "validator": None, "generator": None, "generator_cmd": None,
    "checker": "// testlib", "correct_submissions": [], "incorrect_submissions": [],
    "test_cases": [{"input": "3", "output": "6"}],
}  # fmt: skip
KODCODE = {
    "version": "v1.1", "style": "instruct", "subset": "Leetcode", "question_id": "Leetcode_1_I",
    "question": "Write a function that doubles its argument.",
    "solution": "def double(n):\n    return n * 2\n",
    "test": "from solution import double\nimport math\n\nBIG = math.factorial(5)\n\n"
    "def test_small():\n    assert double(2) == 4\n\ndef test_big():\n    assert double(BIG) == 240\n",
    "test_info": [{"docstring": "", "function_declaration": "def double(n):", "function_name": "double",
                   "parameter_list": "(n)"}],
    "gpt_pass_sequence": [1], "gpt_pass_trial_num": 1, "gpt_difficulty": "easy", "gpt_pass_percentage": 1.0,
}  # fmt: skip


def table(path, *rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows)), path)
    return str(path)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def test_submissions_of_codeforces(store, tmp_path):
    ingest(store, "codeforces", table(tmp_path / "p" / "train-0.parquet", CODEFORCES))
    others = [
        {"submission_id": "2", "verdict": "WRONG_ANSWER", "programmingLanguage": "GNU C++17"},
        {"submission_id": "3", "verdict": "CHALLENGED"},
        {"submission_id": "4", "verdict": "COMPILATION_ERROR", "passedTestCount": None},
        {"submission_id": "5", "problem_id": None, "verdict": "IDLENESS_LIMIT_EXCEEDED"},
        {"submission_id": "6", "problem_id": "1/Z"},
    ]
    rows = [SUBMISSION, *(SUBMISSION | other for other in others)]
    (batch,) = ingest(store, "codeforces_submissions", table(tmp_path / "s" / "train-0.parquet", *rows))
    assert batch.reasons == {"problem_id: the problem is neither in the store nor earlier in this source": 1}
    assert batch.notes == {"verdict CHALLENGED: without a claim": 1}
    rows = store.read("trajectories").sort("source_key").to_dicts()
    assert [(row["source_key"], row["claimed_verdict"], row["language"]) for row in rows] == [
        ("2", "wrong_answer", "cpp"),
        ("3", None, "python3"),
        ("30036031", "accepted", "python3"),
        ("4", "compile_error", "python3"),
        ("5", "time_limit_exceeded", "python3"),
    ]
    assert rows[2]["claimed_basis"] == "Codeforces OK: 12 tests passed, 46 ms, 262144 bytes, TESTS test set"
    assert {(row["origin"], row["problem_id"]) for row in rows} == {("human", "codeforces/852/A")}


def test_a_problem_of_codeforces_has_its_day_and_the_authors_of_its_tests(store, tmp_path):
    ingest(store, "codeforces", table(tmp_path / "train-0.parquet", CODEFORCES))
    assert store.read("problems")["contest_date"].to_list() == ["2017-09-04"]
    tests = store.read("tests").sort("position")
    assert tests["origin"].to_list() == ["statement", "judge"]


def test_code_contests_o(store, tmp_path):
    case = {"input": {"stdin": "3\n"}, "output": {"stdout": "6\n"}}
    row = {
        "name": "852_A. Double", "description": STATEMENT, "corner_cases": [case], "commands": ["./gen 1"],
        "generator": "// gen", "checker": "// checker", "input_constraints_summary": "",
        "results": [{"corner_cases": [case], "generate_commands": []}],
    }  # fmt: skip
    path = table(tmp_path / "data" / "test-00000-of-00001.parquet", row)
    assert recognise(path)[0].adapter == "code_contests_o"
    ingest(store, "code_contests_o", path)
    problem = store.read("problems").row(0, named=True)
    assert (problem["problem_id"], problem["split"]) == ("codecontests-o/852_A. Double", "test")
    assert (problem["checker"], problem["statement"]) == ("custom", STATEMENT)
    assert [one["role"] for one in json.loads(problem["programs"])] == [
        "checker",
        "generator",
        "generator_cmd",
    ]
    tests = store.read("tests").select("input", "expected_output", "origin").rows()
    assert tests == [("3\n", "6\n", "program")]


ROBUST = {"source": "Codeforces", "id": "852_A"}
CASES = {
    "a list": [{"input": "1", "output": "2"}, {"input": "4", "output": "8"}],
    "JSON text": json.dumps([{"input": "1", "output": "2"}, {"input": "4", "output": "8"}]),
    "lists": {"inputs": ["1", "4"], "outputs": ["2", "8"]},
}


@pytest.mark.parametrize("form", CASES)
def test_robust_tests_take_the_statement_of_the_stored_problem(store, tmp_path, form):
    ingest(store, "code_contests_plus", table(tmp_path / "ccplus_1x" / "part-0.parquet", PLUS))
    (batch,) = ingest(
        store, "robust_tests", table(tmp_path / "r" / "part-0.parquet", ROBUST | {"test_cases": CASES[form]})
    )
    assert batch.reasons == {}
    problems = {row["problem_id"]: row for row in store.read("problems").iter_rows(named=True)}
    joined = problems["robusttests/codeforces/852_A"]
    assert (joined["statement"], joined["checker"], joined["time_limit_s"]) == (STATEMENT, "custom", 1.0)
    assert (joined["source"], joined["test_count"]) == ("robusttests", 2)
    assert joined["test_set_hash"] != problems["codecontests+/codeforces/852_A"]["test_set_hash"]


def test_robust_tests_wait_for_their_problem(store, tmp_path):
    path = table(tmp_path / "r" / "part-0.parquet", ROBUST | {"test_cases": CASES["a list"]})
    (batch,) = ingest(store, "robust_tests", path)
    (reason,) = batch.reasons
    assert reason.startswith("problem_id: these are tests of a problem that is not in the store")
    ingest(store, "code_contests_plus", table(tmp_path / "ccplus_1x" / "part-0.parquet", PLUS))
    (summary,) = retry(store, Selection(adapter="robust_tests"))
    assert summary.admitted == 1


def test_kodcode(store, tmp_path):
    path = table(tmp_path / "data" / "train-0.parquet", KODCODE)
    assert recognise(path)[0].adapter == "kodcode"
    (batch,) = ingest(store, "kodcode", path)
    assert (batch.rows, batch.reasons) == ({"problems": 1, "tests": 2, "trajectories": 1}, {})
    solution = store.read("trajectories").row(0, named=True)
    assert (solution["policy_id"], solution["claimed_verdict"]) == ("gpt-4o", "accepted")
    # Each test passes with the solution, alone, and fails with another program.
    for code in store.read("tests")["input"]:
        exec(solution["program"] + "\n" + code, {})
        with pytest.raises(AssertionError):
            exec("def double(n):\n    return n * 3\n" + code, {})


@pytest.mark.parametrize(
    ("test", "reason"),
    [
        ("import pytest\n\ndef test_a():\n    assert True\n", "pytest, which the sandbox does not have"),
        ("from pytest import raises\n\ndef test_a():\n    assert True\n", "pytest, which the sandbox"),
        ("import solution\n\ndef test_a():\n    assert solution.f(1)\n", "use the solution as a module"),
        ("from solution import f as g\n\ndef test_a():\n    assert g(1)\n", "other names"),
        ("def test_a(tmp_path):\n    assert True\n", "test_a has decorators or parameters"),
        ("class TestA:\n    def test_a(self):\n        assert True\n", "TestA is a class"),
        ("def helper():\n    pass\n", "no function test_"),
        ("def test_a(:\n", "not Python"),
    ],
)
def test_tests_that_only_pytest_runs_are_refused(store, tmp_path, test, reason):
    (tmp_path / "k.jsonl").write_text(json.dumps(KODCODE | {"test": test}) + "\n")
    ingest(store, "kodcode", str(tmp_path / "k.jsonl"))
    assert reason in store.read("quarantine")["reason"][0]


def test_taco_verified(store, tmp_path):
    """Rows of TACO-verified have ids, and solutions as lists instead of JSON text."""
    row = {
        "id": 7, "question": STATEMENT, "solutions": ["print(int(input()) * 2)\n"],
        "input_output": json.dumps({"inputs": ["3\n"], "outputs": ["6\n"]}), "starter_code": "",
        "difficulty": "EASY", "raw_tags": "[]", "name": None, "source": "codeforces", "tags": "[]",
        "skill_types": "[]", "url": "https://codeforces.com/problemset/problem/852/A",
        "time_limit": "1.0 seconds", "memory_limit": "256.0 megabytes", "date": "2017-09-04",
    }  # fmt: skip
    (batch,) = ingest(store, "taco", table(tmp_path / "data" / "train-0.parquet", row))
    assert (batch.rows, batch.reasons) == ({"problems": 1, "tests": 1, "trajectories": 1}, {})
    problem = store.read("problems").row(0, named=True)
    assert (problem["contest_date"], problem["time_limit_s"]) == ("2017-09-04", 1.0)
    assert problem["problem_id"].startswith("taco/codeforces/852_A/")
