"""The same problem in several sources: ties by hand, marks that do not hang on the order of arrival, real
overlaps.
"""

import gzip
import json
import os
import random
from pathlib import Path

import polars as pl
import pytest

from pipeline.dedup.same_problems import current, identity_of, mark_same_problems
from pipeline.store.store import Store

DATA = Path(os.environ.get("SPO_DATA", Path(__file__).parents[2] / "../shared/data"))
needs_bundle = pytest.mark.skipif(not DATA.is_dir(), reason="the contest bundle is not here; set SPO_DATA")

CAMELS = (
    "Bob likes to draw camels: with a single hump, two humps, three humps, etc. He draws a camel by"
    " connecting points on a coordinate plane. Now he's drawing camels with t humps, representing them"
    " as polylines in the plane. Each polyline consists of n vertices with coordinates. Count the number"
    " of different ways he can draw a camel for a given n and t."
)
ROADS = (
    "The map of the town can be represented as a set of n intersections, numbered from one to n and connected"
    " by m one-way roads. It is possible to move along the roads from any intersection to any other"
    " intersection. Print the two numbers."
)
# Other words for the same thing, with some sentences left: too unlike for the statement alone.
CAMELS_RETOLD = (
    "He draws a camel by connecting points on a coordinate plane. Each polyline consists of n vertices with"
    " coordinates. How many drawings are there? In Berland every child knows the answer since nobody there"
    " has ever seen any other animal at all."
)


def problem(problem_id, statement, title="", tests=()):
    row = {
        "problem_id": problem_id,
        "source": problem_id.split("/")[0],
        "split": "train",
        "title": title,
        "statement": statement,
        "input_mode": "stdin",
        "checker": "tokens",
        "case_sensitive": False,
        "tags": [],
        "test_set_hash": "h",
        "test_count": len(tests),
        "batch_id": "b",
        "source_file": "f",
        "source_line": 1,
    }
    return row, [
        {
            "problem_id": problem_id,
            "test_id": f"t{number}",
            "position": number,
            "kind": "public",
            "mode": "stdin",
            "input": given,
            "expected_output": expected,
            "batch_id": "b",
        }
        for number, (given, expected) in enumerate(tests)
    ]


def add(store, *problems):
    tests = [test for _, tests in problems for test in tests]
    if tests:
        store.append_next("tests", pl.DataFrame(tests), producer="test")
    types = {"title": pl.String, "tags": pl.List(pl.String)}
    store.append_next(
        "problems", pl.DataFrame([row for row, _ in problems], schema_overrides=types), producer="test"
    )


def state(store):
    columns = ["problem_id", "cluster_id", "tie", "identity", "cluster_size"]
    return current(store).select(columns).sort("problem_id").rows()


IDENTITIES = [
    (
        "codecontests/codeforces/1041_E. Tree Reconstruction",
        "1041_E. Tree Reconstruction",
        "codeforces/1041/E",
    ),
    ("codecontests/1041_e_tree_reconstruction_8858", "1041_E. Tree Reconstruction", "codeforces/1041/E"),
    ("codecontests/1041_f1_tree_8858", "", "codeforces/1041/F1"),
    ("lcb/1873_A", "A. Short Sort", "codeforces/1873/A"),
    ("taco/codeforces/1041_E/0a1b2c3d", "", "codeforces/1041/E"),
    ("apps/test/3", "https://codeforces.com/problemset/problem/1041/E", "codeforces/1041/E"),
    ("apps/train/3", "https://codeforces.com/contest/1041/problem/e", "codeforces/1041/E"),
    ("codeforces/852/A", "Digits", "codeforces/852/A"),
    ("lcb/abc320_b", "Longest Palindrome", "atcoder/abc320_b"),
    ("apps/train/4", "https://atcoder.jp/contests/abc320/tasks/abc320_b", "atcoder/abc320_b"),
    ("lcb/2727", "number-of-senior-citizens", "leetcode/number-of-senior-citizens"),
    ("leetcode/number-of-senior-citizens", "", "leetcode/number-of-senior-citizens"),
    ("apps/train/5", "https://leetcode.com/problems/two-sum/", "leetcode/two-sum"),
    ("apps/train/6", "https://www.codechef.com/problems/ABC", "codechef/abc"),
    ("apps/train/7", "https://www.codewars.com/kata/5a1b", "codewars/5a1b"),
    ("mbpp/17", "", "mbpp/17"),
    ("mbpp-typed/17", "", "mbpp/17"),
    ("humaneval/0", "", "humaneval/0"),
    ("kth2014/absurdistan2", "Absurdistan Roads II", None),
    ("apps/4724", "4724", None),
]


@pytest.mark.parametrize(("problem_id", "title", "expected"), IDENTITIES)
def test_names_that_sites_give(problem_id, title, expected):
    assert identity_of(problem_id, title) == expected


