"""A connection that only reads: attacks, everyday analysis, conditions in brackets, and files that cannot
be written.
"""

from __future__ import annotations

import importlib.util
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import polars as pl
import pytest

from pipeline.store import sql
from pipeline.store.sql_guard import check_query
from pipeline.store.store import Store


def neighbour(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


attacks = neighbour("sql_attacks")


@pytest.fixture(scope="module")
def connection(small_store):
    with sql.connect(small_store) as connection:
        yield connection


def test_no_attack_gets_through_and_none_of_them_writes(tmp_path):
    tries = list(attacks.tries(tmp_path))
    assert len(tries) >= 300
    assert [(breach, text) for text, breach in tries if breach] == []


def test_the_attacks_are_real(tmp_path):
    """Where nothing guards, they write, read and change: each road is shown once."""
    store, names = attacks.battlefield(tmp_path)
    with sql.connect(store, read_only=False) as connection:
        for text in (
            "with x as (copy (select 1) to '{outside}/cte.csv') from x",
            "explain analyze copy (select 42 as a) to '{file}' (format parquet, use_tmp_file false)",
        ):
            before = attacks.contents(tmp_path)
            connection.execute(attacks.texts(text, names)[0]).fetchall()
            assert attacks.contents(tmp_path) != before
        assert "secret,words" in str(attacks.run(connection, f"from read_text('{names['secret']}')"))


# In the small store: 6 trajectories of people, 19 of `ref`, 3 of `pol`; 3 problems, 2 of them of source src.
ANALYSES = {
    "select count(*) from trajectories": [(28,)],
    "select count(*) from trajectories;": [(28,)],
    "-- how many?\nselect count(*) /* of all */ from trajectories": [(28,)],
    "from problems select problem_id order by all limit 1": [("oth/c",)],
    "(select 1)": [(1,)],
    "values (1, 'a'), (2, 'b')": [(1, "a"), (2, "b")],
    "select 'copy; drop table x -- no' as text": [("copy; drop table x -- no",)],
    "select $$it's$$ || E'\\t'": [("it's\t",)],
    'select 1 as "copy", 2 as "insert"': [(1, 2)],
    "with x as (select 1 as a), y as (from x) select a + 1 from y": [(2,)],
    "with recursive r(n) as (select 1 union all select n + 1 from r where n < 5) select sum(n) from r": [
        (15,)
    ],
    "select origin, count(*) from trajectories group by all order by all": [
        ("earlier_training", 19),
        ("human", 6),
        ("online", 3),
    ],
    "select origin from trajectories group by origin having count(*) > 10": [("earlier_training",)],
    "select source, list(problem_id order by problem_id) from problems group by all order by all": [
        ("oth", ["oth/c"]),
        ("src", ["src/a", "src/b"]),
    ],
    "select count(*) from judged j semi join problems p on p.problem_id = j.problem_id"
    " and p.source = 'oth'": [(4,)],
    "select problem_id from problems"
    " where problem_id not in (select problem_id from judged where verdict = 'accepted')"
    " order by all": [("src/b",)],
    "select trajectory_id from judged where origin = 'human'"
    " qualify row_number() over (order by trajectory_id) = 2": [("h2",)],
    "select max(rank) from"
    " (select rank() over (partition by problem_id order by trajectory_id) as rank from judged"
    " where policy_id = 'human')": [(2,)],
    "pivot (select origin, language from trajectories) on origin using count(*) order by all": [
        ("cpp", 0, 0, 1),
        ("python3", 19, 6, 2),
    ],
    "with t as (select origin, language from trajectories)"
    " from (pivot t on language using count(*)) order by all": [
        ("earlier_training", 0, 19),
        ("human", 0, 6),
        ("online", 1, 2),
    ],
    "pivot (select origin, language from trajectories)"
    " on origin in ('human', 'online') using count(*) order by all": [
        ("cpp", 0, 1),
        ("python3", 6, 2),
    ],
    "from (select origin, language from trajectories)"
    " pivot (count(*) for origin in ('human')) order by all": [
        ("cpp", 0),
        ("python3", 6),
    ],
    "unpivot (select 1 as a, 2 as b) on a, b": [("a", 1), ("b", 2)],
    "select count(*) from (unpivot (select passed, total from verdicts) on passed, total)": [(64,)],
    "select count(*) from trajectories tablesample reservoir(5 rows)": [(5,)],
    "select histogram(length(program)) from trajectories": [({8: 28},)],
    "select unnest([1, 2]) as i order by i desc": [(2,), (1,)],
    "from range(3) t(i) select sum(i)": [(3,)],
    "select list_transform([1, 2], lambda x: x * 2), [x + 1 for x in [1, 2]]": [([2, 4], [2, 3])],
    "select json_extract_string('{\"a\": 1}', '$.a')": [("1",)],
    "select count(*) from json_each('[1, 2, 3]')": [(3,)],
    "select regexp_extract('abc-12', '[0-9]+'), strftime(date '2025-01-02', '%Y')": [("12", "2025")],
    "select trajectory_id from trajectories where program like '%print%' and trajectory_id ilike 'H1'": [
        ("h1",)
    ],
    "select round(avg(reward_fraction(verdict, passed, total)), 4) from judged where trajectory_id = 'h3'": [
        (-0.75,)
    ],
    "select pass_at(4, 2, 1)": [(0.5,)],
    "select count(*) > 10 from information_schema.tables": [(True,)],
    "select column_name from (describe problems) limit 1": [("problem_id",)],
    "select count(*) from (show tables) where name = 'judged'": [(1,)],
    "select problem_id from problems union select 'x' except select 'src/a' order by all": [
        ("oth/c",),
        ("src/b",),
        ("x",),
    ],
    "select * exclude (b) replace (a + 1 as a) from (select 1 as a, 2 as b)": [(2,)],
    "select columns('^a') from (select 1 as a1, 2 as a2, 3 as b)": [(1, 2)],
    "select count(*) from judged where created_at between timestamptz '2024-12-31 00:00:00+00' and now()": [
        (26,)
    ],
    "select a.trajectory_id from judged a asof join judged b on a.problem_id = b.problem_id"
    " and a.trajectory_id > b.trajectory_id where a.trajectory_id = 'h2'": [("h2",)],
    "select random() between 0 and 1, uuid() is not null, setseed(0.5) is null": [(True, True, True)],
}


@pytest.mark.parametrize("text", ANALYSES)
def test_everyday_analysis_works(connection, text):
    assert sql.query(connection, text).rows() == ANALYSES[text]


@pytest.mark.parametrize(
    "text",
    [
        "explain select * from judged",
        "explain analyze select count(*) from judged",
        "explain (format json) from problems",
        "explain (select 1)",
        "EXPLAIN /* plan */ SELECT 1",
        "explain pivot (select origin from trajectories) on origin",
        "summarize problems",
        "describe judged",
        "show tables",
        "table problems",
        "from verdict_drift",
        "from claimed_agreement",
    ],
)
def test_plans_and_summaries_work(connection, text):
    assert sql.query(connection, text).height > 0


def test_every_worked_question_and_view_passes_the_guard():
    for question in sql.questions():
        check_query(question.sql)
    for view in sql.VIEWS:
        check_query(sql.text_of("views", view))


REFUSALS = {
    "with x as (copy (select 1) to 'f') from x": "open for reading only, and this holds COPY",
    "explain analyze drop view judged": "open for reading only, and DROP is not a query",
    "select 1; select 2": "one query at a time, and this holds 2 statements",
    "": "one query at a time, and this holds none",
    "from read_csv('x')": "the function read_csv may read files.*--read-write",
    "select nextval('s')": "the function nextval does more than look at rows",
    "select '\ud800'": "unpaired surrogates",
    "select 1\0": "NUL",
    f"select {'(select ' * 400}1{')' * 400}": "nested too deeply",
    "with x as (select 1 as a) pivot x on update": "holds UPDATE .a column of that name is to be quoted",
}


@pytest.mark.parametrize("text", REFUSALS, ids=ascii)
def test_a_refusal_says_why_in_one_line(connection, text):
    with pytest.raises(sql.SqlError, match=REFUSALS[text]) as caught:
        sql.query(connection, text)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "condition",
    [
        "true",
        "(origin = 'human') or (verdict = 'accepted')",
        "j.program like '%)%' -- a comment",
        "/* before */ origin = $$)$$",
        "problem_id in (select problem_id from problems order by md5(problem_id) limit 2)",
        "case when passed > 1 then true else false end",
        "list_contains(['train', 'valid'], split)",
        "origin in ('human', 'online') and not starts_with(program, ';')",
    ],
)
def test_a_condition_comes_back_in_brackets(connection, condition):
    bracketed = sql.predicate(condition)
    single = sql.query(connection, f"select count(*) from judged j where {bracketed}").item()
    none = sql.query(connection, f"select count(*) from judged j where false and {bracketed}").item()
    every = sql.query(connection, f"select count(*) from judged j where true or {bracketed}").item()
    assert (none, every) == (0, 26)
    assert single == connection.execute(f"select count(*) from judged j where {condition}\n").fetchone()[0]


