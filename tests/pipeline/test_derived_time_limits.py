"""Time limits that follow from the accepted submissions of a package."""

from __future__ import annotations

import json

import pytest

from pipeline.adapters import ReadProblem, Refused, find
from pipeline.ingest.ingestion import ingest
from pipeline.labelling.labeller import SubmissionBuilder, label
from pipeline.labelling.time_limits import limit_s
from pipeline.store.sql import connect, query
from pipeline.store.store import Store
from sandbox import Pool

SPIN = "import time\nend = time.process_time() + {}\nwhile time.process_time() < end:\n    pass\nprint(8)\n"


def package(root, yaml="", **files):
    given = {
        "problem.yaml": f"name: Wait\n{yaml}",
        "problem_statement/problem.en.md": "Wait.",
        "data/secret/1.in": "4\n",
        "data/secret/1.ans": "8\n",
        **{name.replace("__", "/"): text for name, text in files.items()},
    }
    for name, text in given.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def problem_of(root):
    adapter = find("kattis")
    (file,) = adapter.files(str(root), None)
    return next(iter(adapter.read(file)))


RULES = {
    "": {"factor": 5, "resolution_s": 1},
    "limits: {time_multiplier: 3, time_safety_margin: 2}": {"factor": 3, "resolution_s": 1},
    "problem_format_version: 2023-07-draft": {"factor": 2, "resolution_s": 1},
    "problem_format_version: 2025-09\n"
    "limits: {time_multipliers: {ac_to_time_limit: 1.5}, time_resolution: 0.5}": {
        "factor": 1.5,
        "resolution_s": 0.5,
    },
}


@pytest.mark.parametrize("yaml", RULES)
def test_the_rule_of_each_version(tmp_path, yaml):
    row = problem_of(package(tmp_path / "c" / "wait", yaml)).row
    assert (row["time_limit_s"], json.loads(row["time_limit_rule"])) == (None, RULES[yaml])


def test_a_stated_limit_needs_no_rule(tmp_path):
    item = problem_of(package(tmp_path / "c" / "wait", **{".timelimit": "3\n"}))
    assert isinstance(item, ReadProblem)
    assert (item.row["time_limit_s"], item.row["time_limit_rule"]) == (3.0, None)


@pytest.mark.parametrize("value", ["0", "-1", ".inf", "fast"])
def test_a_rule_that_is_none_is_refused(tmp_path, value):
    item = problem_of(package(tmp_path / "c" / "wait", f"limits: {{time_multiplier: {value}}}"))
    assert isinstance(item, Refused) and "the time multiplier" in item.reason


@pytest.mark.parametrize(
    ("slowest_s", "factor", "resolution_s", "expected"),
    [(0.01, 5, 1, 1.0), (0.4, 5, 1, 2.0), (0.41, 5, 1, 3.0), (0.3, 2, 0.5, 1.0), (0.0, 2, 0.5, 0.5)],
)
def test_rounding(slowest_s, factor, resolution_s, expected):
    rule = json.dumps({"factor": factor, "resolution_s": resolution_s})
    assert limit_s(slowest_s, rule) == expected


def test_others_get_the_limit_that_follows(tmp_path):
    """Accepted ones take 0.3 s at most; twice that, rounded up to halves, is a limit of 1 s."""
    package(
        tmp_path / "c" / "wait",
        "problem_format_version: 2025-09\nlimits: {time_resolution: 0.5}",
        **{
            "submissions/accepted/a.py": SPIN.format(0.3),
            "submissions/accepted/b.py": "print(8)",
            "submissions/time_limit_exceeded/c.py": SPIN.format(2),
            "submissions/other/d.py": SPIN.format(0.6),
        },
    )
    store = Store(tmp_path / "store")
    ingest(store, "kattis", str(tmp_path / "c"))
    with Pool(1) as pool:
        assert label(store, pool).programs == 4
        assert label(store, pool).programs == 0
    with connect(store) as connection:
        actual = dict(query(connection, "select source_key, verdict from judged").iter_rows())
    assert actual == {
        "accepted/a.py": "accepted",
        "accepted/b.py": "accepted",
        "time_limit_exceeded/c.py": "time_limit_exceeded",
        "other/d.py": "accepted",
    }
    row = {"problem_id": "c/wait", "program": "", "language": "python3"}
    assert SubmissionBuilder(store, ["c/wait"]).submission(row, "").limits.time_s == 1.0


@pytest.mark.parametrize(
    ("version", "rules", "names"),
    [
        ("legacy", None, None),
        (
            "legacy",
            "accepted: {use_for_time_limit: false}\naccepted/a.py: {permitted: [AC]}",
            ["accepted/a.py", "wrong_answer/c.py"],
        ),
        # The folder still says that it is used.
        (
            "2025-09",
            "accepted/b.py: {use_for_time_limit: false}",
            ["accepted/a.py", "accepted/b.py", "wrong_answer/c.py"],
        ),
        ("2025-09", None, ["accepted/a.py", "accepted/b.py", "wrong_answer/c.py"]),
        (
            "2025-09",
            "accepted: {use_for_time_limit: false}\ntime_limit_exceeded/d.py: {use_for_time_limit: lower}",
            ["time_limit_exceeded/d.py", "wrong_answer/c.py"],
        ),
    ],
)
def test_the_submissions_that_set_the_limit(tmp_path, version, rules, names):
    files = (
        "accepted/a.py",
        "accepted/b.py",
        "wrong_answer/c.py",
        "time_limit_exceeded/d.py",
        "rejected/e.py",
    )
    given = {f"submissions/{name}": "print(8)" for name in files}
    given |= {"submissions/submissions.yaml": rules} if rules else {}
    root = package(tmp_path / "c" / "wait", f"problem_format_version: {version}", **given)
    assert json.loads(problem_of(root).row["time_limit_rule"]).get("submissions") == names


def test_a_slow_wrong_submission_sets_the_limit_too(tmp_path):
    """Version 2025-09: it takes 0.6 s on its second test, and twice that is a limit of 2 s."""
    package(
        tmp_path / "c" / "wait",
        "problem_format_version: 2025-09\n",
        **{
            "data/secret/2.in": "5\n",
            "data/secret/2.ans": "8\n",
            "submissions/accepted/a.py": "print(8)",
            "submissions/wrong_answer/b.py": "if input() == '4': print(7); exit()\n" + SPIN.format(0.6),
        },
    )
    store = Store(tmp_path / "store")
    ingest(store, "kattis", str(tmp_path / "c"))
    with Pool(1) as pool:
        label(store, pool)
    row = {"problem_id": "c/wait", "program": "", "language": "python3"}
    assert SubmissionBuilder(store, ["c/wait"]).submission(row, "").limits.time_s == 2.0
