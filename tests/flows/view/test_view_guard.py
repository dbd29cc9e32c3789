"""Who is let into the explorer, what it may not do, and that content of rows stays text."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

OTHER_HOSTS = ["evil.example", "evil.example:8181", "127.0.0.1:9999", "127.0.0.1.evil.example:8181"]
OTHER_PAGES = [
    {"origin": "http://evil.example"},
    {"origin": "null"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
]


@pytest.fixture
def stranger(place, visits):
    """A client without the token."""
    return TestClient(place.app, base_url=visits.BASE, follow_redirects=False)


def test_a_request_without_the_token_is_refused(stranger):
    assert stranger.get("/").status_code == 401


def test_a_wrong_token_is_refused(stranger):
    assert stranger.get("/?token=" + "0" * 32).status_code == 401


@pytest.mark.parametrize("host", OTHER_HOSTS)
def test_another_host_name_is_refused(client, host):
    assert client.get("/", headers={"host": host}).status_code == 421


@pytest.mark.parametrize("headers", OTHER_PAGES)
def test_another_web_page_is_refused(client, headers):
    assert client.get("/", headers=headers).status_code == 403


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_only_reading_requests_are_served(client, method):
    assert client.request(method, "/").status_code == 405


def test_the_token_leaves_the_address(stranger, visits):
    assert stranger.get(f"/runs?token={visits.TOKEN}&x=1").headers["location"] == "/runs?x=1"


@pytest.mark.parametrize("path", ["//evil.example", "/%2Fevil.example", "/%5Cevil.example"])
def test_the_token_cannot_redirect_to_another_host(stranger, visits, path):
    answer = stranger.get(f"{visits.BASE}{path}?token={visits.TOKEN}")
    assert not answer.headers.get("location", "/").startswith(("//", "/\\"))


def test_the_cookie_is_for_this_site_only_and_hidden_from_scripts(stranger, visits):
    cookie = stranger.get(f"/?token={visits.TOKEN}").headers["set-cookie"]
    assert "httponly" in cookie.lower()
    assert "samesite=strict" in cookie.lower()
    assert visits.TOKEN not in cookie


@pytest.mark.parametrize("address", ["/", "/nothing", "/static/view.js", "/problem?id=x"])
def test_every_answer_forbids_scripts_and_frames_from_elsewhere(client, address):
    policy = client.get(address).headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy


def test_content_of_rows_and_addresses_stays_text(place, client, visits):
    faults = []
    for address in visits.addresses(place):
        parser = visits.Active()
        parser.feed(client.get(address).text)
        faults += [f"{address}: {one}" for one in parser.faults]
    assert faults == []


def test_hostile_text_is_shown_and_its_control_characters_are_escapes(client, visits):
    shown = visits.text_of(visits.page(client, f"/problem?id={quote(visits.PROBLEM)}"))
    assert "<script>window.owned=1</script>" in shown
    assert not {"\x1b", "\u202e"} & set(shown)


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE problems", "COPY problems TO '/tmp/x.csv'", "SELECT * FROM read_csv('/etc/passwd')",
        "ATTACH '/tmp/x.db'", "SET memory_limit = '1GB'", "INSTALL httpfs", "SELECT 1; DROP VIEW judged",
        "SELECT getenv('HOME')", "SELECT * FROM '/etc/passwd'",
    ],
)  # fmt: skip
def test_sql_that_does_more_than_read_is_refused(client, visits, statement):
    assert 'role="alert"' in visits.page(client, f"/sql?q={quote(statement)}")
    assert client.get(f"/download?q={quote(statement)}").status_code == 400


@pytest.mark.parametrize("name", ["../view", "/etc", "runs/one/..", "nothing"])
def test_only_runs_below_the_folder_are_opened(client, name):
    assert client.get(f"/run?run={quote(name, safe='')}").status_code == 404


def test_a_run_whose_log_is_a_link_is_refused(place, client):
    folder = place.folder / "runs" / "linked"
    folder.mkdir()
    (folder / "metrics.jsonl").symlink_to("/etc/passwd")
    answer = client.get("/run?run=runs/linked")
    (folder / "metrics.jsonl").unlink()
    folder.rmdir()
    assert (answer.status_code, "root:" in answer.text) == (404, False)
