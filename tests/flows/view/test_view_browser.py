"""Every page in a real browser: widths, keys, hostile content, the content policy, and axe.

Needs Debian's package chromium, and playwright from the extra dev. axe-core is not a dependency: SPO_AXE
names its file (axe.min.js of the npm package axe-core, also in the package axe-playwright-python).
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import polars as pl
import pytest
import uvicorn

from flows.view import application
from pipeline.store import Store

CHROMIUM = Path("/usr/bin/chromium")
WIDTHS = (400, 1000, 2000)
TOO_WIDE = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
LATEST = "[aria-label='Latest steps of runs/one'] tbody tr:first-child th"
TICK_HEIGHTS = "[...document.querySelectorAll('.chart .tick')].map(one => one.getBoundingClientRect().height)"
OVERLAPS = """[...document.querySelectorAll('.chart')].filter(chart => {
  const right = [...chart.querySelectorAll('.axis')].at(-1).getBoundingClientRect().right;
  return [...chart.querySelectorAll('.tick')].some(one => one.getBoundingClientRect().left < right);
}).length"""
FOCUS = "getComputedStyle(document.activeElement).outlineStyle"
FETCH = "url => fetch(url, {credentials: 'include'}).then(a => a.status, e => 'refused')"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="needs Debian's package chromium"),
]


@pytest.fixture(scope="module")
def address(place, visits):
    """The explorer on a free port."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        app = application(str(place.folder / "store"), visits.TOKEN, runs_folder=place.folder, port=port)
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        listener.listen()
        thread.start()
        while not server.started:
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
        server.should_exit = True
        thread.join(30)


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright, from the extra dev")
    with api.sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu"]
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=flags)
        yield chromium
        chromium.close()


@pytest.fixture
def tab(browser, address, visits):
    """A page that is logged in; `faults` collects errors of scripts and of the content policy."""
    context = browser.new_context(viewport={"width": 1000, "height": 900})
    page = context.new_page()
    page.faults = []
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    page.on("console", lambda message: message.type == "error" and page.faults.append(message.text))
    page.goto(f"{address}/?token={visits.TOKEN}")
    yield page
    context.close()


def whole_pages(place, visits):
    """Addresses that answer 200, one of each kind."""
    wrong = visits.some(place, verdict="wrong_answer", origin="human")
    scored = visits.some(place, scored=True, sampled=True)
    hostile = visits.some(place, problem_id=visits.PROBLEM)
    return [
        "/", "/table/judged", "/table/problems?sort=title&columns=all", "/table/trajectories?q=print",
        "/facets/trajectories", "/quarantine", "/runs", "/run?run=runs/one&run=runs/two&smooth=2",
        "/step?run=runs/one&step=2", "/sql?q=" + quote("@contents"), f"/corpus?id={place.corpus}",
        f"/problem?id={quote(wrong['problem_id'])}", f"/problem?id={quote(visits.PROBLEM)}",
        "/policy?id=reference", f"/comparison?id={place.corpus}&to={place.corpus}", "/schedules", "/growth",
        f"/drawn?run=runs/one&id={wrong['trajectory_id']}", "/table/judged?follow=1",
        *(f"/trajectory?id={row['trajectory_id']}" for row in (wrong, scored, hostile)),
        f"/refused?id={place.refused[0]}", "/checks",
        *(f"/problem?id={quote(name)}" for name in (visits.PROBLEM_IN_HTML, visits.PROBLEM_IN_MARKDOWN)),
    ]  # fmt: skip


def test_every_page_fits_every_width_and_runs_nothing_of_a_row(tab, address, place, visits):
    faults = []
    for path in whole_pages(place, visits):
        for width in WIDTHS:
            tab.set_viewport_size({"width": width, "height": 900})
            tab.goto(address + path, wait_until="networkidle")
            wider = tab.evaluate(TOO_WIDE)
            faults += [f"{path} at {width}: {wider} px too wide"] if wider > 0 else []
            faults += [f"{path}: owned"] if tab.evaluate("window.owned === 1") else []
    assert faults + tab.faults == []


def test_text_of_charts_is_readable_on_a_narrow_screen(tab, address, trained):
    tab.set_viewport_size({"width": 400, "height": 900})
    tab.goto(address + "/run?run=real", wait_until="networkidle")
    assert min(tab.evaluate(TICK_HEIGHTS)) > 11
    assert tab.evaluate(OVERLAPS) == 0


