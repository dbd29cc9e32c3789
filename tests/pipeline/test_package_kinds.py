"""Packages whose submissions run in several passes, earn points, or are answers: from folder to verdict."""

from __future__ import annotations

import json

import pytest

from pipeline.adapters import Refused, find
from pipeline.ingest.ingestion import ingest
from pipeline.labelling.labeller import label
from pipeline.labelling.submissions import scoring_of
from pipeline.store.sql import connect, query
from pipeline.store.store import Store
from sandbox import Pool
from sandbox.scoring import Group

TWO_PASSES = """
import os, sys
folder, got = sys.argv[3], sys.stdin.read().strip()
if os.path.exists(folder + "state"):
    sys.exit(42 if got == "second" else 43)
open(folder + "state", "w").write("x")
if got != "first":
    sys.exit(43)
open(folder + "nextpass.in", "w").write("2\\n")
sys.exit(42)
"""


def package(root, yaml, files):
    given = {
        "problem.yaml": f"name: P\n{yaml}",
        "problem_statement/problem.en.md": "Do it.",
        "data/secret/1.in": "1\n",
        "data/secret/1.ans": "1\n",
        **files,
    }
    for name, text in given.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        if text is not None:
            (root / name).write_text(text)
    return root


def items_of(root):
    adapter = find("kattis")
    (file,) = adapter.files(str(root), None)
    return list(adapter.read(file))


def judged(tmp_path, columns):
    store = Store(tmp_path / "store")
    ingest(store, "kattis", str(tmp_path / "c"))
    with Pool(1) as pool:
        label(store, pool)
    with connect(store) as connection:
        return {
            row[0]: row[1:] for row in query(connection, f"select source_key, {columns} from judged").rows()
        }


MULTI_PASS = {
    "limits: {time_limit: 2}\nvalidation: custom multi-pass\n": "output_validators/v/v.py",
    "problem_format_version: 2025-09\ntype: [pass-fail, multi-pass]\n"
    "limits: {time_limit: 2, validation_passes: 3}\n": "output_validator/v.py",
}


@pytest.mark.parametrize("yaml", MULTI_PASS)
def test_multi_pass(tmp_path, yaml):
    programs = {
        "submissions/accepted/a.py": "print('first' if input() == '1' else 'second')",
        "submissions/wrong_answer/b.py": "print('first')",
    }
    package(tmp_path / "c" / "p", yaml, {MULTI_PASS[yaml]: TWO_PASSES, **programs})
    actual = judged(tmp_path, "verdict")
    assert actual == {"accepted/a.py": ("accepted",), "wrong_answer/b.py": ("wrong_answer",)}


@pytest.mark.parametrize("passes", ["0", "two", "1000000"])
def test_unusable_numbers_of_passes(tmp_path, passes):
    yaml = f"validation: custom multi-pass\nlimits: {{validation_passes: {passes}}}"
    item = items_of(package(tmp_path / "c" / "p", yaml, {"output_validators/v.py": TWO_PASSES}))[0]
    assert isinstance(item, Refused) and "validation_passes is" in item.reason


GROUPS = {
    "data/testdata.yaml": "on_reject: continue\ngrader_flags: ignore_sample accept_if_any_accepted\n",
    "data/sample/testdata.yaml": "on_reject: continue\ngrader_flags: ''\n",
    "data/secret/testdata.yaml": "on_reject: continue\ngrader_flags: accept_if_any_accepted\n",
    "data/sample/1.in": "1",
    "data/sample/1.ans": "1",
    "data/secret/1.in": None,
    "data/secret/1.ans": None,
}
for name, score in (("a", 40), ("b", 60)):
    GROUPS[f"data/secret/{name}/testdata.yaml"] = (
        f"on_reject: break\ngrader_flags: min\naccept_score: {score}\n"
    )
    for number in ("1", "2") if name == "a" else ("8", "9"):
        GROUPS[f"data/secret/{name}/{number}.in"] = GROUPS[f"data/secret/{name}/{number}.ans"] = number


def test_groups_of_the_legacy_format(tmp_path):
    programs = {
        "submissions/accepted/a.py": "print(input())",
        "submissions/partially_accepted/b.py": "n = int(input())\nprint(n if n < 8 else 0)",
    }
    package(tmp_path / "c" / "p", "type: scoring\nlimits: {time_limit: 2}\n", GROUPS | programs)
    assert judged(tmp_path, "claimed_verdict, verdict, score") == {
        "accepted/a.py": ("accepted", "accepted", 100.0),
        "partially_accepted/b.py": ("partial", "wrong_answer", 40.0),
    }