def test_values_of_a_condition_are_parameters(connection):
    name = 'it\'s "quoted" $x ; -- '
    bracketed = sql.predicate("origin = $origin or policy_id = $policy", {"origin": "human", "policy": name})
    actual = sql.query(
        connection, f"select count(*) from judged where {bracketed}", {"origin": "human", "policy": name}
    )
    assert actual.item() == 6
    with pytest.raises(sql.SqlError, match=r"source a: no value for the parameter \$origin"):
        sql.predicate("origin = $origin", name="source a")
    with pytest.raises(sql.SqlError, match=r"the parameter \$b is not in the condition"):
        sql.predicate("origin = $a", {"a": 1, "b": 2})


def test_files_of_the_store_cannot_be_written_behind_the_guard(tmp_path, fill_store):
    store = fill_store(Store(tmp_path / "store"))
    file = store.snapshot("problems").files[0]
    before = Path(file).read_bytes()
    with sql.connect(store) as connection:
        for target in (
            file,
            f"store://{file}",
            str(tmp_path / "new.parquet"),
            f"store://{tmp_path}/new.parquet",
        ):
            with pytest.raises(duckdb.Error):
                connection.execute(
                    f"copy (select 42 as a) to '{target}' (format parquet, use_tmp_file false)"
                )
        with pytest.raises(duckdb.Error, match="reading only"):
            connection.execute(f"copy (select 42 as a) to 'store://{file}' (format csv, use_tmp_file false)")
        assert sql.query(connection, "select count(*) from problems").item() == 3
    assert Path(file).read_bytes() == before and not (tmp_path / "new.parquet").exists()


