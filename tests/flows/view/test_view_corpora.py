"""The difference of two corpora, names for the SQL box, downloads of a selection, and scheduled flows."""

from __future__ import annotations

import base64
import csv
import html
import io
import re
from types import SimpleNamespace
from urllib.parse import quote

import httpx
import pytest
from starlette.testclient import TestClient

from flows.view import application
from flows.view.schedules import read_schedules
from pipeline.corpora import Spec, publish
from pipeline.store import connect, query

HUMANS = "SELECT trajectory_id FROM judged WHERE origin = 'human'"
ACCEPTED = "SELECT trajectory_id FROM judged WHERE verdict = 'accepted'"


@pytest.fixture(scope="module")
def corpora(place):
    humans, accepted = (
        publish(place.store, Spec(n, q)) for n, q in (("humans", HUMANS), ("right", ACCEPTED))
    )
    rows = {name: set(one.rows) for name, one in (("humans", humans), ("right", accepted))}
    return SimpleNamespace(ids=(humans.corpus_id, accepted.corpus_id), **rows)


def listed(client, visits, link):
    """Ids that an SQL link lists."""
    shown = visits.page(client, html.unescape(link))
    return set(re.findall(r'<a href="/trajectory\?id=([0-9a-f]{32})', shown))


def test_rows_added_and_removed_are_counted_and_listed(client, visits, corpora):
    shown = visits.page(client, "/comparison?id={}&to={}".format(*corpora.ids))
    added, removed = corpora.right - corpora.humans, corpora.humans - corpora.right
    assert f"+{len(added)}</strong> rows added" in shown and f"−{len(removed)}</strong> removed" in shown
    links = re.findall(r'<p><a href="(/sql[^"]+)">|\n<a href="(/sql[^"]+)"><strong', shown)
    assert [listed(client, visits, a or b) for a, b in links] == [added, removed]


def test_counts_by_verdict_lead_to_their_rows(place, client, visits, corpora):
    shown = visits.page(client, "/comparison?id={}&to={}".format(*corpora.ids))
    part = shown.split("<h2>By verdict</h2>")[1].split("</section>")[0]
    link = re.search(r'wrong_answer</span>.*?<a href="(/sql[^"]+)">−(\d+)<', part, re.DOTALL)
    ids = listed(client, visits, link[1])
    wrong = {row["trajectory_id"] for row in place.trajectories if row["verdict"] == "wrong_answer"}
    assert len(ids) == int(link[2])
    assert ids == wrong & (corpora.humans - corpora.right)


def test_a_corpus_offers_the_others_for_comparison(client, visits, corpora, place):
    shown = visits.page(client, f"/corpus?id={corpora.ids[1]}").split('action="/comparison"')[1]
    options = re.findall(r'<option value="([0-9a-f]+)"', shown)
    assert {corpora.ids[0], place.corpus} <= set(options) and corpora.ids[1] not in options


def test_the_same_corpus_has_no_difference(client, visits, corpora):
    shown = visits.text_of(visits.page(client, f"/comparison?id={corpora.ids[0]}&to={corpora.ids[0]}"))
    assert "+0 rows added" in shown and "The same." in shown
    assert client.get(f"/comparison?id={corpora.ids[0]}&to=none").status_code == 404


def test_names_for_the_sql_box_are_those_of_the_store(client):
    words = client.get("/words").json()
    assert {"trajectory_id", "program", "origin"} <= set(words["tables"]["trajectories"])
    assert "verdict" in words["tables"]["judged"]
    assert {"count", "reward_binary", "arg_max", "regexp_matches"} <= set(words["functions"])


@pytest.mark.parametrize("rest", ["f=origin:eq:human", "q=print&sort=-created_at", "q=print", ""])
def test_a_selection_is_downloaded_whole(place, client, visits, rest):
    shown = visits.page(client, f"/table/trajectories?{rest}")
    link = html.unescape(re.search(r'href="(/download/trajectories[^"]*format=csv[^"]*)"', shown)[1])
    downloaded = list(csv.DictReader(io.StringIO(client.get(link).text)))
    assert [row["trajectory_id"] for row in downloaded] == visits.walk(client, f"/table/trajectories?{rest}")
    with connect(place.store) as connection:
        programs = dict(query(connection, "SELECT trajectory_id, program FROM trajectories").iter_rows())
    assert {row["trajectory_id"]: row["program"] for row in downloaded}.items() <= programs.items()


@pytest.mark.slow
def test_scheduled_flows_link_into_prefect(place, visits, monkeypatch, server):
    """Prefect's own server, with a deployment that is due every night."""
    for name, value in server.environment().items():
        if name.startswith(("PREFECT_", "SPO_")):
            monkeypatch.setenv(name, value)
    secret = base64.b64encode(server.secret.encode()).decode()
    with httpx.Client(base_url=server.url, headers={"authorization": f"Basic {secret}"}) as prefect:
        flow = prefect.post("/flows/", json={"name": "ingest"}).raise_for_status().json()["id"]
        schedule = {"schedule": {"cron": "0 3 * * *", "timezone": "UTC"}, "active": True}
        wanted = {"name": "nightly", "flow_id": flow, "schedules": [schedule]}
        deployment = prefect.post("/deployments/", json=wanted).raise_for_status().json()["id"]
        failed = {"deployment_id": deployment, "flow_id": flow, "state": {"type": "FAILED", "name": "Failed"}}
        run = prefect.post("/flow_runs/", json=failed).raise_for_status().json()["id"]
    app = application(
        str(place.folder / "store"),
        visits.TOKEN,
        runs_folder=place.folder,
        port=8181,
        schedules=read_schedules,
    )
    with TestClient(app, base_url=visits.BASE) as client:
        client.get(f"/?token={visits.TOKEN}")
        assert 'data-part="/schedules?part=1' in visits.page(client, "/")
        shown = visits.page(client, "/schedules?part=1")
    ui = server.url.removesuffix("/api")
    assert f'href="{ui}/deployments/deployment/{deployment}"' in shown
    assert "0 3 * * * (UTC)" in shown
    assert f'<a href="{ui}/runs/flow-run/{run}" rel="noreferrer">Failed</a>' in shown


def test_without_a_server_the_page_says_how_to_get_one(client, visits):
    assert "No Prefect server is known" in visits.page(client, f"/schedules?at={quote('')}")


def test_a_server_that_does_not_answer_is_one_line(place, visits, monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    schedules = read_schedules()
    assert schedules.flows == [] and "ConnectError" in schedules.fault
