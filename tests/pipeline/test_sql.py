"""Tables as views, the ready views and the saved questions, on a store whose answers were worked out by
hand.
"""

import re
from datetime import timedelta

import polars as pl
import pytest

from pipeline.store import sql
from pipeline.store.store import Store
from pipeline.store.tables import TABLES


@pytest.fixture(scope="module")
def connection(small_store):
    with sql.connect(small_store) as connection:
        yield connection


def test_tables_hold_every_row_once_and_no_partition_copy(small_store, connection):
    for name, table in TABLES.items():
        rows = sql.query(connection, f"FROM {name}")
        assert rows.columns == table.schema.column_names()
        assert rows.sort(table.key).equals(small_store.read(name).sort(table.key))


def test_types_of_filled_and_empty_tables_are_those_of_the_contract(small_store, connection, tmp_path):
    with sql.connect(Store(tmp_path / "empty")) as empty:
        for name, table in TABLES.items():
            expected = table.schema.create_empty().schema
            assert sql.query(connection, f"FROM {name} LIMIT 0").schema == expected
            assert sql.query(empty, f"FROM {name}").schema == expected
        for view in sql.VIEWS:
            assert sql.query(empty, f"FROM {view}").is_empty()


def test_a_compaction_and_an_append_do_not_change_an_open_connection(tmp_path, rows, fill_store):
    store = fill_store(Store(tmp_path / "store"))
    with sql.connect(store) as before:
        pins = store.pins()
        store.maintain("trajectories")
        store.append(
            "trajectories", rows.frame("trajectories", [rows.trajectory("new")]), producer="late", sequence=1
        )
        count = "SELECT count(*) AS n, count(DISTINCT trajectory_id) AS d FROM trajectories"
        assert sql.query(before, count).row(0) == (28, 28)
        with sql.connect(store) as after, sql.connect(store, pins) as pinned:
            assert sql.query(after, count).row(0) == (29, 29)
            assert sql.query(pinned, count).row(0) == (28, 28)


def test_judged_takes_the_verdict_that_holds(connection):
    got = sql.query(
        connection, "SELECT trajectory_id, verdict, judge_version, attempt, reward_binary FROM judged"
    )
    by_id = {row[0]: row[1:] for row in got.iter_rows()}
    assert (
        len(by_id) == got.height == 6 + 18 + 2
    )  # of ref, ref-b5 has a judge error only; of pol, o3 has nothing
    assert by_id["h1"] == ("accepted", "judge-2", 1, 0.0)  # judged again by a newer judge
    assert by_id["h2"] == ("accepted", "judge-1", 1, 0.0)  # the newer verdict is on tests that are gone
    assert by_id["ref-a03"] == ("wrong_answer", "judge-1", 2, -1.0)  # attempt 1 was a judge error
    assert by_id["ref-a04"] == ("wrong_answer", "judge-2", 1, -1.0)  # the older judge came back later
    assert by_id["ref-b6"] == ("language_unavailable", "judge-1", 1, None)


def test_judged_has_the_trajectory_and_its_problem(connection):
    row = sql.query(connection, "FROM judged WHERE trajectory_id = 'h3'").row(0, named=True)
    wanted = {
        "source": "src",
        "split": "train",
        "program": "print(1)",
        "passed": 1,
        "total": 4,
        "problem_id": "src/b",
    }
    assert {name: row[name] for name in wanted} == wanted


def test_problem_success(connection):
    got = sql.query(
        connection, "SELECT problem_id, policy_id, samples, successes, rate FROM problem_success"
    ).sort(pl.all())
    assert got.rows() == [
        ("oth/c", "human", 2, 1, 0.5),
        ("oth/c", "pol", 2, 0, 0.0),
        ("src/a", "human", 2, 2, 1.0),
        ("src/a", "ref", 13, 3, 3 / 13),
        ("src/b", "human", 2, 0, 0.0),
        ("src/b", "ref", 4, 0, 0.0),
    ]


