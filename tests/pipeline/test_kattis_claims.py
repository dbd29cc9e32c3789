"""What packages claim of their submissions: sets of verdicts, by submissions.yaml, comments and folders."""

from __future__ import annotations

import pytest

from pipeline.adapters import Refused, find
from pipeline.ingest.ingestion import ingest
from pipeline.labelling.labeller import label
from pipeline.store.sql import connect, query
from pipeline.store.store import Store
from sandbox import Pool

RTE = ["memory_limit_exceeded", "output_limit_exceeded", "runtime_error"]
TLE, WA = "time_limit_exceeded", "wrong_answer"
# The rules of BAPCtools' test problem `testexpectations` are the model of some of these.
CASES = [
    ("", "accepted/a.py", "accepted", None),
    ("", "rejected/a.py", "rejected", None),
    ("", "run_time_error/a.py", "runtime_error", RTE),
    ("", "brute_force/a.py", "rejected", [*RTE, TLE]),
    ("", "mixed/a.py", None, None),
    ("mixed: {permitted: [AC, WA, TLE, RTE]}", "mixed/a.py", None, None),
    ("mixed: {permitted: [AC, WA]}", "mixed/a.py", None, ["accepted", WA]),
    ("mixed: {permitted: [AC, TLE], required: [TLE]}", "mixed/a.py", TLE, None),
    ("mixed: {permitted: [AC, WA, TLE], required: [TLE]}", "mixed/a.py", "rejected", [TLE, WA]),
    ("mixed: {permitted: [AC, WA]}\nmixed/a.py: {permitted: [WA]}", "mixed/a.py", WA, None),
    # A folder's own entry replaces what the folder says by default; others add to it.
    ("accepted: {permitted: [WA], required: [WA]}", "accepted/a.py", WA, None),
    ("'wrong_answer/*': {permitted: [AC, WA, TLE]}", "wrong_answer/a.py", WA, None),
    ("'time_limit_exceeded/*': {permitted: [WA, TLE]}", "time_limit_exceeded/a.py", TLE, None),
    # What contradicts the folder is meant for the submission.
    ("accepted/a.py: {permitted: [TLE]}", "accepted/a.py", TLE, None),
    # Patterns: a star is no slash, braces are choices, a folder holds what is below it.
    ("'*/a.py': {permitted: [WA]}", "mixed/a.py", WA, None),
    ("'*': {permitted: [WA]}", "mixed/a.py", WA, None),
    ("'*.py': {permitted: [WA]}", "mixed/a.py", None, None),
    ("'mixed/{b, a}.{py,cpp}': {permitted: [WA]}", "mixed/a.py", WA, None),
    ("'mixed/[a].py': {permitted: [WA]}", "mixed/a.py", None, None),
    ("'mixed/a': {permitted: [WA]}", "mixed/a.py", None, None),
    # Groups of tests: a failure in one excludes accepted; all else may happen in the others.
    ("mixed: {sample: {permitted: [AC]}, secret: {required: [TLE]}}", "mixed/a.py", "rejected",
        [*RTE, TLE, WA]),
    ("mixed: {secret: {use_for_time_limit: upper}}", "mixed/a.py", "rejected", [*RTE, TLE, WA]),
    ("mixed: {use_for_time_limit: lower}", "mixed/a.py", None, ["accepted", *RTE, WA]),
]  # fmt: skip


def package(root, submissions):
    given = {
        "problem.yaml": "name: P\nlimits: {time_limit: 5, memory: 64}\n",
        "problem_statement/problem.en.md": "Double it.",
        "data/secret/1.in": "4\n",
        "data/secret/1.ans": "8\n",
        **{f"submissions/{name}": text for name, text in submissions.items()},
    }
    for name, text in given.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def items_of(root, submissions):
    adapter = find("kattis")
    (file,) = adapter.files(str(package(root, submissions)), None)
    return list(adapter.read(file))


def judged(tmp_path):
    """{submission: verdict}, and how many are compared with their claims and agree."""
    store = Store(tmp_path / "store")
    ingest(store, "kattis", str(tmp_path / "c"))
    with Pool(1) as pool:
        label(store, pool)
    with connect(store) as connection:
        columns = "compared, agreement, verdict_agreement"
        agreement = query(connection, f"select {columns} from claimed_agreement").rows()
        return dict(query(connection, "select source_key, verdict from judged").rows()), agreement


