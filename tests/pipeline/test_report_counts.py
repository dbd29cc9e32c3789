"""The report counts over parts of a store what the ready views say of all of it."""

from collections import Counter

import pytest

from pipeline.evaluation.report import agreement, duplicates, samples, verdicts
from pipeline.store import Store, connect, judged_of, query, view_of


@pytest.fixture(scope="module")
def connection(tmp_path_factory, small_store, rows):
    """The small store, and in it cut completions, points, samples of an evaluation, a row without a verdict
    and one with judge errors only.
    """
    store = Store(tmp_path_factory.mktemp("counts") / "store")
    for table in ("problems", "trajectories", "verdicts", "duplicates", "quarantine", "program_signatures"):
        store.append(table, small_store.read(table), producer="copy", sequence=0)
    names = ("cut", "points", "fewer", "errors", "none", "eval")
    claims = {"points": "accepted", "fewer": "partial", "cut": "accepted"}
    extra = [
        rows.trajectory(
            name,
            claimed_verdict=claims.get(name),
            finish_reason="length" if name == "cut" else None,
            policy_id="run@3" if name == "none" else f"policy-{index % 2}",
            run_id="run",
            batch_id="eval/1" if name == "eval" else "batch-1",
        )
        for index, name in enumerate(names)
    ]
    judged = [
        rows.verdict("cut", "accepted", score=9.0),
        rows.verdict("points", "accepted", score=3.0),
        rows.verdict("fewer", "accepted", score=2.0),
        rows.verdict(
            "errors", "judge_error", tests=[{"test_id": "1", "verdict": "judge_error", "detail": "lost"}]
        ),
        rows.verdict("errors", "judge_error", attempt=2),
        rows.verdict("eval", "language_unavailable"),
        rows.verdict("eval", "accepted", attempt=2),
        rows.verdict("nobody", "accepted"),
    ]
    store.append("trajectories", rows.frame("trajectories", extra), producer="t", sequence=0)
    store.append("verdicts", rows.frame("verdicts", judged), producer="t", sequence=0)
    with connect(store) as connection:
        yield connection


def counted(connection, sql, parameters=None):
    return Counter(map(repr, query(connection, sql, parameters).iter_rows()))


def test_counts_by_writer_are_those_of_the_query_that_the_page_shows(connection):
    shown = counted(connection, verdicts.BY_WRITER)
    assert counted(connection, verdicts.COUNTS) == shown
    assert sum(query(connection, verdicts.COUNTS)["trajectories"]) == 34


@pytest.mark.parametrize(
    "condition",
    ["true", "false", "claimed_verdict IS NOT NULL", "run_id = 'run'", "trajectory_id = 'ref-a04'"],
)
def test_a_part_of_judged_has_the_rows_of_the_view(connection, condition):
    expected = counted(connection, f"SELECT * FROM judged WHERE {condition}")
    assert counted(connection, f"SELECT * FROM {judged_of(condition)}") == expected


@pytest.mark.parametrize("name", ["problem_success", "problem_quality"])
def test_a_view_over_a_part_of_judged_is_right_of_that_part(connection, name):
    theirs = "problem_id = 'src/a'"
    for part in (view_of(name, theirs), view_of(name, theirs, theirs)):
        seen = counted(connection, f"SELECT * FROM {part} WHERE {theirs}")
        assert seen == counted(connection, f"SELECT * FROM {name} WHERE {theirs}") and seen


def test_current_duplicates_are_those_of_the_view(connection):
    expected = counted(connection, "SELECT * FROM clusters")
    assert counted(connection, f"SELECT * FROM {duplicates.CURRENT}") == expected


def test_the_largest_cluster_has_the_verdicts_and_writers_of_its_members(connection):
    (largest,) = duplicates.duplicates(connection).biggest
    assert [largest[name] for name in ("cluster_id", "members", "writers", "accepted", "judged")] == [
        "ref-a01", 2, 1, 2, 2
    ]  # fmt: skip
    assert largest["program"] and largest["origins"] == ["earlier_training"]


def test_agreement_of_each_source_is_that_of_the_view(connection):
    sums = ", ".join(f"sum({name})::BIGINT AS {name}" for name in agreement.SUMS)
    view = f"SELECT source, {sums} FROM claimed_agreement GROUP BY source"
    expected = {row["source"]: row for row in query(connection, view).to_dicts()}
    actual = agreement.by_source(query(connection, agreement.BY_KIND))
    assert {row["source"]: row for row in actual} == expected
    # h1, h4, cut and points agree, and fewer, which has fewer points, as claimed; h2 and h3 disagree.
    assert [expected["src"][name] for name in ("compared", "agreed")] == [7, 5]


def test_judge_errors_are_trajectories_that_have_nothing_else(connection):
    rows = query(connection, verdicts.JUDGE_ERRORS).select("trajectories", "attempts", "detail").rows()
    assert rows == [(2, 2, "lost")]


def test_a_language_that_became_available_is_not_missed(connection):
    assert query(connection, verdicts.UNAVAILABLE)["trajectories"].to_list() == [1]


def test_a_program_is_found_among_the_samples_of_a_policy(connection):
    wanted = {"problem": "src/a", "policies": ["policy-1"], "accepted": True}
    assert query(connection, samples.PROGRAM, wanted)["trajectory_id"].to_list() == ["eval"]