def test_pass_at_k_of_all_judged_samples(connection):
    columns = "policy_id, origin, k, problems, left_out, pass_at_k, standard_error"
    got = sql.query(connection, f"SELECT {columns} FROM pass_at_k_of_samples").sort("policy_id", "k")
    # ref at k = 10: 10 of 13 samples are wrong, so one of the C(13, 10) = 286 draws has no right one.
    assert got.select("policy_id", "origin", "k", "problems", "left_out").rows() == [
        ("human", "human", 1, 3, 0),
        ("pol", "online", 1, 1, 0),
        ("ref", "earlier_training", 1, 2, 0),
        ("ref", "earlier_training", 10, 1, 1),
    ]
    assert got["pass_at_k"].to_list() == pytest.approx([0.5, 0.0, 1.5 / 13, 1 - 1 / 286])
    # human: 1/2, 1, 0 have sample deviation 1/2; ref: 3/13 and 0 have 3/13/sqrt(2).
    assert got["standard_error"].to_list() == [
        pytest.approx(0.5 / 3**0.5),
        None,
        pytest.approx(1.5 / 13),
        None,
    ]


def test_reference_counts_take_only_samples_of_the_policy_itself(connection):
    got = sql.query(
        connection, "SELECT policy_id, problem_id, trials, successes, left_out FROM reference_counts"
    )
    assert got.filter(policy_id="ref").sort("problem_id").rows() == [
        ("ref", "src/a", 12, 2, 1),
        ("ref", "src/b", 4, 0, 0),
    ]
    assert got.filter(policy_id="pol").rows() == [("pol", "oth/c", 0, 0, 2)]


def test_duplicates_collapse_to_the_latest_pass(connection):
    assert sql.query(
        connection, "SELECT trajectory_id, cluster_size FROM representatives ORDER BY ALL"
    ).rows() == [
        ("ref-a02", 2),
        ("ref-a05", 1),
    ]
    retained = sql.query(connection, "SELECT trajectory_id, cluster_size FROM deduplicated")
    assert retained.height == 27 and "ref-a02" not in retained["trajectory_id"].to_list()
    assert retained.filter(trajectory_id="h1")["cluster_size"].to_list() == [None]


def test_verdict_drift(connection):
    got = sql.query(connection, "FROM verdict_drift").sort("trajectory_id")
    columns = [
        "trajectory_id",
        "from_version",
        "to_version",
        "from_verdict",
        "to_verdict",
        "changed",
        "reward_changed",
    ]
    assert got.select(columns).rows() == [
        ("h1", "judge-1", "judge-2", "wrong_answer", "accepted", True, True),
        ("ref-a04", "judge-1", "judge-2", "accepted", "wrong_answer", True, True),
    ]


def test_claimed_agreement(connection):
    got = sql.query(connection, "FROM claimed_agreement").sort("source")
    counts = [
        "source",
        "compared",
        "agreed",
        "accepted_both",
        "claimed_only",
        "judged_only",
        "accepted_neither",
    ]
    # src: h1 both, h2 only judged, h3 only claimed, h4 neither. oth: h5 both, h6 neither, but of another kind
    # than claimed.
    assert got.select(counts).rows() == [("oth", 2, 2, 1, 0, 0, 1), ("src", 4, 2, 1, 1, 1, 1)]
    assert got["agreement"].to_list() == [1.0, 0.5] and got["verdict_agreement"].to_list() == [0.5, 0.5]


def test_tokens_by_origin(connection):
    got = (
        sql.query(connection, "FROM tokens_by_origin").sort("origin").select(pl.exclude("mean_token_logprob"))
    )
    assert got.rows() == [
        ("earlier_training", None, 19, 19 * 8, 0, 0, 0, 0),
        ("human", "ref-1", 6, 6 * 8, 0, 1, 3, 2),
        ("online", None, 3, 3 * 8, 5, 0, 0, 0),
    ]


def test_lineage_leads_to_file_and_line(connection, rows):
    wanted = (
        "SELECT in_table, source_file, source_line, adapter, source_sha256, ingested_at"
        " FROM lineage WHERE row_id = $id"
    )
    assert sql.query(connection, wanted, {"id": "h1"}).rows() == [
        ("trajectories", "human.jsonl", 7, "bundle", "ab", rows.day)
    ]
    assert sql.query(connection, wanted, {"id": "o1"}).rows() == [
        ("trajectories", "human.jsonl", 7, None, None, None)
    ]
    assert sql.query(connection, "SELECT count(*) FROM lineage").item() == 28 + 3 + 2


