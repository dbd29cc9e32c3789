"""Problem packages whose checker is a program: from the folder to the verdict."""

from __future__ import annotations

import json

import pytest

from pipeline.ingest.ingestion import ingest
from pipeline.labelling.checkers import CheckerUnavailable, problem_checker
from pipeline.labelling.labeller import SubmissionBuilder, label
from pipeline.store.sql import connect, query
from pipeline.store.store import Store
from sandbox import Checker, Pool

# Any two numbers with the sum asked for; the flag says how large they may be.
VALIDATOR = """
import sys
total, most = int(open(sys.argv[1]).read()), int(sys.argv[4])
try:
    a, b = map(int, sys.stdin.read().split())
except ValueError:
    sys.exit(43)
sys.exit(42 if a + b == total and max(a, b) <= most else 43)
"""
# The same in C++, with its limit in a header beside it.
VALIDATOR_CPP = """
#include "limit.h"
#include <fstream>
#include <iostream>
int main(int, char **argv) {
    std::ifstream given(argv[1]);
    long total, a, b;
    given >> total;
    return std::cin >> a >> b && a + b == total && a <= MOST && b <= MOST ? 42 : 43;
}
"""
# Thinks of a number; the program asks, at most eight times.
INTERACTOR = """
import sys
secret = int(open(sys.argv[1]).read())
for _ in range(8):
    guess = int(input())
    print("less" if secret < guess else "more" if secret > guess else "right", flush=True)
    if guess == secret:
        sys.exit(42)
sys.exit(43)
"""
SPLIT = "n = int(input())\nprint(n // 2, n - n // 2)"
LOPSIDED = "n = int(input())\nprint(n, 0)"
SEARCH = """
low, high = 0, 100
while True:
    middle = (low + high) // 2
    print(middle, flush=True)
    answer = input()
    if answer == "right":
        break
    low, high = (low, middle - 1) if answer == "less" else (middle + 1, high)
"""
COUNT = "for guess in range(101):\n    print(guess, flush=True)\n    if input() == 'right':\n        break\n"


def package(root, yaml, **files):
    for name, text in {
        "problem.yaml": yaml,
        "problem_statement/problem.en.md": "Find them.",
        **files,
    }.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("packages")
    sums = {
        "data/secret/1.in": "10\n",
        "data/secret/1.ans": "5 5\n",
        "data/secret/2.in": "6\n",
        "data/secret/2.ans": "1 5\n",
    }
    programs = {"submissions/accepted/a.py": SPLIT, "submissions/wrong_answer/b.py": LOPSIDED}
    package(
        folder / "contest" / "flagged",
        "name: A\nvalidation: custom\nvalidator_flags: 5\n",
        **sums,
        **programs,
        **{"output_validators/check.py": VALIDATOR},
    )
    package(
        folder / "contest" / "header",
        "name: B\nvalidation: custom\n",
        **sums,
        **programs,
        **{
            "output_validators/check/check.cpp": VALIDATOR_CPP,
            "output_validators/check/limit.h": "enum { MOST = 5 };",
        },
    )
    package(
        folder / "contest" / "talk",
        "name: C\nvalidation: custom interactive\n",
        **{
            "data/secret/1.in": "97\n",
            "data/secret/1.ans": "",
            "output_validators/talk/talk.py": INTERACTOR,
            "submissions/accepted/a.py": SEARCH,
            "submissions/wrong_answer/b.py": COUNT,
        },
    )
    limit = {"output_validators/check/limit.h": "#include <fstream>\nextern const int MOST;\n"}
    package(
        folder / "contest" / "parts",
        "name: E\nvalidation: custom\n",
        **sums,
        **programs,
        **limit,
        **{
            "output_validators/check/check.cpp": VALIDATOR_CPP,
            "output_validators/check/limit.cpp": '#include "limit.h"\nconst int MOST = 5;\n',
            "output_validators/check/README.md": "How it checks.",
        },
    )
    package(folder / "contest" / "none", "name: D\nvalidation: custom\n", **sums, **programs)
    store = Store(folder / "store")
    ingest(store, "kattis", str(folder / "contest"))
    return store


def test_packages_are_judged_by_their_own_programs(store):
    with Pool(2) as pool:
        summary = label(store, pool)
    assert (summary.programs, summary.unjudgeable) == (8, 2)
    with connect(store) as connection:
        actual = query(
            connection, "select problem_id, source_key, claimed_verdict, verdict from judged order by all"
        )
        flags = dict(query(connection, "select problem_id, flag from problem_quality").iter_rows())
    assert actual.height == 8 and actual.filter(actual["verdict"] != actual["claimed_verdict"]).is_empty(), (
        actual
    )
    assert {name for name, flag in flags.items() if flag == "no checker"} == {"contest/none"}