def test_groups_of_2025(tmp_path):
    files = {
        "data/secret/1.in": None,
        "data/secret/1.ans": None,
        "data/secret/a/test_group.yaml": "max_score: 30\n",
        "data/secret/a/1.in": "1",
        "data/secret/a/1.ans": "1",
        "data/secret/b/test_group.yaml": "max_score: 70\nscore_aggregation: sum\nrequire_pass: secret/a\n",
        **{f"data/secret/b/{n}.{kind}": str(n) for n in (8, 9) for kind in ("in", "ans")},
        "submissions/accepted/a.py": "print(input())",
        "submissions/mixed/b.py": "n = int(input())\nprint(n if n < 9 else 0)",
        "submissions/mixed/c.py": "n = int(input())\nprint(n if n > 1 else 0)",
    }
    yaml = "problem_format_version: 2025-09\ntype: scoring\nlimits: {time_limit: 2}\n"
    package(tmp_path / "c" / "p", yaml, files)
    assert judged(tmp_path, "score") == {
        "accepted/a.py": (100.0,),
        "mixed/b.py": (65.0,),
        "mixed/c.py": (0.0,),
    }


def test_validators_that_score(tmp_path):
    validator = (
        "import sys\nvalue = int(sys.stdin.read())\n"
        "open(sys.argv[3] + 'score.txt', 'w').write(str(value))\nsys.exit(42)"
    )
    yaml = "type: scoring\nvalidation: custom score\nlimits: {time_limit: 2}\n"
    files = {"output_validators/v.py": validator, "submissions/accepted/a.py": "print(7)"}
    package(tmp_path / "c" / "p", yaml, files)
    assert judged(tmp_path, "verdict, score") == {"accepted/a.py": ("accepted", 7.0)}


def test_properties_are_inherited(tmp_path):
    problem = items_of(package(tmp_path / "c" / "p", "type: scoring\n", GROUPS))[0]
    scoring = scoring_of(problem.row["scoring"])
    assert scoring.group("") == Group("", "continue", ("ignore_sample", "accept_if_any_accepted"))
    assert scoring.group("secret/a") == Group("secret/a", "break", ("min",), 40.0)
    assert [group.path for group in scoring.groups] == ["", "sample", "secret", "secret/a", "secret/b"]


# Half of the points of the results that its flag names, and accepted if any of them is.
GRADER = """
import sys
results = [line.split() for line in sys.stdin]
points = sum(float(score) for verdict, score in results if verdict == sys.argv[1])
print("AC" if points else results[0][0], points / 2)
"""


def test_a_grader_program(tmp_path):
    files = {
        "data/testdata.yaml": "on_reject: continue\n",
        "data/secret/testdata.yaml": "on_reject: continue\ngrading: custom\ngrader_flags: AC\n",
        "data/secret/a/testdata.yaml": "grading: default\ngrader_flags: min\naccept_score: 40\n",
        "data/secret/b/testdata.yaml": "accept_score: 60\nreject_score: 7\n",
        "graders/half/grader.py": GRADER,
        "submissions/accepted/a.py": "print(input())",
        "submissions/partially_accepted/b.py": "print(min(2, int(input())))",
        "submissions/wrong_answer/c.py": "print(9)",
        "data/secret/1.in": None,
        "data/secret/1.ans": None,
    }
    for name, number in (("a/1", 1), ("b/2", 2), ("b/3", 3)):
        files |= {f"data/secret/{name}.{kind}": f"{number}\n" for kind in ("in", "ans")}
    package(tmp_path / "c" / "p", "type: scoring\nlimits: {time_limit: 2}\n", files)
    assert judged(tmp_path, "score") == {
        "accepted/a.py": ((40 + (60 + 60) / 2) / 2,),
        "partially_accepted/b.py": ((40 + 60 / 2) / 2,),
        "wrong_answer/c.py": (None,),
    }


