"""Adapters of problem data sets: real rows of the contest bundle put back into their sources' schemas where
it holds some, else small files built here in the exact schema that the adapter's docstring names.
"""

import base64
import gzip
import itertools
import json
import os
import pickle
import zlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.adapters import ReadProblem, ReadTrajectory, Refused, find
from pipeline.adapters.taco import MEGABYTES, SECONDS, quantity
from pipeline.ingest.validation import validate

DATA = Path(os.environ.get("SPO_DATA", Path(__file__).parents[2] / "../shared/data"))
needs_bundle = pytest.mark.skipif(not DATA.is_dir(), reason="the contest bundle is not here; set SPO_DATA")


def read(adapter, source, limit=None):
    """(problems, trajectories, refused) of a source; what was translated keeps the contract."""
    actual = find(adapter)
    items = [item for file in actual.files(str(source), limit) for item in actual.read(file)]
    faults, _ = validate(items)
    assert {number: fault for number, fault in faults.items() if not isinstance(items[number], Refused)} == {}
    return [
        [item for item in items if isinstance(item, kind)] for kind in (ReadProblem, ReadTrajectory, Refused)
    ]


def lines(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


def table(path, rows, schema=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)
    return path


def rereads(adapter, item, name="x/file.jsonl"):
    """What an adapter makes of the bytes that the quarantine would keep of an item."""
    from pipeline.adapters import SourceFile

    raw = item.raw if isinstance(item.raw, bytes) else item.raw()
    return find(adapter).reread(raw, item.line, SourceFile("", name, "", 0))


@pytest.fixture(scope="module")
def bundle():
    """Per source: its first problems, their reference solutions, and samples of models."""
    problems, solutions, samples = {}, {}, {}
    with gzip.open(DATA / "problems.jsonl.gz", "rt") as rows:
        for row in map(json.loads, rows):
            if len(problems.setdefault(row["source"], [])) < 25:
                problems[row["source"]].append(row)
    wanted = {row["problem_id"] for rows in problems.values() for row in rows}
    with gzip.open(DATA / "human_solutions.jsonl.gz", "rt") as rows:
        for row in map(json.loads, rows):
            if row["problem_id"] in wanted and row["solution_id"].endswith(("#ref", "#main")):
                solutions[row["problem_id"]] = row["source"]
    with gzip.open(DATA / "model_samples.jsonl.gz", "rt") as rows:
        for row in itertools.islice(map(json.loads, rows), 3000):
            samples.setdefault(row["model"], []).append(row)
    return problems, solutions, samples


APPS = {
    "problem_id": 7,
    "question": "Sum.",
    "solutions": json.dumps(["print(1)", "print(2)"]),
    "input_output": json.dumps({"inputs": ["1 2\n", ["3", "4"]], "outputs": ["3\n", "7\n"]}),
    "difficulty": "interview",
    "url": "https://codeforces.com/problemset/problem/1/A",
    "starter_code": "",
}
CALLED = {
    "inputs": [[[1, 2], "a"], [[], None]],
    "outputs": [[True], ["x\n"]],
    "fn_name": "f",
}


def test_apps_in_its_schema(tmp_path):
    untested = {"problem_id": 8, "question": "No tests.", "solutions": "", "input_output": ""}
    called = APPS | {
        "problem_id": 9,
        "input_output": json.dumps(CALLED),
        "starter_code": "class Solution:\n    def f(self):",
    }
    uneven = APPS | {"problem_id": 10, "input_output": json.dumps({"inputs": ["1"], "outputs": []})}
    huge = APPS | {"problem_id": 11, "input_output": '{"inputs": [' + "9" * 5000 + '], "outputs": ["1"]}'}
    problems, trajectories, refused = read(
        "apps", lines(tmp_path / "apps" / "test.jsonl", [APPS, untested, called, uneven, huge])
    )
    stdin, none, function = problems
    assert (stdin.row["problem_id"], stdin.row["split"], stdin.row["checker"]) == (
        "apps/test/7",
        "test",
        "tokens",
    )
    assert [(test["input"], test["expected_output"]) for test in stdin.tests] == [
        ("1 2\n", "3\n"),
        ("3\n4", "7\n"),
    ]
    assert not none.tests and none.row["tests_quality"] is None
    assert (function.row["input_mode"], function.row["entry_point"]) == ("function", "Solution().f")
    assert [(test["mode"], test["input"], test["expected_output"]) for test in function.tests] == [
        ("call", "candidate([1, 2], 'a')", "True"),
        ("call", "candidate([], None)", "'x\\n'"),
    ]
    assert [one.row["program"] for one in trajectories[:2]] == ["print(1)", "print(2)"]
    assert {one.row["claimed_verdict"] for one in trajectories} == {"accepted"}
    assert [one.reason.partition(":")[0] for one in refused] == ["not the documented shape"] * 2
    assert "1 inputs but 0 outputs" in refused[0].reason and "4300 digits" in refused[1].reason
    # One solution of many is kept as a row of its own, and the problem without them.
    (again,) = rereads("apps", trajectories[1], "apps/test.jsonl")
    assert again.row == trajectories[1].row
    (again,) = rereads("apps", stdin, "apps/test.jsonl")
    assert (again.row, again.tests) == (stdin.row, stdin.tests)


@needs_bundle
def test_apps_with_real_rows(tmp_path, bundle):
    """Real problems of APPS from the bundle, put back into the Hub's schema; the bundle has calls
    rewritten to stdin.
    """
    given = bundle[0]["apps"]
    rows = [
        {
            "id": int(row["title"]),
            "question": row["statement"],
            "solutions": "",
            "difficulty": row["difficulty"],
            "url": "",
            "starter_code": "",
            "input_output": json.dumps(
                {
                    "inputs": [test["input"] for test in row["public_tests"] + row["hidden_tests"]],
                    "outputs": [test["output"] for test in row["public_tests"] + row["hidden_tests"]],
                }
            ),
        }
        for row in given
    ]
    problems, trajectories, refused = read("apps", lines(tmp_path / "train.jsonl", rows))
    assert len(problems) == len(given) == 25 and not refused and not trajectories
    for problem, row in zip(problems, given, strict=True):
        assert (problem.row["problem_id"], problem.row["split"]) == (f"apps/train/{row['title']}", "train")
        assert (problem.row["statement"], problem.row["difficulty"]) == (row["statement"], row["difficulty"])
        expected = [(test["input"], test["output"]) for test in row["public_tests"] + row["hidden_tests"]]
        assert [(test["input"], test["expected_output"]) for test in problem.tests] == expected and expected


@needs_bundle
def test_code_contests_with_real_rows(tmp_path, bundle):
    """Real problems of CodeContests from the bundle, put back into the schema of the Hub's card, with
    their solutions.
    """
    given, accepted = bundle[0]["codecontests"], bundle[1]

    def column(tests):
        return {"input": [test["input"] for test in tests], "output": [test["output"] for test in tests]}

    rows = [
        {
            "name": row["title"],
            "description": row["statement"],
            "source": 2,
            "difficulty": int(row["difficulty"]),
            "public_tests": column(row["public_tests"]),
            "private_tests": column(row["hidden_tests"]),
            "generated_tests": column([]),
            "cf_tags": row["tags"],
            "cf_rating": 0,
            "time_limit": None,
            "memory_limit_bytes": 0,
            "solutions": {"language": [3], "solution": [accepted[row["problem_id"]]]},
            "incorrect_solutions": {"language": [], "solution": []},
            "input_file": "",
            "output_file": "",
        }
        for row in given
    ]
    texts, numbers = pa.list_(pa.string()), pa.list_(pa.int64())
    pairs, programs = (
        pa.struct(list(fields.items()))
        for fields in (
            {"input": texts, "output": texts},
            {"language": numbers, "solution": texts},
        )
    )
    kinds = {name: pairs for name in ("public_tests", "private_tests", "generated_tests")}
    kinds |= {"solutions": programs, "incorrect_solutions": programs, "cf_tags": texts}
    limit = pa.struct([("seconds", pa.int64()), ("nanos", pa.int64())])
    kinds |= {name: pa.int64() for name in ("source", "difficulty", "cf_rating", "memory_limit_bytes")} | {
        "time_limit": limit
    }
    schema = pa.schema([(name, kinds.get(name, pa.string())) for name in rows[0]])
    problems, trajectories, refused = read("code_contests", table(tmp_path / "train-0.parquet", rows, schema))
    assert len(problems) == len(trajectories) == len(given) == 25 and not refused
    for problem, trajectory, row in zip(problems, trajectories, given, strict=True):
        assert (
            problem.row["problem_id"] == f"codecontests/codeforces/{row['title']}"
            and problem.row["tags"] == row["tags"]
        )
        assert problem.row["difficulty"] == "ABCDEFGHIJKLMNOPQRSTUV"[int(row["difficulty"]) - 7]
        assert problem.row["statement"] == row["statement"]
        expected = [("public", test["input"], test["output"]) for test in row["public_tests"]]
        expected += [("private", test["input"], test["output"]) for test in row["hidden_tests"]]
        assert [(test["kind"], test["input"], test["expected_output"]) for test in problem.tests] == expected
        assert (trajectory.row["language"], trajectory.row["claimed_verdict"]) == ("python3", "accepted")
        assert trajectory.row["program"] == accepted[row["problem_id"]]


def test_apps_sample_takes_few_solutions(tmp_path):
    rows = [
        APPS | {"problem_id": n, "solutions": json.dumps([f"print({k})" for k in range(30)])}
        for n in range(20)
    ]
    problems, trajectories, _ = read("apps", lines(tmp_path / "train.jsonl.gz", rows), limit=4)
    assert len(problems) == 4 and len(trajectories) == 4 * 5


TACO = {
    "question": "Say it.",
    "solutions": json.dumps(["print(input())"]),
    "starter_code": "",
    "difficulty": "EASY",
    "input_output": json.dumps({"inputs": ["a"], "outputs": ["0.25"]}),
    "raw_tags": "['math']",
    "name": None,
    "source": "codeforces",
    "tags": "['Mathematics', 'Sorting']",
    "skill_types": "[]",
    "url": "https://codeforces.com/problemset/problem/1041/e",
    "Expected Auxiliary Space": None,
    "time_limit": "2.0 seconds",
    "date": "2019-12-31",
    "picture_num": None,
    "memory_limit": "256.0 megabytes",
    "Expected Time Complexity": None,
}


@pytest.mark.parametrize("form", ["parquet", "stream", "file"])
def test_taco_in_its_schema(tmp_path, form):
    schema = pa.schema([(name, pa.string()) for name in TACO])
    path = tmp_path / "ALL" / f"train-00000-of-00001.{'parquet' if form == 'parquet' else 'arrow'}"
    other = TACO | {
        "question": "Another.",
        "url": "https://www.geeksforgeeks.org/problems/say-it/1",
        "source": "geeksforgeeks",
    }
    if form == "parquet":
        table(path, [TACO, other], schema)
    else:
        path.parent.mkdir()
        new = pa.ipc.new_stream if form == "stream" else pa.ipc.new_file
        with new(path, schema) as writer:
            writer.write_table(pa.Table.from_pylist([TACO, other], schema=schema))
    problems, trajectories, refused = read("taco", path)
    assert not refused and len(trajectories) == 2
    row = problems[0].row
    assert row["problem_id"].startswith("taco/codeforces/1041_E/") and row["split"] == "train"
    assert problems[1].row["problem_id"].startswith("taco/geeksforgeeks/1/")
    assert (row["time_limit_s"], row["memory_limit_mb"], row["tags"]) == (
        2.0,
        256.0,
        ["Mathematics", "Sorting"],
    )
    assert (row["checker"], row["float_tol"]) == ("float", 1e-6)
    (again,) = rereads("taco", trajectories[0])
    assert again.row == trajectories[0].row


def test_limits_written_out():
    texts = ["1 second", "500 ms", "0.5 seconds", "2", None, "", "unknown", "0 seconds", "3 parsecs"]
    assert [quantity(text, SECONDS) for text in texts] == [1.0, 0.5, 0.5, 2.0, None, None, None, None, 3.0]
    assert [quantity(text, MEGABYTES) for text in ("65536 kilobytes", "1 gigabyte", "64.0 MB")] == [
        64.0,
        1024.0,
        64.0,
    ]


def test_code_contests_plus_in_its_schema(tmp_path):
    one = {
        "source": "Codeforces",
        "id": "1041_E",
        "title": "Tree",
        "description": "Build it.",
        "time_limit": 2000,
        "memory_limit": 256,
        "validator": '#include "testlib.h" // v',
        "generator": "// g",
        "generator_cmd": "./gen 1",
        "checker": '#include "testlib.h"',
        "correct_submissions": [
            {"code": "print(1)", "language": "py3"},
            {"code": "int main(){}", "language": "cpp"},
        ],
        "incorrect_submissions": [{"code": "print(2)", "language": "py2"}],
        "test_cases": [{"input": "1\n", "output": "1\n"}],
    }
    plain = one | {
        "id": "1_A",
        "checker": None,
        "validator": None,
        "generator": None,
        "generator_cmd": None,
        "memory_limit": 1 << 28,
    }
    problems, trajectories, refused = read(
        "code_contests_plus", table(tmp_path / "ccplus_1x" / "part-0.parquet", [one, plain])
    )
    assert not refused and [problem.row["checker"] for problem in problems] == ["custom", "tokens"]
    assert [problem.row["memory_limit_mb"] for problem in problems] == [256, 256] and problems[0].row[
        "time_limit_s"
    ] == 2
    assert [(p["role"], p["path"]) for p in json.loads(problems[0].row["programs"])] == [
        ("checker", "checker.cpp"),
        ("validator", "validator.cpp"),
        ("generator", "generator.cpp"),
        ("generator_cmd", "generator_cmd"),
    ]
    assert (
        problems[1].row["programs"] is None
        and problems[0].row["problem_id"] == "codecontests+/codeforces/1041_E"
    )
    assert [(one.row["language"], one.row["claimed_verdict"]) for one in trajectories[:3]] == [
        ("python3", "accepted"),
        ("cpp", "accepted"),
        ("python2", "rejected"),
    ]
    (again,) = rereads("code_contests_plus", trajectories[2])
    assert again.row == trajectories[2].row


def packed(cases):
    """Private tests as code_generation_lite holds them."""
    return base64.b64encode(zlib.compress(pickle.dumps(json.dumps(cases)))).decode()


@needs_bundle
def test_livecodebench_problems_with_real_statements_and_tests(tmp_path, bundle):
    rows = []
    for row in bundle[0]["livecodebench"]:
        cases = [test | {"testtype": "stdin"} for test in row["public_tests"]]
        rows.append(
            {
                "question_title": row["title"],
                "question_content": row["statement"],
                "platform": "codeforces",
                "question_id": row["problem_id"].removeprefix("lcb/"),
                "contest_id": "1",
                "contest_date": "2023-08-21T00:00:00",
                "starter_code": "",
                "difficulty": row["difficulty"],
                "public_test_cases": json.dumps(cases),
                "metadata": "{}",
                "private_test_cases": packed(cases) if len(rows) % 2 else json.dumps(cases),
            }
        )
    problems, _, refused = read("livecodebench", lines(tmp_path / "test.jsonl", rows))
    assert not refused and len(problems) == 25
    for problem, row in zip(problems, bundle[0]["livecodebench"], strict=True):
        assert (problem.row["problem_id"], problem.row["statement"]) == (row["problem_id"], row["statement"])
        given = [(test["input"], test["output"]) for test in row["public_tests"]]
        assert [(test["input"], test["expected_output"]) for test in problem.tests] == 2 * given


LIVE = {
    "question_title": "t",
    "question_content": "c",
    "platform": "leetcode",
    "question_id": "2727",
    "contest_id": "w",
    "contest_date": "d",
    "starter_code": "class Solution:\n    def f(self, a: List[int], b: str) -> int:\n",
    "difficulty": "easy",
    "public_test_cases": json.dumps([{"input": '[1, 2]\n"x"', "output": "null", "testtype": "functional"}]),
    "private_test_cases": "[]",
    "metadata": json.dumps({"func_name": "f"}),
}


class Evil:
    def __reduce__(self):
        return os.mkdir, ("/tmp/pickle-was-run",)


def test_livecodebench_functions_and_pickles_that_are_no_text(tmp_path):
    evil = base64.b64encode(zlib.compress(pickle.dumps(Evil()))).decode()
    rows = [
        LIVE,
        LIVE | {"private_test_cases": evil},
        LIVE | {"private_test_cases": "AAAA"},
        LIVE | {"metadata": "[]"},
    ]
    problems, _, refused = read("livecodebench", lines(tmp_path / "test.jsonl", rows))
    (test,) = problems[0].tests
    assert (test["mode"], test["input"], test["expected_output"]) == (
        "call",
        "candidate([1, 2], 'x')",
        "None",
    )
    assert (problems[0].row["entry_point"], problems[0].row["case_sensitive"]) == ("Solution().f", True)
    assert len(refused) == 3 and not Path("/tmp/pickle-was-run").exists()
    assert "contains posix.mkdir; only strings are allowed" in refused[0].reason


def test_codeforces_in_its_schema(tmp_path):
    one = {
        "id": "852/A",
        "aliases": ["853/B"],
        "title": "Digits",
        "description": "Given digits.",
        "input_format": "A line.",
        "note": None,
        "output_format": "A line.",
        "interaction_format": None,
        "examples": [{"input": "1\n", "output": "1\n"}],
        "time_limit": 1.5,
        "memory_limit": 256.0,
        "rating": 2500,
        "tags": ["math"],
        "official_tests": [{"input": "1\n", "output": "1\n"}, {"input": "2\n", "output": "2\n"}],
        "official_tests_complete": True,
        "input_mode": "stdio",
        "generated_checker": None,
        "executable": True,
    }
    rows = [
        one,
        one | {"id": "1/B", "generated_checker": "import sys", "rating": None},
        one
        | {"id": "1/C", "interaction_format": "Ask.", "official_tests": [], "official_tests_complete": False},
        one | {"id": "1/D", "input_mode": "file"},
    ]
    problems, _, refused = read("codeforces", table(tmp_path / "data" / "test-00000-of-00001.parquet", rows))
    assert [(p.row["problem_id"], p.row["checker"], p.row["tests_quality"]) for p in problems] == [
        ("codeforces/852/A", "tokens", "full"),
        ("codeforces/1/B", "custom", "full"),
        ("codeforces/1/C", "custom", "examples"),
    ]
    assert [(test["kind"], test["input"]) for test in problems[0].tests] == [
        ("public", "1\n"),
        ("private", "2\n"),
    ]
    assert problems[0].row["statement"] == (
        "Given digits.\n\nInput\nA line.\n\nOutput\nA line.\n\nExample input\n1\n\nExample output\n1\n"
    )
    assert (
        refused[0].field == "input_mode"
        and json.loads(problems[1].row["programs"])[0]["interface"] == "open-r1"
    )


@needs_bundle
def test_leetcode_dataset_with_real_rows(tmp_path, bundle):
    held = bundle[0]["leetcodedataset"]
    rows = [
        {
            "task_id": row["problem_id"].removeprefix("leetcode/"),
            "question_id": 1,
            "difficulty": row["difficulty"],
            "tags": row["tags"],
            "problem_description": row["statement"],
            "starter_code": row["starter_code"],
            "estimated_date": "2024-01-01",
            "prompt": row["preamble"],
            "completion": bundle[1][row["problem_id"]],
            "entry_point": row["entry_point"],
            "test": "def check(candidate):\n"
            + "".join(f"    {test['assert']}\n" for test in row["public_tests"]),
        }
        for row in held
    ]
    rows.append(
        rows[0]
        | {
            "task_id": "loop",
            "test": "def check(candidate):\n    for n in (1, 2):\n        assert candidate(n)\n",
        }
    )
    problems, trajectories, refused = read(
        "leetcode", lines(tmp_path / "LeetCodeDataset-v0.3.1-train.jsonl.gz", rows)
    )
    assert not refused and len(problems) == len(trajectories) == 26 and problems[0].row["split"] == "train"
    for problem, row in zip(problems, held, strict=False):
        assert [test["input"].replace(" ", "") for test in problem.tests] == [
            test["assert"].replace(" ", "").replace('"', "'") for test in row["public_tests"]
        ]
    assert [test["mode"] for test in problems[-1].tests] == ["check"]


@needs_bundle
def test_mbpp_with_real_rows_in_all_its_forms(tmp_path, bundle):
    held = bundle[0]["mbpp"]
    rows = [
        {
            "task_id": int(row["problem_id"].removeprefix("mbpp/")),
            "text": row["statement"],
            "code": bundle[1][row["problem_id"]],
            "test_list": [test["assert"] for test in row["public_tests"] + row["hidden_tests"]],
            "test_setup_code": "",
            "challenge_test_list": [],
        }
        for row in held
    ]
    problems, trajectories, refused = read("mbpp", lines(tmp_path / "mbpp.jsonl", rows))
    assert not refused and len(problems) == len(trajectories) == 25
    assert [problem.row["problem_id"] for problem in problems] == [row["problem_id"] for row in held]
    assert [test["input"] for test in problems[3].tests] == rows[3]["test_list"]
    assert (
        held[3]["statement"] in problems[3].row["statement"]
        and rows[3]["test_list"][0] in problems[3].row["statement"]
    )
    sanitized = [
        {**row, "source_file": "x", "prompt": row["text"], "test_imports": ["import math"]} for row in rows
    ]
    sanitized = [
        {key: row[key] for key in ("source_file", "task_id", "prompt", "code", "test_imports", "test_list")}
        for row in sanitized
    ]
    document = tmp_path / "sanitized-mbpp.json"
    document.write_text(json.dumps(sanitized, indent=1))
    others, _, refused = read("mbpp", document)
    assert (
        not refused
        and others[0].row["problem_id"] == "mbpp-sanitized/1"
        and others[0].row["preamble"] == "import math"
    )
    plus = [row | {"test": "for a, b in []:\n    pass"} for row in sanitized[:1]]
    release = [
        {"task_id": "Mbpp/2", "prompt": "p", "base_input": [], "plus_input": [], "canonical_solution": ""}
    ]
    problems, _, refused = read("mbpp", lines(tmp_path / "plus.jsonl", [*plus, *release]))
    assert problems[0].row["problem_id"] == "mbppplus/1" and problems[0].tests[-1]["input"] == plus[0]["test"]
    assert refused[0].field == "plus_input" and "evalplus/mbppplus" in refused[0].reason


@needs_bundle
def test_humaneval_with_real_rows(tmp_path, bundle):
    rows = []
    for row in bundle[0]["humaneval"]:
        solution = bundle[1][row["problem_id"]]
        assert solution.startswith(row["starter_code"])
        rows.append(
            {
                "task_id": row["problem_id"].replace("humaneval/", "HumanEval/"),
                "prompt": row["starter_code"],
                "canonical_solution": solution.removeprefix(row["starter_code"]),
                "entry_point": row["entry_point"],
                "test": row["hidden_tests"][0]["check"],
            }
        )
    problems, trajectories, refused = read("humaneval", lines(tmp_path / "HumanEval.jsonl.gz", rows))
    assert not refused and len(problems) == len(trajectories) == 25
    for problem, trajectory, row in zip(problems, trajectories, bundle[0]["humaneval"], strict=True):
        assert (
            problem.row["problem_id"] == row["problem_id"]
            and problem.tests[0]["input"] == row["hidden_tests"][0]["check"]
        )
        namespace = {}
        # What the adapter joined is a program, and passes its own test: trusted code of the data set.
        exec(trajectory.row["program"] + problem.tests[0]["input"], namespace)
        namespace["check"](namespace[problem.row["entry_point"]])


def test_humaneval_plus_compares_with_the_canonical_solution(tmp_path):
    row = {
        "task_id": "HumanEval/2",
        "prompt": "def half(x):\n",
        "contract": "",
        "canonical_solution": "    return [x / 2]\n",
        "entry_point": "half",
        "base_input": [[1], [2.5]],
        "plus_input": [[10**9], [-3]],
        "atol": 1e-6,
    }
    problems, _, refused = read("humaneval", lines(tmp_path / "HumanEvalPlus.jsonl", [row]))
    (problem,) = problems
    assert not refused and problem.row["problem_id"] == "humanevalplus/2"
    assert [test["test_id"] for test in problem.tests] == ["base_input", "plus_input"]

    def passes(candidate):
        for test in problem.tests:
            namespace = {}
            exec(test["input"], namespace)
            namespace["check"](candidate)

    passes(lambda x: (x / 2 + 1e-9,))
    for wrong in (lambda x: [x], lambda x: [x / 2, 0], lambda x: [x / 2 if x > 0 else 0]):
        with pytest.raises(AssertionError, match="wrong for"):
            passes(wrong)


@needs_bundle
def test_livecodebench_results_with_real_answers(tmp_path, bundle):
    held = [row for row in bundle[2]["Qwen3-8B"] if row["problem_id"].startswith("lcb/")][:40]
    rows = [
        {
            "question_title": "t",
            "question_content": "c",
            "platform": "p",
            "question_id": row["problem_id"].removeprefix("lcb/"),
            "contest_id": "c",
            "contest_date": "d",
            "starter_code": "",
            "difficulty": "easy",
            "output_list": [row["completion"]],
            "code_list": [row["code"]],
            "graded_list": [row["verdict"] == "accepted"],
            "pass@1": 0.5,
            "metadata": [json.dumps({"error_code": -2, "error_message": "Wrong Answer"})],
        }
        for row in held
    ]
    path = tmp_path / "output" / "Qwen3-8B" / "Scenario.codegeneration_1_0.2_eval_all.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(rows, indent=4))
    _, trajectories, refused = read("livecodebench_results", tmp_path / "output")
    assert not refused and len(trajectories) == 40
    for one, row in zip(trajectories, held, strict=True):
        actual = [
            one.row[name] for name in ("problem_id", "policy_id", "program", "completion", "temperature")
        ]
        assert actual == [row["problem_id"], "Qwen3-8B", row["code"], row["completion"], 0.2]
        assert one.row["claimed_verdict"] == ("accepted" if row["verdict"] == "accepted" else "wrong_answer")


def test_livecodebench_results_with_several_samples_and_no_code(tmp_path):
    answer = "Here:\n```python\nprint(1)\n```"
    rows = [
        {
            "question_id": "abc",
            "output_list": [answer, "no"],
            "code_list": [],
            "graded_list": [True, False],
            "metadata": ["{}", "x"],
        }
    ]
    path = tmp_path / "m" / "Scenario.codegeneration_10_0.8.json"
    path.parent.mkdir()
    path.write_text(json.dumps(rows))
    _, (first, second), refused = read("livecodebench_results", path)
    assert not refused and (first.row["program"], first.row["extraction"]) == ("print(1)\n", "fence")
    assert (second.row["extraction"], second.row["sample_index"], second.row["claimed_verdict"]) == (
        "none",
        1,
        "rejected",
    )
    (again,) = rereads("livecodebench_results", second, "m/Scenario.codegeneration_10_0.8.json")
    assert again.row == second.row


def test_evalplus_results_in_their_schema(tmp_path):
    sample = {
        "task_id": "HumanEval/0",
        "solution": "def f(): pass",
        "base_status": "pass",
        "plus_status": "fail",
    }
    sample |= {"base_fail_tests": [], "plus_fail_tests": [[1]]}
    base_only = sample | {"task_id": "Mbpp/2", "base_status": "timeout", "plus_status": None}
    results = {
        "date": "2024",
        "hash": "h",
        "eval": {"HumanEval/0": [sample, sample | {"plus_status": "pass"}], "Mbpp/2": [base_only]},
    }
    path = tmp_path / "humaneval" / "Qwen--Qwen3-8B_vllm_temp_0.8_eval_results.json"
    path.parent.mkdir()
    path.write_text(json.dumps(results))
    _, trajectories, refused = read("evalplus", path)
    assert not refused
    actual = [
        [one.row[name] for name in ("problem_id", "sample_index", "claimed_verdict")] for one in trajectories
    ]
    assert actual == [
        ["humanevalplus/0", 0, "rejected"],
        ["humanevalplus/0", 1, "accepted"],
        ["mbpp/2", 0, "time_limit_exceeded"],
    ]
    assert {(one.row["policy_id"], one.row["temperature"]) for one in trajectories} == {
        ("Qwen/Qwen3-8B", 0.8)
    }
    (again,) = rereads(
        "evalplus", trajectories[1], "humaneval/Qwen--Qwen3-8B_vllm_temp_0.8_eval_results.json"
    )
    assert again.row == trajectories[1].row
    plain = [
        {"task_id": "HumanEval/3", "solution": "x"},
        {"task_id": "HumanEval/3", "completion": "  return 1", "passed": True},
    ]
    _, samples, refused = read("evalplus", lines(tmp_path / "samples.jsonl", plain))
    assert samples[0].row["problem_id"] == "humanevalplus/3" and not refused
    assert samples[1].continues and samples[1].row["claimed_verdict"] == "accepted"
    assert samples[1].row["problem_id"] == "humaneval/3"


def test_codeforces_cots_in_their_schema(tmp_path):
    one = {
        "id": "852/A",
        "prompt": "You will be given a problem.",
        "generation": "<think>a</think>\n```cpp\nint main() {}\n```",
        "finish_reason": "stop",
        "title": "Digits",
        "api_metadata": {"completion_tokens": 5},
        "messages": [{"role": "user", "content": "You will be given"}, {"role": "assistant", "content": "x"}],
    }
    cut = one | {"generation": "<think> ...", "finish_reason": "length"}
    for folder in ("solutions", "solutions_py", "checker_interactor"):
        table(tmp_path / folder / "train-0.parquet", [one, cut])
    _, trajectories, refused = read("codeforces_cots", tmp_path)
    assert len(trajectories) == 4 and len(refused) == 2
    cpp, short, *_ = (item.row for item in trajectories)
    assert (cpp["problem_id"], cpp["language"], cpp["finish_reason"]) == ("codeforces/852/A", "cpp", "stop")
    assert (cpp["policy_id"], cpp["prompt"], cpp["extraction"]) == (
        "deepseek-ai/DeepSeek-R1",
        one["prompt"],
        "fence",
    )
    assert (short["program"], short["finish_reason"]) == ("", "length")
