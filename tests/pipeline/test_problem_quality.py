"""What known right and known wrong programs say of a problem's tests, on a store whose answers were worked
out by hand.
"""

import pytest

from pipeline.store import sql
from pipeline.store.store import Store

# Per problem: the programs' claim and verdict, in short; its row's columns; the expected figures and flag.
SHORT = {
    "+": "accepted",
    "-": "wrong_answer",
    "t": "time_limit_exceeded",
    "r": "rejected",
    "e": "runtime_error",
    "j": "judge_error",
    "l": "language_unavailable",
}
CASES = {
    "good": ("++ ++ -- re tt", {}, (2, 1.0, 2, 1.0, None)),
    "unknown": ("", {}, (0, None, 0, None, None)),
    "no labels": ("+j +l -j", {}, (0, None, 0, None, None)),
    "empty": ("", {"test_count": 0}, (0, None, 0, None, "no tests")),
    "judgeless": ("", {"checker": "custom"}, (0, None, 0, None, "no checker")),
    "broken": ("+- --", {}, (1, 0.0, 1, 1.0, "right programs fail")),
    "mostly broken": ("+e +e ++", {}, (3, 1 / 3, 0, None, "right programs fail")),
    "one of two": ("+- ++", {}, (2, 0.5, 0, None, None)),
    "many answers": ("+- +- ++ ++ ++", {}, (5, 0.6, 0, None, "several answers")),
    "tight": ("+t ++ ++ ++", {}, (4, 0.75, 0, None, "limit too tight")),
    "a slow one": ("+t ++ ++ ++ ++", {}, (5, 0.8, 0, None, None)),
    "weak": ("++ -+ r+ r-", {}, (1, 1.0, 3, 1 / 3, "wrong programs pass")),
    "time-outs": ("++ t+ t+", {}, (1, 1.0, 0, None, None)),
}


@pytest.fixture(scope="module")
def quality(rows, tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("quality") / "store")
    problems, trajectories, verdicts = [], [], []
    for name, (programs, columns, _) in CASES.items():
        problem_id = f"src/{name}"
        problems.append(rows.problem(problem_id, **columns))
        for number, (claim, verdict) in enumerate(programs.split()):
            trajectory_id = f"{name} {number}"
            trajectories.append(rows.trajectory(trajectory_id, problem_id, claimed_verdict=SHORT[claim]))
            verdicts.append(rows.verdict(trajectory_id, SHORT[verdict], problem_id))
    for table, table_rows in (("problems", problems), ("trajectories", trajectories), ("verdicts", verdicts)):
        store.append(table, rows.frame(table, table_rows), producer="fixture", sequence=1)
    with sql.connect(store) as connection:
        columns = "problem_id, known_right, right_passed, known_wrong, wrong_failed, flag"
        actual = {
            row[0].removeprefix("src/"): row[1:]
            for row in sql.query(connection, f"SELECT {columns} FROM problem_quality").rows()
        }
        retained = sql.query(
            connection, "FROM judged SEMI JOIN (FROM problem_quality WHERE flag IS NULL) USING (problem_id)"
        )
    return actual, set(retained["problem_id"])


@pytest.mark.parametrize("name", CASES)
def test_figures_and_flag(quality, name):
    expected = CASES[name][2]
    assert quality[0][name] == tuple(
        pytest.approx(value) if isinstance(value, float) else value for value in expected
    )


def test_a_corpus_can_filter_on_it(quality):
    assert quality[1] == {"src/good", "src/no labels", "src/one of two", "src/a slow one", "src/time-outs"}
