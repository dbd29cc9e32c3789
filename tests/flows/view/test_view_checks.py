"""The page of the store checks it on request, and says what is wrong."""

from __future__ import annotations

import shutil
import time

import pytest
from starlette.testclient import TestClient

from flows.view import application
from flows.view.checking import Checking


@pytest.fixture
def damaged(place, tmp_path):
    """A copy of the store in which one byte of a data file is another."""
    shutil.copytree(place.folder / "store", tmp_path / "store")
    file = next((tmp_path / "store" / "verdicts").rglob("*.parquet"))
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))
    return tmp_path, file.name


def outcome(client, visits, kind: str) -> str:
    """The page after the check has ended."""
    answer = client.get(f"/checks?start={kind}")
    assert answer.url.path == "/checks" and "start" not in str(answer.url)
    for _ in range(600):
        if client.get("/checks?state=1").json()["finished"]:
            return visits.text_of(visits.page(client, "/checks"))
        time.sleep(0.1)
    raise AssertionError("the check did not end within 60 s")


@pytest.mark.parametrize(("kind", "looks_at"), [("rows", "keys"), ("files", "log entries")])
def test_a_whole_store_has_no_fault(client, visits, kind, looks_at):
    assert "not checked since this explorer started" in visits.text_of(visits.page(client, "/checks"))
    shown = outcome(client, visits, kind)
    assert "No fault in" in shown and looks_at in shown


def test_a_damaged_file_is_named(damaged, visits):
    folder, name = damaged
    app = application(str(folder / "store"), visits.TOKEN, runs_folder=folder, port=8181)
    with TestClient(app, base_url=visits.BASE) as client:
        client.get(f"/?token={visits.TOKEN}")
        shown = outcome(client, visits, "files")
    assert "1 fault in" in shown
    assert "verdicts: file: " in shown and name in shown


def test_an_unknown_check_is_refused(client):
    assert client.get("/checks?start=nothing").status_code == 404


def test_one_check_runs_at_a_time(place):
    checking = Checking(str(place.folder / "store"))
    checking.start("rows")
    checking.start("files")
    assert list(checking.outcomes()) == ["rows"]
    while not checking.state[1]:
        time.sleep(0.05)