@pytest.mark.parametrize("name", ["it's", "ü ö", "p_origin=x"])
def test_a_store_s_folder_may_have_any_name(tmp_path, rows, name):
    store = Store(tmp_path / name)
    store.append("problems", rows.frame("problems", [rows.problem("src/a")]), producer="p", sequence=0)
    with sql.connect(store) as connection:
        assert sql.query(connection, "select problem_id from problems").rows() == [("src/a",)]


def test_many_threads_read_one_connection_s_files(tmp_path, rows):
    store = Store(tmp_path / "store")
    programs = [f"print({number})" for number in range(60_000)]
    made = [rows.trajectory(f"t{number:06}", program=text) for number, text in enumerate(programs)]
    for part in range(3):
        frame = rows.frame("trajectories", made[part::3])
        store.append("trajectories", frame, producer="p", sequence=part)
    with sql.connect(store, threads=4) as connection:
        cursors = [connection.cursor() for _ in range(4)]
        with ThreadPoolExecutor(4) as threads:
            text = "select program from trajectories order by trajectory_id"
            actual = list(threads.map(lambda cursor: cursor.sql(text).pl()["program"].to_list(), cursors))
    assert all(one == programs for one in actual)


def test_what_does_not_fit_into_memory_is_put_aside_and_cleared(tmp_path, rows, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    store = Store(tmp_path / "store")
    store.append("problems", rows.frame("problems", [rows.problem("src/a")]), producer="p", sequence=0)
    with sql.connect(store) as connection:
        spill = Path(connection.execute("select current_setting('temp_directory')").fetchone()[0])
        assert spill.parent.parent.parent == tmp_path and spill.parent.stat().st_mode & 0o777 == 0o700
        with pytest.raises(duckdb.Error, match="configuration has been locked"):
            connection.execute("set memory_limit = '50MB'")
    assert not spill.exists()


def test_reading_a_file_that_maintenance_deleted_names_it(tmp_path, fill_store):
    store = fill_store(Store(tmp_path / "store"))
    with sql.connect(store) as connection:
        gone = Path(store.snapshot("problems").files[0])
        gone.unlink()
        with pytest.raises(sql.SqlError, match=gone.name) as caught:
            sql.query(connection, "from problems")
    assert "\n" not in str(caught.value) and "Traceback" not in str(caught.value)


def test_a_frame_of_ours_can_still_be_asked(connection):
    wanted = pl.DataFrame({"trajectory_id": ["h1", "h2"]}).to_arrow()
    connection.register("chosen", wanted)
    try:
        actual = sql.query(connection, "select count(*) from judged semi join chosen using (trajectory_id)")
    finally:
        connection.unregister("chosen")
    assert actual.item() == 2