def test_how_a_package_asks_to_be_judged(store):
    problems = {row["problem_id"]: row for row in store.read("problems").to_dicts()}
    assert problem_checker(problems["contest/flagged"]).arguments == ("5",)
    assert (
        problem_checker(problems["contest/talk"]).interactive
        and not problem_checker(problems["contest/header"]).interactive
    )
    row = {"problem_id": "contest/header", "program": "", "language": "python3"}
    checker = SubmissionBuilder(store, ["contest/header"]).submission(row, "").checker
    files = (("limit.h", "enum { MOST = 5 };"),)
    assert checker == Checker("kattis", program=VALIDATOR_CPP, files=files, time_s=60, memory_mb=2048)


def problem(*programs, **columns):
    usual = {"role": "checker", "interface": "testlib", "path": "checker.cpp", "text": "int main() {}"}
    given = [usual | one for one in programs]
    return {
        "checker": "custom",
        "input_mode": "stdin",
        "programs": json.dumps(given) if given else None,
    } | columns


def test_testlib_checkers(monkeypatch, tmp_path):
    plain = problem_checker(problem({}, {"role": "validator", "path": "validator.cpp"}))
    assert plain == Checker("testlib", program="int main() {}", language="cpp")
    including = problem({"text": '#include "testlib.h"\nint main() {}'})
    monkeypatch.setattr("sandbox.judging.checker_programs.TESTLIB_PLACES", ())
    monkeypatch.delenv("SPO_TESTLIB", raising=False)
    with pytest.raises(CheckerUnavailable, match="SPO_TESTLIB"):
        problem_checker(including)
    (tmp_path / "testlib.h").write_text("// it")
    monkeypatch.setenv("SPO_TESTLIB", str(tmp_path / "testlib.h"))
    assert problem_checker(including).kind == "testlib"


KATTIS = {"interface": "output_validator"}
UNUSABLE = {
    "its source has no checker program": problem(),
    "a function problem": problem({}, input_mode="function"),
    "interface open-r1": problem({"interface": "open-r1", "path": "checker.py"}),
    "interface multi-pass": problem({"interface": "multi-pass"}),
    "several checkers: output_validators/a.py, output_validators/b": problem(
        KATTIS | {"path": "output_validators/a.py"}, KATTIS | {"path": "output_validators/b/b.py"}
    ),
    "not a single source file: output_validators/a/a.cpp, output_validators/a/b.cpp": problem(
        KATTIS | {"path": "output_validators/a/a.cpp"}, KATTIS | {"path": "output_validators/a/b.cpp"}
    ),
    "a b.txt' is not a plain file name": problem(
        KATTIS | {"path": "output_validator/build"}, KATTIS | {"path": "output_validator/a b.txt"}
    ),
    "language swift": problem(KATTIS | {"path": "output_validator/a.swift"}),
}


@pytest.mark.parametrize("why", UNUSABLE)
def test_why_a_checker_cannot_be_used(why):
    with pytest.raises(CheckerUnavailable, match=why):
        problem_checker(UNUSABLE[why])


def named(checker: str, words: str = "", float_tol: float | None = None) -> dict:
    arguments = words.split() or None
    return {
        "checker": checker, "checker_arguments": arguments, "case_sensitive": True, "float_tol": float_tol,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("row", "checker"),
    [
        (named("tokens"), Checker()),
        (named("float"), Checker("float", float_tol=1e-6)),
        (named("float", float_tol=0.0), Checker("float", float_tol=0.0)),
        (
            named("float", "float_absolute_tolerance 0.1 float_relative_tolerance 0.01"),
            Checker("float", float_abs_tol=0.1, float_rel_tol=0.01),
        ),
        (named("domjudge", "float_tolerance 1"), Checker("domjudge", arguments=("float_tolerance", "1"))),
        (named("rcmp6"), Checker("rcmp6")),
        (named("function"), Checker()),
        (named("function", float_tol=0.1), Checker("float", float_tol=0.1)),
        (named("function", "unordered_levels 2"), Checker(unordered_levels=2)),
        (
            named("function", "unordered_levels 1 float_tolerance 0.5"),
            Checker("float", float_abs_tol=0.5, float_rel_tol=0.5, unordered_levels=1),
        ),
    ],
)
def test_checkers_that_a_row_names(row, checker):
    assert problem_checker(row) == checker


@pytest.mark.parametrize(
    "row",
    [
        named("float", "tolerance 1"),
        named("tokens", "unordered_levels 1"),
        named("function", "unordered_levels"),
        named("function", "unordered_levels many"),
        named("function", "unordered_levels 99"),
        named("domjudge", "strict"),
    ],
)
def test_unknown_flags_are_refused(row):
    with pytest.raises(CheckerUnavailable, match=r"has no flag|unordered_levels must be"):
        problem_checker(row)
