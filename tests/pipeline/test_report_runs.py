"""Several runs in one report: configurations, means over seeds, figures over steps, links, a real browser."""

import json
import re
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pytest

from pipeline.evaluation.report import Explorer, ReportError, write_report
from pipeline.evaluation.report.configurations import configurations, differing_settings, labels_of
from pipeline.evaluation.report.curves import curves
from pipeline.evaluation.report.links import Links
from pipeline.evaluation.report.progress import progress
from pipeline.evaluation.report.runfolder import read_run
from pipeline.evaluation.report.vega_steps import POINTS, curve, thinned
from pipeline.store import connect
from pipeline.store.store import Store

STEPS = 20
HOSTILE = "</script><script>window.owned=1</script>'\"\u202e"


def write_run(folder: Path, name: str, seed: int, beta: float, loss: float) -> Path:
    """A run of which every loss is `loss`; its sources name the run, as online sources do."""
    run = folder / "runs" / name.rpartition("/")[2]
    run.mkdir(parents=True)
    source = {"name": "online", "where": "j.run_id = $run", "parameters": {"run": name}}
    config = {"name": name, "run": str(run), "seed": seed, "reference_policy": "ref", "source": [source]}
    (run / "config.json").write_text(json.dumps(config | {"objective": {"beta": beta}}))
    same = {"loss": loss, "beta": beta, "learning_rate": 1e-3, "age_steps": 2.0, "token_entropy": 1.5}
    same |= {"distinct_correct": 3, "success_share": 0.5, "sources": {HOSTILE: {"log_ratio": 0.1}}}
    lines = [{"step": step, "kl": 0.1 * step, **same} for step in range(STEPS)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return run


@pytest.fixture(scope="module")
def place(tmp_path_factory, rows):
    """Two seeds of one configuration and one run of another, evaluated at steps 10 and 20."""
    folder = tmp_path_factory.mktemp("runs")
    runs = [write_run(folder, f"cmp/low-{seed}", seed, 0.1, 1.0 + 2 * seed) for seed in (0, 1)]
    runs.append(write_run(folder, f"cmp/{HOSTILE}high-0", 0, 0.5, 7.0).rename(folder / "runs" / "high-0"))
    store, names = Store(folder / "store"), ("cmp/low-0", "cmp/low-1", f"cmp/{HOSTILE}high-0")
    problems = [rows.problem(f"p{i}", split="test") for i in range(10)]
    store.append("problems", rows.frame("problems", problems), producer="t", sequence=0)
    policies, evaluations, fresh, verdicts = [], [], [], []
    for index, name in enumerate(names):
        for step, policy in ((10, f"{name}@10"), (20, name)):
            row = {"policy_id": policy, "run_id": name, "step": step, "fingerprint": policy, "folder": ""}
            policies.append(row | {"details": "{}", "created_at": rows.day})
            evaluations += [evaluation(rows, policy, f"p{i}", step // 2 + 2 * index) for i in range(10)]
        for step in (4, 8):
            for sample, verdict in enumerate(("accepted", "wrong_answer", "wrong_answer")):
                key = f"{index}-{step}-{sample}"
                program = {"program": "print(1)" if index else f"print({step})"}
                where = {
                    "origin": "online",
                    "run_id": name,
                    "policy_step": step,
                    "policy_id": f"{name}@{step}",
                }
                fresh.append(rows.trajectory(key, "p0", **where, **program))
                verdicts.append(rows.verdict(key, verdict, "p0"))
    evaluations += [evaluation(rows, "ref", f"p{i}", 2) for i in range(10)]
    for table, records in (
        ("policies", policies),
        ("evaluations", evaluations),
        ("trajectories", fresh),
        ("verdicts", verdicts),
    ):
        store.append(table, rows.frame(table, records), producer="t", sequence=0)
    return folder, store, runs


def evaluation(rows, policy, problem, correct):
    counts = {"samples": 20, "correct": correct, "distinct_correct": 1, "judge_errors": 0}
    settings = json.dumps({"temperature": 0.4, "samples_per_problem": 20, "seed": 0})
    row = {"policy_id": policy, "problem_id": problem, "settings": settings, "split": "test"}
    return row | counts | {"evaluated_at": rows.day}


@pytest.fixture(scope="module")
def groups(place):
    return configurations([read_run(run) for run in place[2]])


@pytest.fixture(scope="module")
def linked(place):
    folder, store, runs = place
    explorer = Explorer("http://127.0.0.1:8181", folder / "runs")
    return write_report(store, runs, folder / "report", explorer).read_text()


def test_runs_that_differ_in_their_seed_alone_are_one_configuration(groups):
    assert [[seed.seed for seed in group.seeds] for group in groups] == [[0, 1], [0]]
    assert groups[0].label == "low" and groups[1].label.endswith("high-0")
    assert differing_settings(groups) == [("objective.beta", ["0.1", "0.5"])]


def test_labels_lose_what_all_begin_with_and_stay_apart():
    assert labels_of(["cmp/final-spo-half", "cmp/final-ppo-online"]) == ["spo-half", "ppo-online"]
    assert labels_of(["same", "same"]) == ["same (1)", "same (2)"]
    assert labels_of(["alone/a"]) == ["alone/a"]


def test_a_line_is_the_mean_of_its_seeds_with_their_range(groups):
    panels = {panel.title: panel for panel in curves(groups).panels}
    low, high = panels["Loss"].lines
    assert low.mean.tolist() == [2.0] * STEPS  # losses 1 and 3
    assert (low.smooth.min(), low.smooth.max()) == (1.0, 3.0)
    assert high.mean.tolist() == [7.0] * STEPS
    spec = curve(panels["Loss"], [None, None])
    drawn = {json.dumps(value, sort_keys=True) for value in spec["data"]["values"] if value["x"] == 5}
    assert (
        json.dumps({"x": 5, "y": 2.0, "label": "low", "line": 0, "low": 1.0, "high": 3.0}, sort_keys=True)
        in drawn
    )
    assert spec["encoding"]["x"]["title"] == "step"
    assert spec["layer"][-1]["encoding"]["y"]["axis"]["title"] == "loss"


def test_every_panel_names_what_its_axis_measures(groups):
    units = {panel.title: panel.unit for panel in curves(groups).panels}
    assert units == {
        "Loss": "loss",
        "KL from the reference": "nats per sequence",
        "Entropy": "nats per token",
        "Temperature β": "reward per nat",
        "Learning rate": "rate per step",
        "Successes": "share of rows",
        "Distinct successes": "completions",
        "Age of rows": "steps",
    }


def test_a_long_line_keeps_its_spike():
    values = [0.0] * 5000
    values[3210] = 9.0
    kept = thinned(np.array(values))
    assert 3210 in kept and {0, 4999} <= set(kept) and len(kept) <= 2 * POINTS


def test_policies_and_fresh_rows_over_steps_by_hand(place, groups):
    _, store, _ = place
    with connect(store) as connection:
        actual = progress(connection, groups)
    (metric, series), *_ = actual.evaluated
    assert metric.label == "pass@1"
    # 2 of 20 before; 5 and 7 of 20 at step 10, 10 and 12 at step 20; 9 and 14 for the third run.
    assert [(p.step, p.value) for p in series[0].points] == [
        (0, 0.1),
        (10, pytest.approx(0.3)),
        (20, pytest.approx(0.55)),
    ]
    assert [p.value for p in series[1].points] == pytest.approx([0.1, 0.45, 0.7])
    assert series[0].points[1].low < 0.3 < series[0].points[1].high  # the two seeds differ
    fresh = actual.fresh[0]
    assert (fresh.steps, fresh.rows) == ([4, 8], {"accepted": [2, 2], "wrong_answer": [4, 4]})
    # The first seed wrote a new program at each step, the second the same one: (1 + 1) / 2, (2 + 1) / 2.
    assert [(p.step, p.value) for p in actual.programs[0].points] == [(4, 1.0), (8, 1.5)]
    names = [name for name, _, _ in actual.levels[0].rows]
    assert names[:2] == ["reference ref", "low"] and len(names) == 3


def test_every_figure_links_to_the_explorer_at_the_versions_of_the_report(linked, place):
    figures = linked.split('<figure class="chart">')[1:]
    assert len(figures) > 12
    links = [
        re.search(r'<a class="explorer" href="([^"]+)"', one.partition("</figure>")[0]) for one in figures
    ]
    assert all(links)
    at = Links(None, place[1].pins()).at
    assert "evaluations" in at and all(link[1].endswith(f"&amp;at={at}") for link in links)
    curves_page = next(link[1] for link in links if "/run?" in link[1]).replace("&amp;", "&")
    assert [v for k, v in parse_qsl(urlsplit(curves_page).query) if k == "run"] == [
        "low-0",
        "low-1",
        "high-0",
    ]


def test_a_point_of_a_single_seed_leads_to_its_step(linked):
    specs = [
        json.loads(text) for text in re.findall(r'<script type="application/json">(.*?)</script>', linked)
    ]
    calculated = [
        t["calculate"]
        for s in specs
        for layer in s["layer"]
        for t in layer.get("transform", [])
        if "calculate" in t
    ]
    assert any("http://127.0.0.1:8181/step?run=high-0&at=" in one for one in calculated)
    assert all("low-0" not in one for one in calculated)


def test_names_from_runs_do_nothing(linked):
    body = linked[: linked.index("<script>")]
    assert "<script>window.owned" not in linked and "\u202e" not in body
    assert "window.owned=1" in body


def test_a_run_outside_the_folder_of_the_explorer_has_no_page(tmp_path):
    links = Links(Explorer("http://127.0.0.1:8181", tmp_path / "runs"), {"problems": 3, "tests": -1})
    assert links.runs([tmp_path / "elsewhere"]) is None and links.step(None) is None
    assert links.sql("select 1") == "http://127.0.0.1:8181/sql?q=select+1&at=problems3"
    assert Links(None, {}).sql("select 1") is None


def test_more_configurations_than_colours_are_refused(place, tmp_path):
    _, store, _ = place
    runs = [write_run(tmp_path, f"many-{i}", 0, float(i), 1.0) for i in range(9)]
    with pytest.raises(ReportError, match="9 runs have 9 configurations; at most 8"):
        write_report(store, runs, tmp_path / "report")


# ---- in a real browser

CHROMIUM = Path("/usr/bin/chromium")
TOO_WIDE = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
CUT = """() => [...document.querySelectorAll("figure svg")].filter((svg) => {
    const box = svg.getBoundingClientRect();
    return box.width && (box.left < 0 || box.right > document.documentElement.clientWidth + 1);
}).length"""
needs_browser = pytest.mark.skipif(not CHROMIUM.exists(), reason="needs Debian's package chromium")


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright, from the extra dev")
    with api.sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu"]
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=flags)
        yield chromium
        chromium.close()


def opened(browser, address, **options):
    """The report in a new window, and what its scripts complained about."""
    page = browser.new_context(**options).new_page()
    page.faults = []
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    page.on("console", lambda message: message.type == "error" and page.faults.append(message.text))
    page.on("request", lambda request: request.url.startswith("http") and page.faults.append(request.url))
    page.goto(address)
    return page


def scroll_through(page):
    for top in range(0, page.evaluate("document.body.scrollHeight"), 800):
        page.evaluate(f"window.scrollTo(0, {top})")
        page.wait_for_timeout(60)
    page.wait_for_function("document.querySelectorAll('figure.chart:not(.drawn)').length === 0")
    page.wait_for_timeout(300)


@pytest.mark.slow
@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1000, 2000])
def test_charts_are_drawn_and_none_is_cut(place, linked, browser, width, scheme):
    file = place[0] / "report" / "index.html"
    page = opened(browser, file.as_uri(), viewport={"width": width, "height": 900}, color_scheme=scheme)
    scroll_through(page)
    charts = page.locator("figure.chart").count()
    assert charts > 12 and page.locator("figure.chart .live svg.marks").count() == charts
    assert page.locator("figure.chart summary[aria-label='Save this chart']").count() == charts
    assert page.evaluate(TOO_WIDE) <= 0 and page.evaluate(CUT) == 0
    paper, ink = (
        page.evaluate(f"getComputedStyle(document.documentElement).getPropertyValue('--{n}')")
        for n in ("paper", "ink")
    )
    assert (paper < ink) == (scheme == "dark")
    assert page.evaluate("window.owned") is None and page.faults == []
    page.context.close()


