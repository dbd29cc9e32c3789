"""Windows, filters, counts, SQL and permalinks of the explorer agree with SQL on the store."""

from __future__ import annotations

import html
import io
import re
from contextlib import ExitStack
from datetime import UTC, datetime
from urllib.parse import quote

import polars as pl
import pytest
from starlette.testclient import TestClient

from flows.view import application, sorting
from flows.view.connections import Connections, rows
from flows.view.selection import Selection
from flows.view.versions import newest, resolve
from flows.view.window import window
from pipeline.store import SqlError, Store, connect, query


def test_a_query_is_answered_and_downloaded(place, client, visits):
    statement = quote("SELECT trajectory_id FROM trajectories ORDER BY ALL")
    wanted = [row["trajectory_id"] for row in place.trajectories]
    parquet = client.get(f"/download?q={statement}&format=parquet").content
    assert pl.read_parquet(io.BytesIO(parquet))["trajectory_id"].to_list() == wanted
    assert client.get(f"/download?q={statement}").text.split() == ["trajectory_id", *wanted]
    assert f'href="/trajectory?id={wanted[0]}' in visits.page(client, f"/sql?q={statement}")


def test_a_query_is_stopped_at_the_time_limit(place):
    pool, versions = Connections(str(place.folder / "store")), newest(place.store)
    slow = "SELECT count(*) FROM range(100000000000) a WHERE hash(a.range) = 1"
    with pytest.raises(SqlError, match=r"stopped after 0\.3 s"), pool.at(versions, 0.3) as connection:
        rows(connection, slow)


def policy(name: str) -> pl.DataFrame:
    empty = dict.fromkeys(("parent_id", "run_id", "step"))
    row = {"policy_id": name, "fingerprint": "f", "folder": "", "details": "{}"} | empty
    types = {"step": pl.Int64, "parent_id": pl.String, "run_id": pl.String}
    return pl.DataFrame([row | {"created_at": datetime(2026, 1, 1, tzinfo=UTC)}], schema_overrides=types)


def test_an_address_that_names_versions_is_not_taken_for_a_pin(tmp_path):
    store = Store(tmp_path / "store")
    for sequence in range(2):
        store.append("policies", policy(f"policy-{sequence}"), producer="test", sequence=sequence)
    for label in ("paper", "policies1"):
        store.pin(label, {"policies": 0})
    assert resolve(store, "policies1") == "policies1"
    assert "policies0" in resolve(store, "paper").split(".")


def test_a_permalink_shows_the_same_rows_after_an_append(place, client, visits):
    opened = client.get("/table/policies?columns=all")
    Store(place.folder / "store").append("policies", policy("later"), producer="test-view", sequence=0)
    assert "later" in visits.page(client, "/table/policies")
    assert client.get(str(opened.url)).text == opened.text


@pytest.mark.parametrize("at", ["problems99999", "nonsense", "problems1x"])
def test_versions_that_do_not_exist_are_refused(client, at):
    assert client.get(f"/?at={at}").status_code == 409


@pytest.mark.parametrize(
    "sort", ["", "claimed_verdict", "-claimed_verdict", "-created_at", "trajectory_id", "policy_step"]
)
def test_pages_show_every_row_once_in_the_order_asked_for(place, client, visits, sort):
    ids = visits.walk(client, f"/table/trajectories?rows=5&sort={sort}")
    column, direction = sort.removeprefix("-"), "DESC" if sort.startswith("-") else "ASC"
    order = f"ORDER BY {column} {direction} NULLS LAST, trajectory_id" if sort else ""
    with connect(place.store) as connection:
        wanted = query(connection, f"SELECT trajectory_id FROM trajectories {order}")
    assert ids == wanted["trajectory_id"].to_list()


def test_filters_search_and_counts_agree_with_sql(place, client, visits):
    chosen = "f=origin:eq:human&f=claimed_verdict:ne:accepted&q=print"
    with connect(place.store) as connection:
        wanted = query(
            connection,
            """SELECT count(*) AS n FROM trajectories
            WHERE origin = 'human' AND claimed_verdict <> 'accepted' AND program LIKE '%print%'""",
        )["n"][0]
    assert wanted > 0
    assert len(visits.walk(client, f"/table/trajectories?{chosen}")) == wanted
    assert f"<strong>{wanted}</strong>" in visits.page(client, f"/facets/trajectories?{chosen}&part=1")