def test_what_has_the_focus_is_outlined(tab, address):
    tab.goto(address + "/table/trajectories")
    outlines = []
    for _ in range(12):
        tab.keyboard.press("Tab")
        outlines.append(tab.evaluate(FOCUS))
    assert set(outlines) == {"solid"}


def test_counts_are_loaded_after_the_rows(tab, address):
    tab.goto(address + "/table/trajectories")
    tab.wait_for_selector("aside[data-loaded] .facet")
    tab.click("aside .facet a >> text=human")
    assert "f=origin%3Aeq%3Ahuman" in tab.url


def test_keys_search_and_turn_pages(tab, address):
    tab.goto(address + "/table/trajectories?rows=5")
    tab.keyboard.press("n")
    tab.wait_for_url("**after=5**")
    tab.keyboard.press("p")
    tab.wait_for_url(lambda url: "after" not in url)
    tab.keyboard.press("/")
    tab.keyboard.type("print")
    tab.keyboard.press("Enter")
    tab.wait_for_url("**q=print**")
    assert "new_column" not in tab.url


def test_the_form_adds_a_filter_and_a_chip_removes_it(tab, address):
    tab.goto(address + "/table/trajectories")
    tab.select_option("[name=new_column]", "origin")
    tab.select_option("[name=new_operator]", "eq")
    tab.fill("[name=new_value]", "human")
    tab.click("form.controls button")
    tab.wait_for_url("**f=origin%3Aeq%3Ahuman**")
    tab.click(".chip")
    tab.wait_for_url(lambda url: "origin" not in url)


def test_another_origin_cannot_read_a_page(browser, tab, address):
    stranger = browser.new_context().new_page()
    stranger.goto("data:text/html,<p>another page")
    seen = stranger.evaluate(FETCH, address)
    assert seen == "refused"


def test_a_curve_grows_while_the_run_does(tab, address, place):
    log = place.folder / "runs" / "one" / "metrics.jsonl"
    whole = log.read_text()
    tab.goto(address + "/run?run=runs/one&smooth=1")
    tab.evaluate("window.sameDocument = true")
    points = "document.querySelector('figure svg').querySelectorAll('circle').length"
    assert tab.evaluate(points) == 4
    try:
        for step in (4, 5):
            with open(log, "a") as lines:
                lines.write(json.dumps({"step": step, "loss": 0.5, "kl": 0.4}) + "\n")
            # The content policy allows no eval, which Playwright's wait_for_function needs.
            tab.wait_for_selector(f"figure:first-of-type svg a[href*='step={step}&']", state="attached")
            assert tab.evaluate(points) == step + 1
        assert tab.inner_text(LATEST) == "5"
        (place.folder / "runs" / "one" / "final").mkdir()
        (place.folder / "runs" / "one" / "final" / "config.json").write_text("{}")
        tab.wait_for_selector("text=The run is finished.", timeout=20_000)
    finally:
        log.write_text(whole)
        shutil.rmtree(place.folder / "runs" / "one" / "final", ignore_errors=True)
    assert tab.evaluate("window.sameDocument")
    assert tab.faults == []


def test_a_spike_leads_to_a_row_in_two_clicks(tab, address, place, trained, record_property):
    tab.goto(address + "/run?run=real&smooth=1")
    clicks = 0
    for target in ("figure:first-of-type svg a[href*='step=1&']", "#rows + div a[href^='/trajectory']"):
        # A point is small and invisible until the pointer is on it; `force` skips the wait for visibility.
        tab.wait_for_selector(target, state="attached")
        tab.locator(target).first.click(force=True)
        clicks += 1
    tab.wait_for_url("**/trajectory?id=**")
    record_property("clicks_spike_to_row", clicks)
    lines = (place.folder / "real" / "rows.jsonl").read_text().splitlines()
    logged = next(line for line in map(json.loads, lines) if line["step"] == 1)
    guilty = logged["trajectory_id"][logged["loss"].index(max(logged["loss"]))]
    assert (clicks, f"id={guilty}" in tab.url) == (2, True)
    assert tab.faults == []


def test_three_clicks_lead_to_why_a_sample_failed(tab, address):
    tab.goto(address + "/")
    for target in ("nav >> text=Trajectories", "aside a >> text=wrong_answer", "td.id a >> nth=0"):
        tab.click(target)
    tab.wait_for_url("**/trajectory?id=**")
    heading = tab.locator("h2 >> text=First failure")
    heading.scroll_into_view_if_needed()
    removed, added = (tab.locator(f".diff .{kind}").first.inner_text() for kind in ("removed", "added"))
    assert (heading.is_visible(), removed[0], added[0]) == (True, "-", "+")
    assert tab.faults == []