@pytest.mark.slow
@needs_browser
@pytest.mark.parametrize("width", [400, 1000])
def test_without_scripts_the_drawings_are_shown(place, linked, browser, width):
    file = place[0] / "report" / "index.html"
    page = opened(browser, file.as_uri(), viewport={"width": width, "height": 900}, java_script_enabled=False)
    boxes = [one.bounding_box() for one in page.locator("figure.chart .static svg[role=img]:visible").all()]
    assert len(boxes) == page.locator("figure.chart").count() > 12
    assert all(box["width"] > 200 and box["x"] + box["width"] <= width for box in boxes)
    page.context.close()


@pytest.mark.slow
@needs_browser
def test_the_pointer_shows_values_and_the_legend_picks_a_line(place, linked, browser):
    file = place[0] / "report" / "index.html"
    page = opened(browser, file.as_uri(), viewport={"width": 1000, "height": 900})
    scroll_through(page)
    loss = page.locator("#curves figure.chart").first
    loss.evaluate("figure => figure.scrollIntoView({block: 'center'})")
    point = loss.locator("svg.marks [aria-roledescription='point']").nth(5).bounding_box()
    page.mouse.move(point["x"] + point["width"] / 2, point["y"] + point["height"] / 2)
    tooltip = page.locator("#vg-tooltip-element.visible")
    tooltip.wait_for(state="attached")
    assert "lowest seed" in tooltip.inner_text() and "step" in tooltip.inner_text()
    legend = loss.locator(".role-legend-label text").first.bounding_box()
    page.mouse.click(legend["x"] + 5, legend["y"] + legend["height"] / 2)
    faded = loss.locator("svg.marks path[aria-roledescription='line mark'][opacity='0.06']")
    faded.first.wait_for(state="attached")
    assert page.faults == []
    page.context.close()
