"""Searches find the same rows with the index, without it, and while a part of the rows is in it."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from starlette.testclient import TestClient

from flows.view import application
from flows.view.connections import Connections
from flows.view.search import Finder, Query, Search, parse_query
from flows.view.search.building import build
from flows.view.search.index import WordIndex, index_folder
from flows.view.selection import Filter, Selection
from flows.view.versions import newest
from flows.view.window import facets, window
from pipeline.ingest import ingest
from pipeline.store import Store

PROGRAMS = {
    "print": "print(heapq.heappush(q, 1))",
    "upper": "PRINT(1)",
    "part": "sprint(2)\nprinter(2)",
    "underscore": "_print(3)",
    "accent": "printé(4)",
    "kelvin": "\N{KELVIN SIGN} = 5",
    "letter": "k = 6",
    "operator": "x != y",
    "quote": "heappush (q, heapq)",
    "again": "print(7)",
}
# Query -> names of the programs that it selects, worked out by hand.
QUERIES = {
    "print": {"print", "upper", "again"},
    "PRINT": {"print", "upper", "again"},
    "heapq heappush": {"print", "quote"},
    "heapq.heappush(q": {"print", "quote"},
    '"heapq.heappush(q"': {"print"},
    '"eapq.heappush(q"': set(),
    '"PRINT"': {"upper"},
    "_print": {"underscore"},
    "printé": {"accent"},
    "k": {"letter"},
    "\N{KELVIN SIGN}": {"kelvin"},
    "!=": {"operator"},
    '"x != y"': {"operator"},
    "print absent": set(),
    '"\\"': set(),
    "%": set(),
}


def ingest_programs(folder, store, programs):
    lines = [
        {
            "problem_id": "mine/p",
            "title": "Sum",
            "statement": "Print the SUM.",
            "split": "train",
            "tests": [{"input": "", "expected_output": "1"}],
        }
    ]
    lines += [
        {"problem_id": "mine/p", "origin": "human", "policy_id": name, "program": text, "language": "python3"}
        for name, text in programs.items()
    ]
    path = folder / f"{len(programs)}-{next(iter(programs))}.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    ingest(store, "plain", str(path))


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """A store in three states: without an index, with all rows in it, and with half of them."""
    folder = tmp_path_factory.mktemp("search")
    store = Store(folder / "store")
    names = list(PROGRAMS)
    ingest_programs(folder, store, {name: PROGRAMS[name] for name in names[::2]})
    for table in ("trajectories", "problems"):
        build(store, folder / "half", table)
    ingest_programs(folder, store, {name: PROGRAMS[name] for name in names[1::2]})
    for table in ("trajectories", "problems"):
        build(store, folder / "whole", table)
    return SimpleNamespace(folder=folder, store=store)


def search_in(shelf, connection, state):
    finder = Finder(Connections(shelf.store.location), shelf.folder / state)
    return Search(finder, connection, newest(shelf.store))


@pytest.fixture
def connection(shelf):
    with Connections(shelf.store.location).at(newest(shelf.store)) as opened:
        yield opened


@pytest.mark.parametrize("state", ["none", "half", "whole"])
@pytest.mark.parametrize("query", QUERIES)
def test_a_search_selects_the_rows_that_have_its_words(shelf, connection, state, query):
    search = search_in(shelf, connection, state)
    shown = window(connection, Selection("trajectories", search=query), 100, search)
    assert {row["policy_id"] for row in shown.rows} == QUERIES[query]
    assert facets(connection, Selection("trajectories", search=query), (), search).total == len(
        QUERIES[query]
    )


@pytest.mark.parametrize("state", ["half", "whole"])
@pytest.mark.parametrize(
    "more",
    [
        {"sort": "-policy_id"},
        {"filters": (Filter("policy_id", "ne", "upper"),)},
        {"sort": "created_at", "filters": (Filter("origin", "eq", "human"),)},
    ],
)
def test_order_filters_and_counts_are_those_of_a_reading(shelf, connection, state, more):
    chosen = Selection("trajectories", search="print", **more)
    search = search_in(shelf, connection, state)
    read, found = window(connection, chosen), window(connection, chosen, search=search)
    assert len(read.rows) > 1
    assert found == read
    assert facets(connection, chosen, (), search) == facets(connection, chosen)


@pytest.mark.parametrize("state", ["none", "half", "whole"])
def test_pages_of_a_search_continue_where_the_last_one_ended(shelf, connection, state):
    search, whole = (
        search_in(shelf, connection, state),
        window(connection, Selection("trajectories", search="print")),
    )
    paged, after = [], ""
    while after is not None:
        part = window(connection, Selection("trajectories", search="print", after=after), 1, search)
        paged, after = paged + part.rows, part.next
    assert paged == whole.rows


def test_the_index_is_what_answers(shelf, connection, monkeypatch):
    """Without the files of the index the answer would be the same, so its use is looked at."""
    search = search_in(shelf, connection, "whole")
    narrowed = search.rows_of_page("trajectories", parse_query("print"), 0, 51)
    assert narrowed.is_page and "file_row_number IN" in narrowed.source
    assert (
        search_in(shelf, connection, "none").rows_of_page("trajectories", parse_query("print"), 0, 51) is None
    )


def test_many_rows_are_counted_without_naming_each(shelf, connection, monkeypatch):
    monkeypatch.setattr("flows.view.search.finding.MOST_LISTED", 1)
    search = search_in(shelf, connection, "whole")
    for chosen in (
        Selection("trajectories", search="print"),
        Selection("trajectories", search="print", sort="language"),
    ):
        assert window(connection, chosen, search=search) == window(connection, chosen)


def test_counts_of_too_many_rows_are_of_the_first_and_say_so(shelf, connection, monkeypatch):
    monkeypatch.setattr("flows.view.search.finding.MOST_ROWS", 2)
    counted = facets(
        connection, Selection("trajectories", search="print"), (), search_in(shelf, connection, "whole")
    )
    assert (counted.total, counted.partial) == (2, True)
    sorted_page = Selection("trajectories", search="print", sort="language")
    assert len(window(connection, sorted_page, search=search_in(shelf, connection, "whole")).rows) == 3


def test_an_older_version_shows_its_own_rows(shelf):
    old, finder = "trajectories1.problems1", Finder(Connections(shelf.store.location), shelf.folder / "whole")
    with Connections(shelf.store.location).at(old) as connection:
        shown = window(
            connection, Selection("trajectories", search="print"), search=Search(finder, connection, old)
        )
    assert {row["policy_id"] for row in shown.rows} == QUERIES["print"] & set(list(PROGRAMS)[::2])


def test_statements_are_searched(shelf, connection):
    search = search_in(shelf, connection, "whole")
    assert len(window(connection, Selection("problems", search="sum print"), search=search).rows) == 1


def test_a_damaged_index_is_read_past_and_built_again(shelf, connection, tmp_path):
    build(shelf.store, tmp_path, "trajectories")
    index = WordIndex(index_folder(tmp_path, shelf.store.location), "trajectories")
    index.path.write_bytes(b"SQLite format 3\0" + b"\xff" * 5_000)
    search = Search(Finder(Connections(shelf.store.location), tmp_path), connection, newest(shelf.store))
    assert len(window(connection, Selection("trajectories", search="print"), search=search).rows) == 3
    build(shelf.store, tmp_path, "trajectories")
    with index.opened() as database:
        assert sum(part.rows for part in WordIndex.parts(database).values()) == len(PROGRAMS)


def test_an_index_of_files_that_are_gone_is_built_again(shelf, tmp_path):
    build(shelf.store, tmp_path, "trajectories")
    index = WordIndex(index_folder(tmp_path, shelf.store.location), "trajectories")
    with sqlite3.connect(index.path) as database:
        database.execute("UPDATE files SET name = 'gone-' || name")
    build(shelf.store, tmp_path, "trajectories")
    with index.opened() as database:
        assert not [name for name in WordIndex.parts(database) if name.startswith("gone")]


def test_a_search_starts_the_building_and_says_so(shelf, visits, tmp_path, monkeypatch):
    monkeypatch.setattr("flows.view.search.finding.MIN_ROWS", 1)
    app = application(shelf.store.location, visits.TOKEN, runs_folder=tmp_path, port=8181, cache=tmp_path)
    with TestClient(app, base_url=visits.BASE) as client:
        client.get(f"/?token={visits.TOKEN}")
        assert "index of words is being built: 0 of 10 rows" in visits.page(
            client, "/table/trajectories?q=print"
        )
        deadline = time.monotonic() + 60
        while "being built" in (shown := visits.page(client, "/table/judged?q=print")):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        shown = visits.page(client, "/table/trajectories?q=print")
    assert "upper" in shown and "being built" not in shown


def test_the_process_that_builds_ends_without_a_complaint(shelf, tmp_path):
    start = "from flows.view.search.building import main; main()"
    command = [sys.executable, "-P", "-c", start, "--", shelf.store.location, str(tmp_path), "trajectories"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        complaint = process.stderr.read().decode()
        assert (process.wait(60), complaint) == (0, "")
    assert (index_folder(tmp_path, shelf.store.location) / "trajectories.sqlite").exists()


def test_the_process_that_builds_ends_with_the_explorer(shelf, tmp_path):
    waiting = "import sys; from flows.view.search.building import end_with_input as e; e(sys.stdin.fileno())"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    with subprocess.Popen(
        [sys.executable, "-P", "-c", waiting], stdin=subprocess.PIPE, env=environment
    ) as process:
        process.stdin.close()
        assert process.wait(60) == 1


def test_words_and_quoted_text_are_parted():
    assert parse_query('for Heap.push "as  Typed" !=') == Query(("for", "heap", "push"), ("as  Typed", "!="))
    assert parse_query('"a b" c').expression == '"c" AND "a" AND "b"'