@pytest.mark.parametrize(("rules", "name", "verdict", "verdicts"), CASES)
def test_the_verdicts_that_a_package_allows(tmp_path, rules, name, verdict, verdicts):
    given = {name: "print(8)"} | ({"submissions.yaml": rules} if rules else {})
    _, item = items_of(tmp_path / "c" / "p", given)
    assert (item.row["claimed_verdict"], item.row["claimed_verdicts"]) == (verdict, verdicts)


@pytest.mark.parametrize(
    ("words", "verdict", "verdicts"),
    [
        ("TIMELIMIT, RUN-ERROR", "rejected", [*RTE, TLE]),
        ("CORRECT, TIMELIMIT", None, ["accepted", TLE]),
        ("WRONG-ANSWER, NO-OUTPUT", WA, None),
        ("CHECK-MANUALLY", None, None),
    ],
)
def test_the_results_that_a_comment_expects(tmp_path, words, verdict, verdicts):
    _, item = items_of(tmp_path / "c" / "p", {"mixed/a.py": f"# @EXPECTED_RESULTS@: {words}\nprint(8)"})
    assert (item.row["claimed_verdict"], item.row["claimed_verdicts"]) == (verdict, verdicts)


@pytest.mark.parametrize(
    ("rules", "reason"),
    [
        ("mixed: {permitted: [AC, XX]}",
            "mixed: permitted has the unknown verdict 'XX'; known: AC, WA, TLE, RTE"),
        ("mixed: {secret: {required: [PE]}}", "mixed: required has the unknown verdict 'PE'"),
        ("mixed: {use_for_time_limit: maybe}", "mixed: use_for_time_limit is 'maybe'; known: true, false, "),
        ("mixed: {language: befunge}", "mixed: unknown language 'befunge'"),
    ],
)  # fmt: skip
def test_an_unknown_word_of_submissions_yaml_refuses_the_problem(tmp_path, rules, reason):
    problem, _ = items_of(tmp_path / "c" / "p", {"mixed/a.py": "print(8)", "submissions.yaml": rules})
    assert isinstance(problem, Refused) and f"submissions.yaml: {reason}" in problem.reason


def test_submissions_yaml_names_the_language(tmp_path):
    rules = "'mixed/a*': {language: Python 3}"
    files = {"mixed/a.txt": "print(8)", "mixed/ab/x.txt": "print(8)", "mixed/ab/y.py": "print(8)"}
    items = items_of(tmp_path / "c" / "p", files | {"submissions.yaml": rules})
    assert [(item.row["source_key"], item.row["language"]) for item in items[1:]] == [
        ("mixed/a.txt", "python3"),
        ("mixed/ab", "python3"),
    ]


def test_a_verdict_of_the_set_agrees(tmp_path):
    files = {
        "run_time_error/memory.py": "b = bytearray(200 << 20)",
        "mixed/a.py": "1/0",
        "submissions.yaml": "mixed/a.py: {required: [TLE, RTE]}",
    }
    package(tmp_path / "c" / "p", files)
    verdicts, agreement = judged(tmp_path)
    assert verdicts == {"run_time_error/memory.py": "memory_limit_exceeded", "mixed/a.py": "runtime_error"}
    assert agreement == [(2, 1.0, 1.0)]


def test_an_accepted_program_with_fewer_points_is_a_partial_one(tmp_path):
    files = {"accepted/a.py": "print(7)", "partially_accepted/b.py": "print(3)"}
    root = package(tmp_path / "c" / "p", files | {"partially_accepted/c.py": "print(7)"})
    (root / "problem.yaml").write_text("limits: {time_limit: 5}\ntype: scoring\nvalidation: custom score\n")
    (root / "output_validators" / "v").mkdir(parents=True)
    (root / "output_validators" / "v" / "v.py").write_text(
        "import sys\nopen(sys.argv[3] + 'score.txt', 'w').write(input())\nsys.exit(42)\n"
    )
    verdicts, agreement = judged(tmp_path)
    assert set(verdicts.values()) == {"accepted"}
    assert agreement == [(3, 2 / 3, 2 / 3)]