@pytest.mark.parametrize("column", ["origin", "language", "claimed_verdict"])
def test_counts_of_a_column_are_those_of_its_values(place, client, visits, column):
    shown = visits.page(client, "/facets/trajectories?part=1")
    section = next(part for part in shown.split('<section class="facet">') if f"<h2>{column}</h2>" in part)
    counts = dict(re.findall(r'<li><a [^>]*>([^<]+)</a><span class="n">([\d,]+)<', section))
    with connect(place.store) as connection:
        frame = query(connection, f"SELECT {column}, count(*) AS n FROM trajectories GROUP BY 1")
    assert counts == {value or "null": str(n) for value, n in frame.iter_rows()}


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("/table/nothing", "no table or view"),
        ("/table/problems?sort=nothing", "cannot be sorted by"),
        ("/table/problems?sort=tags", "cannot be sorted by"),
        ("/table/problems?f=nothing:eq:1", "has no column"),
        ("/table/problems?f=title:like:1", "expected COLUMN:OPERATOR:VALUE"),
        ("/table/problems?f=test_count:eq:many", "the value is not INTEGER"),
        ("/table/problems?sort=title&after=7", "is not a position"),
        ("/table/problems?after=-1", "is not a number of rows"),
        ("/download?q=SELECT+1&format=exe", "is not one of"),
    ],
)
def test_a_wrong_address_is_one_line(client, visits, address, reason):
    answer = client.get(address)
    assert (answer.status_code, reason in visits.text_of(answer.text)) == (400, True)


@pytest.mark.parametrize("name", ["judged", "clusters", "problem_success", "lineage"])
def test_a_view_has_the_same_order_every_time(place, name):
    """Joins on several threads give their rows in another order each time; pages would then miss some."""
    pool, versions = Connections(str(place.folder / "store")), newest(place.store)
    with pool.at(versions) as connection:
        whole = window(connection, Selection(name), 500).rows
        paged, after = [], ""
        while after is not None:
            part = window(connection, Selection(name, after=after), 3)
            paged, after = paged + part.rows, part.next
    assert paged == whole


def test_a_refused_row_is_found_by_what_it_says(place, client, visits):
    shown = visits.page(client, "/table/quarantine?q=window.owned")
    assert place.refused[0] in shown
    assert "No rows." in visits.page(client, "/table/quarantine?q=window.nothing")


@pytest.mark.parametrize("sort", ["title", "-title"])
def test_long_values_are_sorted_by_all_of_their_text(place, sort):
    direction = "DESC" if sort.startswith("-") else "ASC"
    pool, versions = Connections(str(place.folder / "store")), newest(place.store)
    with pool.at(versions) as connection:
        shown = [row["problem_id"] for row in window(connection, Selection("problems", sort=sort)).rows]
        wanted = rows(connection, f"SELECT problem_id FROM problems ORDER BY title {direction}, problem_id")
    assert shown == [row["problem_id"] for row in wanted]


def test_counts_are_worked_out_once_for_all_pages_of_a_selection(client, visits, monkeypatch):
    from flows.view.pages import tables

    worked_out, facets = [], tables.facets

    def counted(*arguments):
        worked_out.append(arguments)
        return facets(*arguments)

    monkeypatch.setattr(tables, "facets", counted)
    part = "/facets/trajectories?part=1&f=language:eq:python3&f=origin:ne:search"
    first = visits.page(client, part)
    assert re.findall("<strong>.*?</strong>", visits.page(client, part + "&sort=-origin")) == re.findall(
        "<strong>.*?</strong>", first
    )
    assert len(worked_out) == 1
    visits.page(client, part + "&q=print")
    assert len(worked_out) == 2