@pytest.mark.parametrize(
    ("grader", "complaint"),
    [
        ("print('AC')", "the grader printed 'AC\\n', not a verdict and a score"),
        ("print('AC nan')", "not a verdict and a score"),
        ("import sys\nsys.exit(3)", "the grader ended with wait status 768"),
        ("print(", "the grader does not compile"),
    ],
)
def test_a_grader_that_breaks_is_an_error_of_the_judge(tmp_path, grader, complaint):
    files = {
        "data/testdata.yaml": "grading: custom\n", "graders/g.py": grader,
        "submissions/accepted/a.py": "print(input())",
    }  # fmt: skip
    package(tmp_path / "c" / "p", "type: scoring\nlimits: {time_limit: 2}\n", files)
    store = Store(tmp_path / "store")
    ingest(store, "kattis", str(tmp_path / "c"))
    with Pool(1) as pool:
        label(store, pool)
    (actual,) = store.read("verdicts").select("verdict", "tests").rows()
    assert actual[0] == "judge_error" and complaint in actual[1][0]["detail"]


REFUSED = {
    "grading is 'magic'": ("type: scoring", {"data/testdata.yaml": "grading: magic"}),
    "graders/ has no program": ("type: scoring", {"data/testdata.yaml": "grading: custom"}),
    "on_reject is 'explode'": ("type: scoring", {"data/testdata.yaml": "on_reject: explode"}),
    "no flag 'median'": ("type: scoring", {"data/testdata.yaml": "grader_flags: median"}),
    "accept_score is not a number": ("type: scoring", {"data/testdata.yaml": "accept_score: many"}),
    "score_aggregation of secret is 'avg'": (
        "problem_format_version: 2025-09\ntype: scoring",
        {"data/secret/test_group.yaml": "score_aggregation: avg"},
    ),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_unknown_rules_refuse_the_package(tmp_path, reason):
    item = items_of(package(tmp_path / "c" / "p", *REFUSED[reason]))[0]
    assert isinstance(item, Refused) and reason in item.reason


def test_answers(tmp_path):
    files = {
        "submissions/accepted/a.txt": "1\n",
        "submissions/wrong_answer/b.ans": "2\n",
        "submissions/accepted/c.py": "print(1)",
    }
    yaml = "problem_format_version: 2025-09\ntype: submit-answer\nlimits: {time_limit: 1}\n"
    root = package(tmp_path / "c" / "p", yaml, files)
    problem, *submissions = items_of(root)
    assert problem.row["not_sampled"] == "its submissions are answers, not programs"
    assert [one.reason for one in submissions if isinstance(one, Refused)] == [
        "accepted/c.py: is a program, but the problem asks for answers"
    ]
    assert judged(tmp_path, "verdict, language") == {
        "accepted/a.txt": ("accepted", "answer"),
        "wrong_answer/b.ans": ("wrong_answer", "answer"),
    }


def test_scoring_is_a_part_of_the_test_set(tmp_path):
    hashes = set()
    for name, score in (("one", 40), ("two", 50)):
        files = {"data/secret/testdata.yaml": f"accept_score: {score}\n"}
        package(tmp_path / name / "c" / "p", "type: scoring\n", files)
        store = Store(tmp_path / name / "store")
        ingest(store, "kattis", str(tmp_path / name / "c"))
        hashes |= set(store.read("problems")["test_set_hash"])
        assert json.loads(store.read("problems")["scoring"][0])["groups"][1]["accept_score"] == score
    assert len(hashes) == 2


INI = {
    "problem.yaml": None,
    "domjudge-problem.ini": "name = 'From the ini'\ntimelimit='2.5'\ncolor=#ff0000\n",
    ".timelimit": "7",
}


def test_a_package_of_domjudge_without_yaml(tmp_path):
    problem = items_of(package(tmp_path / "c" / "p", "", INI))[0]
    assert (problem.row["title"], problem.row["time_limit_s"]) == ("From the ini", 2.5)
    assert problem.row["checker"] == "domjudge"


def test_a_program_that_only_domjudge_has_refuses_the_package(tmp_path):
    files = INI | {"domjudge-problem.ini": "special_compare = float_cmp\n"}
    problem = items_of(package(tmp_path / "c" / "p", "", files))[0]
    assert isinstance(problem, Refused) and "special_compare is 'float_cmp'" in problem.reason
    own = package(tmp_path / "d" / "p", "", files | {"output_validators/v.py": "exit(42)"})
    assert items_of(own)[0].row["checker"] == "custom"


def test_what_judging_does_not_need(tmp_path):
    """Hidden files among submissions, and an input validator that cannot be read."""
    files = {"submissions/accepted/.gitkeep": "", "submissions/accepted/a.py": "print(1)"}
    root = package(tmp_path / "c" / "p", "", files)
    (root / "input_validators").mkdir()
    (root / "input_validators" / "v.h").symlink_to("nothing")
    assert [type(item).__name__ for item in items_of(root)] == ["ReadProblem", "ReadTrajectory"]


@pytest.mark.parametrize(
    ("limits", "answer", "expected_mb"),
    [
        ("output: 1", "1", 1.0),
        ("output: 0.5", "1", 0.5),
        ("time_limit: 1", "1", 8.0),
        ("time_limit: 1", "1" * (5 << 20), 10.0),
    ],
)
def test_the_output_limit_is_the_stated_one_or_the_usual_one(tmp_path, limits, answer, expected_mb):
    root = package(tmp_path / "c" / "p", f"limits: {{{limits}}}\n", {"data/secret/1.ans": answer})
    row = items_of(root)[0].row
    assert (row["output_limit_mb"], row["memory_limit_mb"]) == (pytest.approx(expected_mb), 2048.0)


def test_a_stated_output_limit_holds_exactly(tmp_path):
    write = "import sys\nsys.stdout.write('1' + ' ' * {})\n"
    files = {
        "submissions/accepted/a.py": write.format((1 << 20) - 1),
        "submissions/rejected/b.py": write.format(1 << 20),
    }
    package(tmp_path / "c" / "p", "limits: {time_limit: 2, output: 1}\n", files)
    assert judged(tmp_path, "verdict") == {
        "accepted/a.py": ("accepted",),
        "rejected/b.py": ("output_limit_exceeded",),
    }


@pytest.mark.parametrize("value", ["0", "-1", "much", ".inf"])
def test_an_output_limit_that_is_none_is_refused(tmp_path, value):
    (problem,) = items_of(package(tmp_path / "c" / "p", f"limits: {{output: {value}}}\n", {}))
    assert isinstance(problem, Refused) and "limits.output is" in problem.reason


VALIDATION_LIMITS = {
    "{}": {"time_s": 60, "memory_mb": 2048},
    "{validation_time: 120, validation_memory: 4096}": {"time_s": 120, "memory_mb": 4096},
}


@pytest.mark.parametrize("limits", VALIDATION_LIMITS)
def test_the_limits_of_validators_are_those_of_the_package(tmp_path, limits):
    files = {"output_validators/v/v.py": "import sys\nsys.exit(42)"}
    row = items_of(package(tmp_path / "c" / "p", f"validation: custom\nlimits: {limits}\n", files))[0].row
    (program,) = json.loads(row["programs"])
    assert program["limits"] == VALIDATION_LIMITS[limits]


def test_a_validator_that_goes_over_its_limit_is_an_error_of_the_judge(tmp_path):
    yaml = "validation: custom\nlimits: {time_limit: 2, validation_time: 0.3}\n"
    files = {"output_validators/v/v.py": "while True: pass", "submissions/accepted/a.py": "print(1)"}
    package(tmp_path / "c" / "p", yaml, files)
    store = Store(tmp_path / "store")
    ingest(store, "kattis", str(tmp_path / "c"))
    with Pool(1) as pool:
        label(store, pool)
    with connect(store) as connection:
        (row,) = query(connection, "select verdict, tests[1].detail from verdicts").rows()
    assert row == ("judge_error", "the checker went over its limits")


@pytest.mark.parametrize("limit", ["validation_time: 0", "validation_time: fast", "validation_memory: .nan"])
def test_limits_of_validators_that_are_none_are_refused(tmp_path, limit):
    yaml = f"validation: custom\nlimits: {{{limit}}}\n"
    (problem,) = items_of(package(tmp_path / "c" / "p", yaml, {"output_validators/v.py": "1"}))
    assert isinstance(problem, Refused) and "limits for validation: " in problem.reason


def test_a_static_validator_refuses_the_problem(tmp_path):
    files = {"static_validator/v.py": "import sys\nsys.exit(43)"}
    (problem,) = items_of(package(tmp_path / "c" / "p", "problem_format_version: 2025-09\n", files))
    assert isinstance(problem, Refused) and "static_validator judges the source" in problem.reason
