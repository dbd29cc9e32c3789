"""Problems that are judged, but that no policy is asked to solve, because they have no statement as text."""

from __future__ import annotations

import logging

import pytest

from pipeline.adapters import ReadProblem, Refused, find
from pipeline.dedup.same_problems import mark_same_problems
from pipeline.ingest.ingestion import ingest
from pipeline.store import MAY_BE_SAMPLED, connect, query, report_not_sampled
from pipeline.store.store import Store

TESTS = {"problem.yaml": "name: Twice\n", "data/secret/1.in": "4\n", "data/secret/1.ans": "8\n"}
PDF = b"%PDF-1.4\n"


def package(root, **files):
    for name, content in {**TESTS, **{name.replace("__", "/"): text for name, text in files.items()}}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


STATEMENTS = {
    "as text": ({"problem_statement/problem.md": "Print it twice."}, "Print it twice.", None),
    "beside the settings": ({"problem.txt": "Print it twice."}, "Print it twice.", None),
    "as text and PDF": ({"statement/problem.en.pdf": PDF, "statement/problem.sv.md": "Två."}, "Två.", None),
    "in PDF only": (
        {"problem_statement/problem.pdf": PDF},
        "",
        "its statement is not text: problem_statement/problem.pdf",
    ),
    "in DOMjudge's PDF": ({"problem.pdf": PDF}, "", "its statement is not text: problem.pdf"),
    "nowhere": ({}, "", "it has no statement"),
    "blank": ({"statement/problem.en.md": " \n"}, "", "its statement is empty: statement/problem.en.md"),
}


@pytest.mark.parametrize("where", STATEMENTS)
def test_where_the_statement_is(tmp_path, where):
    files, statement, why = STATEMENTS[where]
    (item,) = items_of(package(tmp_path / "contest" / "twice", **files))
    assert isinstance(item, ReadProblem)
    assert (item.row["statement"], item.row["not_sampled"]) == (statement, why)


def test_a_statement_that_cannot_be_read_refuses_the_package(tmp_path):
    root = package(tmp_path / "contest" / "twice")
    (root / "problem_statement").symlink_to("/etc")
    (item,) = items_of(root)
    assert isinstance(item, Refused) and "leads out of the source" in item.reason


def items_of(source):
    adapter = find("kattis")
    return [item for file in adapter.files(str(source), None) for item in adapter.read(file)]


@pytest.fixture
def store(tmp_path):
    package(tmp_path / "contest" / "pdf", **{"problem.pdf": PDF})
    package(tmp_path / "contest" / "none")
    package(tmp_path / "contest" / "text", **{"problem.txt": "Print it twice, please, on one line."})
    store = Store(tmp_path / "store")
    assert [batch.accepted for batch in ingest(store, "kattis", str(tmp_path / "contest"))] == [1, 1, 1]
    return store


def test_they_are_left_out_and_counted(store, caplog):
    with connect(store) as connection, caplog.at_level(logging.WARNING):
        assert report_not_sampled(connection, "problem_id like 'contest/%'") == 2
        sampled = query(connection, f"select problem_id from problems where {MAY_BE_SAMPLED}")
        assert report_not_sampled(connection, MAY_BE_SAMPLED) == 0
    assert sampled["problem_id"].to_list() == ["contest/text"]
    (record,) = caplog.records
    assert "2 problems are left out, because they are not sampled: it has no statement (1)" in record.message


def test_two_without_a_statement_are_not_the_same_problem(store):
    assert mark_same_problems(store).clusters == 0