def test_ingestion_is_balanced_and_refusals_are_counted(connection):
    columns = '"read", accepted, present, quarantined, balanced, seconds'
    assert sql.query(connection, f"SELECT {columns} FROM ingested").rows() == [(9, 6, 1, 2, True, 3.0)]
    assert sql.query(
        connection, "SELECT field, reason, refused, first_line, example FROM quarantine_reasons"
    ).rows() == [("code", "no program", 2, 5, "q5")]


def test_current_tests_are_those_the_problem_came_with(connection):
    assert sql.query(connection, "SELECT problem_id, test_id FROM current_tests").rows() == [
        ("src/a", "first"),
        ("src/a", "second"),
    ]


ANSWERS = {
    "contents": [("earlier_training", 19, 2, 18, 3), ("human", 6, 3, 6, 3), ("online", 3, 1, 2, 0)],
    "never_solved": [("src/b", "src", 6, 2)],
    "only_humans_solve": [("oth/c", "oth", 1, 2)],
    "best_policies": [
        ("human", "human", 0.5, 3, None, None),
        ("ref", "earlier_training", 1.5 / 13, 2, 1 - 1 / 286, 1),
        ("pol", "online", 0.0, 1, None, None),
    ],
    "soft_value_at_the_floor": [("ref", 2, 1, 8.0, 2 / 16)],
    "wrong_claims": [("src", 4, 0.5, 1, 1), ("oth", 2, 1.0, 0, 0)],
    "suspicious_tests": [("src/b", "src", 1, "wrong_answer")],
    "repetition": [("earlier_training", "ref", 3, 2, 1 / 3)],
    "same_program_other_verdict": [("src/a", "x", 2, ["time_limit_exceeded", "wrong_answer"])],
    "still_to_judge": [
        ("earlier_training", "python3", "judge error", 1, 1),
        ("online", "cpp", "not judged", 1, None),
    ],
    "judge_changes": [("judge-1", "judge-2", 2, 2, 2)],
    "refused": [("bundle", "code", "no program", 2, 5, "q5")],
    "learning_by_step": [("run-1", 10, 1, 0.0), ("run-1", 20, 1, 0.0)],
    "time_limits": [("python3", 1, 0, 0.9, 0.9)],
    "time_limits_by_problem": [("oth/c", None, 1, 0, 0.5, 1.0, None)],
    "close_to_the_limit": [("h1", "src/a", 1.0, 0.9)],
}


@pytest.mark.parametrize("name", ANSWERS)
def test_question(connection, name):
    got = sql.query(connection, f"@{name}").rows()
    assert len(got) == len(ANSWERS[name])
    for row, expected in zip(got, ANSWERS[name], strict=True):
        assert list(row) == [
            pytest.approx(value) if isinstance(value, float) else value for value in expected
        ]


def test_questions_about_shares_and_single_rows(connection):
    shares = sql.query(connection, "@verdicts_by_origin")
    assert shares.row(0) == ("earlier_training", "wrong_answer", 13, 13 / 18)
    assert shares.group_by("origin").agg(pl.col("share").sum())["share"].to_list() == pytest.approx([1.0] * 3)
    assert sql.query(connection, "@where_from", {"row_id": "q5"}).row(0)[:4] == (
        "quarantine",
        "q5",
        "human.jsonl",
        5,
    )


def test_every_question_is_asked_here_and_explains_itself():
    names = {question.name for question in sql.questions()}
    # Asked in test_decontaminate.py and in test_evaluation.py.
    others = {"verdicts_by_origin", "where_from", "leaks", "same_problem_elsewhere", "compare_policies"}
    assert names == {*ANSWERS, *others} and len(names) >= 12
    assert [question.name for question in sql.questions()] == sorted(names)
    for question in sql.questions():
        assert "?" in question.title and len(question.explanation.splitlines()) >= 3


def test_every_view_is_explained():
    for name in sql.VIEWS:
        assert len(sql.leading_comment(sql.text_of("views", name))) >= 1
    assert {path.stem for path in (sql.HERE / "views").glob("*.sql")} == set(sql.VIEWS)


WRONG = {
    "SELECT verdict FROM labels": "Table with name labels does not exist!"
    " There are: .*, judged, .*, verdicts",
    "SELECT program FROM trajectory": 'Table with name trajectory does not exist.*"trajectories"',
    "SELECT programm FROM trajectories": 'column "programm" not found.*"program"',
    "SELEC 1": "syntax error",
    "SELECT reward_best(verdict, passed, total) FROM judged": "reward_best does not exist",
    "SELECT $a": "a value for .a: --parameter a=VALUE",
    "@nothing": "no question @nothing; there are: @best_policies",
    "@../views/judged": "no question",
}