def test_the_sql_box_completes_with_the_keyboard(tab, address):
    tab.goto(address + "/sql")
    tab.focus("textarea")
    tab.keyboard.type("SELECT policy_id FROM trajec")
    tab.wait_for_selector("#suggestions [aria-selected=true] >> text=trajectories")
    tab.keyboard.press("Tab")
    tab.keyboard.type(" t WHERE t.problem")
    tab.wait_for_selector("#suggestions li >> text=problem_id")
    tab.keyboard.press("Enter")
    tab.keyboard.type(" = 'none' AND verd")
    tab.keyboard.press("Escape")
    assert (
        tab.input_value("textarea")
        == "SELECT policy_id FROM trajectories t WHERE t.problem_id = 'none' AND verd"
    )
    tab.keyboard.press("Control+Space")
    tab.wait_for_selector("#suggestions:not([hidden])")
    assert tab.get_attribute("textarea", "aria-expanded") == "true"
    assert tab.faults == []


def test_questions_are_saved_in_the_browser_as_text(tab, address):
    tab.goto(address + "/sql?q=SELECT+42")
    tab.fill("[name=question]", "<img src=x onerror=window.owned=1>")
    tab.click("#save-question button")
    tab.goto(address + "/sql")
    tab.click("#my-questions a")
    tab.wait_for_url("**q=SELECT+42**")
    assert tab.inner_text("#my-questions a") == "<img src=x onerror=window.owned=1>"
    assert not tab.evaluate("window.owned === 1")
    tab.click("#my-questions button")
    assert tab.locator("#my-questions a").count() == 0


def test_credit_shows_numbers_on_hover(tab, address, place, visits):
    row = visits.some(place, scored=True, sampled=True)
    tab.goto(address + f"/trajectory?id={row['trajectory_id']}&beta=0.5&colour=gain")
    token = tab.locator(".heat .t").first
    token.hover()
    assert all(
        name in token.get_attribute("title") for name in ("log pi_ref", "log pi ", "difference", "Q_t")
    )
    assert tab.faults == []


def test_a_followed_page_shows_what_is_appended(tab, address, place):
    tab.goto(address + "/table/policies?follow=1&columns=all")
    row = {"policy_id": "just-now", "fingerprint": "f", "folder": "", "details": "{}"}
    types = {"step": pl.Int64, "parent_id": pl.String, "run_id": pl.String}
    frame = pl.DataFrame(
        [row | {"created_at": datetime(2026, 1, 1, tzinfo=UTC)} | dict.fromkeys(types)],
        schema_overrides=types,
    )
    Store(place.folder / "store").append("policies", frame, producer="test-live", sequence=0)
    tab.wait_for_selector("td >> text=just-now", timeout=20_000)
    assert tab.faults == []


def test_a_check_is_followed_until_its_outcome(tab, address):
    tab.goto(address + "/", wait_until="networkidle")
    tab.click("[aria-label=Checks] a[href*='start=files']")
    tab.wait_for_url("**/checks?at=**")
    tab.wait_for_selector(
        "[aria-label=Checks] tr:has(a[href*='start=files']) >> text=No fault", timeout=60_000
    )
    assert tab.faults == []


@pytest.mark.skipif("SPO_AXE" not in os.environ, reason="SPO_AXE does not name axe.min.js")
def test_axe_finds_nothing_serious(browser, address, place, visits, record_property):
    # axe is a script from elsewhere, which the content policy rightly refuses.
    serious = []
    for scheme in ("light", "dark"):
        context = browser.new_context(bypass_csp=True, color_scheme=scheme)
        page = context.new_page()
        page.goto(f"{address}/?token={visits.TOKEN}")
        for path in whole_pages(place, visits):
            page.goto(address + path, wait_until="networkidle")
            page.add_script_tag(path=os.environ["SPO_AXE"])
            result = page.evaluate("axe.run()")
            serious += [
                f"{scheme} {path}: {fault['id']}: {fault['nodes'][0]['html'][:120]}"
                for fault in result["violations"]
                if fault["impact"] in ("serious", "critical")
            ]
        context.close()
    record_property("axe_serious", len(serious))
    assert serious == []