def test_the_samples_of_a_large_store_are_shown_without_the_join(place, visits, monkeypatch):
    app = application(str(place.folder / "store"), visits.TOKEN, runs_folder=place.folder, port=8181)
    with TestClient(app, base_url=visits.BASE) as opened:
        opened.get(f"/?token={visits.TOKEN}")
        assert '<a href="/table/judged?' in visits.page(opened, "/runs")
    monkeypatch.setattr("flows.view.visit.MANY_ROWS", 1)
    app = application(str(place.folder / "store"), visits.TOKEN, runs_folder=place.folder, port=8181)
    with TestClient(app, base_url=visits.BASE) as opened:
        opened.get(f"/?token={visits.TOKEN}")
        assert re.search(
            r'<a href="/table/trajectories\?[^"]*">Trajectories</a>', visits.page(opened, "/runs")
        )


@pytest.fixture
def large(place, visits, monkeypatch):
    """Opens explorers that take every table for a large one, and remember few rows of an order."""
    for name, value in (("window.LARGE_ROWS", 0), ("sorting.HEAD_ROWS", 5), ("sorting.MOST_ROWS", 9)):
        monkeypatch.setattr(f"flows.view.{name}", value)
    with ExitStack() as stack:

        def opened() -> TestClient:
            app = application(str(place.folder / "store"), visits.TOKEN, runs_folder=place.folder, port=8181)
            client = stack.enter_context(TestClient(app, base_url=visits.BASE))
            client.get(f"/?token={visits.TOKEN}")
            return client

        yield opened


@pytest.mark.parametrize("more", ["", "&f=origin:eq:human", "&q=print", "&columns=all"])
@pytest.mark.parametrize("sort", ["claimed_verdict", "-claimed_verdict", "-created_at", "-trajectory_id"])
def test_pages_of_a_large_table_show_every_row_once_in_order(place, client, large, visits, sort, more):
    ids = visits.walk(large(), f"/table/trajectories?rows=2&sort={sort}{more}")
    column, direction = sort.removeprefix("-"), "DESC" if sort.startswith("-") else "ASC"
    selected = visits.walk(client, f"/table/trajectories?rows=500{more}")
    with connect(place.store) as connection:
        wanted = query(
            connection,
            f"""SELECT trajectory_id, {column} AS value FROM trajectories
            WHERE list_contains($ids, trajectory_id) ORDER BY {column} {direction} NULLS LAST""",
            {"ids": selected},
        )
    values = dict(wanted.select("trajectory_id", "value").iter_rows())
    assert sorted(ids) == sorted(values)
    assert [values[one] for one in ids] == wanted["value"].to_list()


def test_a_page_that_nothing_remembers_is_the_same(place, large, visits):
    first, ids, following = large(), [], "/table/trajectories?rows=2&sort=claimed_verdict"
    while following:
        pages = [visits.page(client, following) for client in (first, large())]
        assert pages[0] == pages[1]
        ids += re.findall(r'<a href="/trajectory\?id=([0-9a-f]{32})', pages[0])
        link = re.search(r'rel="next" href="([^"]+)"', pages[0])
        following = html.unescape(link[1]) if link else ""
    assert len(ids) > 9  # as many as are remembered
    assert len(set(ids)) == len(ids) == len(place.trajectories)


def test_rows_of_a_large_table_are_read_once_for_several_pages(large, visits, monkeypatch):
    read, really = [], sorting._read

    def counted(*asked):
        read.append(asked)
        return really(*asked)

    monkeypatch.setattr(sorting, "_read", counted)
    client = large()
    following = "/table/trajectories?rows=2&sort=policy_step"
    for pages, reads in ((1, 1), (2, 1), (3, 2)):
        shown = visits.page(client, following)
        assert (pages, len(read)) == (pages, reads)
        following = html.unescape(re.search(r'rel="next" href="([^"]+)"', shown)[1])


@pytest.mark.parametrize("after", ["7", "[]", '["x",1,2]', "[1,1,1,1]", '["x",1,-1,5]', "x", '["x",99,0,5]'])
def test_a_wrong_position_in_a_large_table_is_refused(large, after):
    answer = large().get(f"/table/trajectories?sort=claimed_verdict&after={quote(after)}")
    assert answer.status_code == 400
    assert "go to the first page" in answer.text