@pytest.mark.parametrize("text", WRONG)
def test_a_wrong_query_gives_one_clear_line(connection, text):
    with pytest.raises(sql.SqlError, match=WRONG[text]) as caught:
        sql.query(connection, text)
    assert "\n" not in str(caught.value)


def test_read_only_touches_no_file(small_store, connection, tmp_path):
    stored = small_store.snapshot("problems").files[0]
    (tmp_path / "secret.csv").write_text("a\n1\n")
    for text in (
        f"COPY (SELECT 1 AS a) TO '{tmp_path}/out.csv'",
        f"COPY (SELECT 1 AS a) TO '{stored}' (FORMAT parquet, USE_TMP_FILE false)",
        f"SELECT 1; COPY (SELECT 1 AS a) TO '{stored}' (FORMAT parquet, USE_TMP_FILE false)",
        f"FROM '{tmp_path}/secret.csv'",
        f"ATTACH '{tmp_path}/other.db'",
        "SET enable_external_access = true",
        "INSTALL httpfs",
    ):
        with pytest.raises(sql.SqlError):
            sql.query(connection, text)
    assert [path.name for path in tmp_path.iterdir()] == ["secret.csv"]
    assert sql.query(connection, "SELECT count(*) FROM problems").item() == 3


def test_where_writing_is_asked_for_it_works(small_store, tmp_path):
    with sql.connect(small_store, read_only=False) as connection:
        sql.query(connection, f"COPY (SELECT problem_id FROM problems) TO '{tmp_path}/out.parquet'")
        assert (
            sql.query(connection, "CREATE TABLE mine AS FROM problems; SELECT count(*) FROM mine").item() == 3
        )
    assert pl.read_parquet(tmp_path / "out.parquet").height == 3


def test_no_variable_of_the_program_is_taken_for_a_table(connection):
    secret = pl.DataFrame({"a": [1]})
    with pytest.raises(sql.SqlError, match="secret does not exist"):
        sql.query(connection, "FROM secret")
    assert secret.height == 1


def test_no_extension_is_loaded_beyond_those_built_in(small_store):
    with sql.connect(small_store, read_only=False) as connection:
        sql.query(connection, "FROM judged")
        loaded = sql.query(connection, "SELECT extension_name FROM duckdb_extensions() WHERE loaded")[
            "extension_name"
        ]
    assert set(loaded) <= {"core_functions", "icu", "json", "parquet"}


def test_tables_behind_a_query(connection):
    behind = sql.tables_behind(
        "WITH q AS (FROM reference_counts) SELECT * FROM q JOIN deduplicated USING (problem_id)"
    )
    assert behind == ["duplicates", "problems", "program_signatures", "trajectories", "verdicts"]
    for text in ("SELECT 1; SELECT 2", "DELETE FROM problems", "SELEC"):
        with pytest.raises(sql.SqlError, match="not one SELECT"):
            sql.tables_behind(text)


def test_times_are_utc(connection, rows):
    got = sql.query(connection, "SELECT started_at, finished_at FROM batches").row(0)
    assert got == (rows.day, rows.day + timedelta(seconds=3))
    assert re.search(r"UTC", str(sql.query(connection, "SELECT now() AS t").schema["t"]))


def test_a_question_without_its_parameter_says_which(connection):
    with pytest.raises(
        sql.SqlError, match=r"@where_from needs a value for \$row_id: --parameter row_id=VALUE"
    ):
        sql.query(connection, "@where_from")
    with pytest.raises(sql.SqlError, match=r"the query needs a value for \$a, \$b"):
        sql.query(connection, "SELECT $a, '$c', $b")


def test_hints_that_lead_nowhere_are_not_given(connection):
    with pytest.raises(sql.SqlError, match="spatial extension") as caught:
        sql.query(connection, "SELECT st_point(1, 2)")
    assert "INSTALL" not in str(caught.value)


@pytest.mark.parametrize(
    "query",
    [
        "PIVOT trajectories ON origin USING count(*) GROUP BY problem_id",
        "SELECT * FROM (PIVOT trajectories ON origin USING count(*) GROUP BY problem_id)",
    ],
)
def test_pivot(connection, query):
    assert {"human", "online"} <= set(sql.query(connection, query).columns)