PUBLIC = [
    ("5 3\n1 2 3 4 5\n", "7"),
    ("4 4\n10 20 30 40\n", "0"),
    ("100 2\n7 7 7 7 7 7 7 8 8 8 8 8 8 8 8 8\n", "12"),
    ("8 1\n31 41 59 26\n", "9"),
]


def by_hand():
    """Six groups, of which the last two are none."""
    return [
        problem("codecontests/14_e_camels_3676", CAMELS),
        problem("apps/1", CAMELS.replace("t humps", "$t$ humps (t > 1)")),
        problem("taco/codeforces/14_E/00000000", "Nothing like the others, it was written again."),
        problem("other/tested", CAMELS_RETOLD, tests=PUBLIC),
        problem("another/tested", ROADS, tests=PUBLIC),
        problem(
            "third/tested",
            CAMELS_RETOLD.replace("Berland", "this country").replace("child", "old man"),
            tests=PUBLIC[1:],
        ),
        # Easy and hard versions read alike, and the site itself says they are two.
        problem("codeforces/852/A", ROADS),
        problem("codeforces/852/B", ROADS + " This version is hard."),
        problem("alone/1", "Add two numbers."),
        problem("alone/2", "Add two numbers of any size."),
    ]


def test_ties_by_hand(tmp_path):
    store = Store(tmp_path / "store")
    add(store, *by_hand())
    summary = mark_same_problems(store)
    clusters = {row[0]: (row[1], row[2], row[4]) for row in state(store)}
    assert clusters["codecontests/14_e_camels_3676"] == ("apps/1", "identity", 3)
    assert clusters["taco/codeforces/14_E/00000000"] == ("apps/1", "identity", 3)
    assert clusters["apps/1"] == ("apps/1", "statement", 3)
    assert clusters["other/tested"] == clusters["third/tested"] == ("other/tested", "tests", 2)
    # The tests of `other/tested`, but other words: those of two versions, to both of which it is tied, and
    # they only through it.
    assert clusters["another/tested"] == ("another/tested", "statement", 3)
    assert clusters["alone/1"] == ("alone/1", "unique", 1) and clusters["alone/2"] == ("alone/2", "unique", 1)
    assert (summary.problems, summary.clusters, summary.rows_changed) == (10, 3, 10)


def test_two_versions_of_one_site_stay_apart(tmp_path):
    store = Store(tmp_path / "store")
    add(store, *[one for one in by_hand() if one[0]["problem_id"] != "another/tested"])
    mark_same_problems(store)
    assert {row[0]: row[4] for row in state(store)}["codeforces/852/A"] == 1


def test_marks_do_not_hang_on_the_order_and_a_second_call_does_nothing(tmp_path):
    whole = Store(tmp_path / "whole")
    add(whole, *by_hand())
    mark_same_problems(whole)
    assert mark_same_problems(whole).rows_changed == 0
    for seed in (1, 2):
        store = Store(tmp_path / f"store-{seed}")
        shuffled = random.Random(seed).sample(by_hand(), 10)
        for begin in range(0, 10, 4):
            add(store, *shuffled[begin : begin + 4])
            mark_same_problems(store)
        assert state(store) == state(whole)
        assert store.read("problems").height == 10


@needs_bundle
def test_real_overlaps(tmp_path):
    with gzip.open(DATA / "problems.jsonl.gz", "rt") as lines:
        rows = [json.loads(line) for line in lines]
    wanted = (
        "codecontests",
        "xcodeeval",
        "apps",
        "mbpp",
        "mbpp-typed",
        "kth2014",
        "google-coding-competitions",
    )
    rows = [row for row in rows if row["source"] in wanted]
    store = Store(tmp_path / "store")
    cases = {
        row["problem_id"]: [
            (str(case.get("input") or ""), case.get("output")) for case in row["public_tests"]
        ]
        for row in rows
    }
    add(
        store,
        *[
            problem(row["problem_id"], row["statement"], row["title"] or "", cases[row["problem_id"]])
            for row in rows
        ],
    )
    mark_same_problems(store)
    clusters = {row[0]: row[1] for row in state(store)}
    assert clusters["xcodeeval/6d67559744583229455c5eafe68f7952"] == clusters["codecontests/14_e_camels_3676"]
    # Both divisions had it, and APPS once.
    assert (
        clusters["codecontests/815_b_karen_and_test_788"]
        == clusters["codecontests/816_d_karen_and_test_5164"]
        == "apps/2070"
    )
    assert clusters["mbpp-typed/234"] == clusters["mbpp/234"]
    # Titles agree, problems do not.
    both = [row["problem_id"] for row in rows if row["title"] in ("Even Digits", "Hex")]
    assert len({clusters[name] for name in both}) == 2 and len(both) == 5
    assert sum(row[4] == 1 for row in state(store)) > len(rows) - 880
