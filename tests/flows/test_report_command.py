"""`spo report` beside a running explorer: it finds it, and its links lead there in a real browser."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from html import unescape
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

CHROMIUM = Path("/usr/bin/chromium")
ROOT = Path(__file__).parents[2]
SPO = [sys.executable, "-P", "-m", "flows"]


def write_run(folder: Path, name: str, seed: int) -> Path:
    (folder / name).mkdir(parents=True)
    config = {"name": name, "seed": seed, "source": [{"name": "human"}], "reference_policy": "reference"}
    (folder / name / "config.json").write_text(json.dumps(config))
    lines = [{"step": step, "loss": 4.0 - step, "beta": 0.1, "learning_rate": 1e-3} for step in range(4)]
    (folder / name / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder / name


@pytest.fixture(scope="module")
def place(tmp_path_factory, sampled_store):
    """A data folder with a small store and two runs."""
    data = tmp_path_factory.mktemp("data")
    sampled_store(data, problems=2)
    for seed in (0, 1):
        write_run(data / "runs", f"run-{seed}", seed)
    return data


@pytest.fixture
def environment(place):
    own = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "SPO_"))}
    return own | {"SPO_DATA_DIR": str(place), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


@pytest.fixture
def explorer(place, environment, until):
    """The running explorer's record."""
    process = subprocess.Popen(
        [*SPO, "view", "--port", "0", "--store", str(place / "store"), "--runs", str(place / "runs")],
        env=environment,
        stderr=subprocess.DEVNULL,
    )
    record = place / "view.json"
    until(record.exists, "the explorer is recorded", alive=process)
    yield json.loads(record.read_text())
    process.send_signal(signal.SIGINT)
    process.wait(30)


def report(place, environment, *words: str, code: int = 0) -> str:
    command = [*SPO, "report", *words, "--store", str(place / "store")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return done.stdout.strip() if code == 0 else done.stderr


def find_explorer_of(place, environment, store: str) -> str:
    code = f"from flows.commands.running_explorer import find_explorer; print(find_explorer({store!r}))"
    command = [sys.executable, "-P", "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def links_of(page: str) -> list[str]:
    return [unescape(part.partition('"')[0]) for part in page.split('class="explorer" href="')[1:]]


def test_a_report_finds_the_explorer_that_runs_and_no_other(place, environment, explorer):
    runs = [str(place / "runs" / f"run-{seed}") for seed in (0, 1)]
    page = Path(report(place, environment, *runs))
    assert page.parent.parent == place / "reports" and page.parent.name.startswith("run-0+1-")
    links = links_of(page.read_text())
    assert links and all(link.startswith(explorer["address"] + "/") for link in links)
    token = (place / "view-token").read_text().strip()
    assert token not in page.read_text() and token not in (place / "view.json").read_text()
    with httpx.Client(follow_redirects=True) as client:
        assert client.get(f"{explorer['address']}/?token={token}").status_code == 200
        assert {client.get(link).status_code for link in set(links)} == {200}
    elsewhere = find_explorer_of(place, environment, str(place / "other"))
    assert elsewhere == "None" and find_explorer_of(place, environment, str(place / "store")) != "None"


def test_the_record_goes_with_the_explorer(place, environment):
    assert not (place / "view.json").exists()
    page = report(place, environment, str(place / "runs" / "run-0"), "--out", str(place / "alone"))
    assert page == str(place / "alone" / "index.html")
    assert links_of(Path(page).read_text()) == []


def test_an_address_that_is_none_is_one_line(place, environment):
    line = report(place, environment, str(place / "runs" / "run-0"), "--explorer", "javascript:x()", code=2)
    assert "'javascript:x()' is not the address of an explorer" in " ".join(line.replace("│", " ").split())


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM.exists(), reason="needs Debian's package chromium")
def test_a_click_on_disk_opens_the_explorer_after_a_second_one(place, environment, explorer):
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright, from the extra dev")
    file = Path(report(place, environment, str(place / "runs" / "run-0")))
    token = (place / "view-token").read_text().strip()
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_context().new_page()
        page.goto(f"{explorer['address']}/?token={token}")  # as a user does who has started the explorer
        page.goto(file.as_uri())
        link = page.locator("#curves a.explorer").first
        target = urlsplit(link.get_attribute("href"))
        link.evaluate("link => link.scrollIntoView()")
        link.click(no_wait_after=True, force=True)
        page.wait_for_url(f"{explorer['address']}/**")
        assert "Open a page of the explorer?" in page.content() and "run-0" in page.inner_text("main a")
        page.locator("main a").click(force=True)
        page.wait_for_selector("h1.id")
        assert page.inner_text("h1.id") == "run-0" and urlsplit(page.url).path == target.path == "/run"
        browser.close()


@pytest.mark.parametrize(
    ("changes", "opened"),
    [
        ({}, True),
        ({"sec-fetch-user": None}, False),
        ({"sec-fetch-dest": "iframe"}, False),
        ({"sec-fetch-mode": "cors"}, False),
        ({"origin": "http://evil.example"}, False),
        ({"host": "evil.example"}, False),
    ],
)
def test_only_a_link_that_a_user_follows_gets_the_page_between(changes, opened):
    from starlette.applications import Starlette
    from starlette.testclient import TestClient

    from flows.commands.running_explorer import Doorstep
    from flows.view.guard import Guard

    link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    headers = {**link, "sec-fetch-user": "?1", "host": "127.0.0.1:8181"} | changes
    given = {name: value for name, value in headers.items() if value is not None}
    client = TestClient(Doorstep(Guard(Starlette(), "0" * 32, 8181)), base_url="http://127.0.0.1:8181")
    answer = client.get("http://127.0.0.1:8181//evil.example/<script>?q=%22%3E", headers=given)
    assert (answer.status_code == 200) == opened
    if opened:
        assert '<a href="/evil.example/' in answer.text and "<script>" not in answer.text
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
