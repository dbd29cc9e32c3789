"""The page: the numbers of a store worked out by hand, words for missing parts, and hostile text that does
nothing.
"""

import ast
import hashlib
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

import pipeline.evaluation.report
from pipeline.evaluation.report import ReportError, text, write_report
from pipeline.store.sql import connect, query
from pipeline.store.store import Store

HOSTILE = (
    "print('</script><script>document.title = 1</script>')\x00\x1b[31m \u202e"
    " # <img src=x onerror=alert(1)> $x_1$ &amp;\n\tend"
)
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


class Page(HTMLParser):
    """Elements, attributes and text of a page; rows of its tables as lists of cell texts."""

    def __init__(self, source):
        super().__init__()
        self.tags, self.attributes, self.rows, self.texts, self.ids = set(), [], [], [], []
        self.section, self.by_section, self._cell = "", {}, False
        self.feed(source)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += attrs
        self.ids += [value for name, value in attrs if name == "id"]
        if tag == "section":
            self.section = dict(attrs)["id"]
        if tag == "tr":
            self.rows.append((self.section, []))
        self._cell = tag in ("td", "th") or (self._cell and tag != "tr")
        if tag in ("td", "th"):
            self.rows[-1][1].append("")

    def handle_endtag(self, tag):
        self._cell = self._cell and tag not in ("td", "th")

    def handle_data(self, data):
        self.texts.append(data)
        self.by_section[self.section] = self.by_section.get(self.section, "") + data
        if self._cell:
            self.rows[-1][1][-1] += data

    def table(self, section):
        """Rows of a section's tables by their first cell (the first if repeated), without separators."""
        cells = [
            [cell.replace("\u202f", "").strip() for cell in row]
            for where, row in self.rows
            if where == section and row
        ]
        return {row[0]: row[1:] for row in reversed(cells)}

    def says(self, section):
        return " ".join(self.by_section[section].replace("\u202f", "").split())


def evaluation(rows, policy, problem, correct, samples=20, **columns):
    settings = {"temperature": 0.4, "samples_per_problem": 20, "seed": columns.get("seed") or 0}
    return {
        "policy_id": policy,
        "problem_id": problem,
        "settings": json.dumps(settings),
        "split": "test",
        "samples": samples,
        "correct": correct,
        "distinct_correct": min(correct, 3),
        "judge_errors": max(0, 20 - samples),
        "evaluated_at": rows.day,
    } | columns


def write_run(folder, **changes):
    folder.mkdir(parents=True, exist_ok=True)
    record = {
        "run": "run-1",
        "started_at": "2025-01-01T10:00:00+00:00",
        "command": "spo demo --seeds 1",
        "reference_policy": "ref",
    }
    (folder / "run.json").write_text(json.dumps(record | changes))
    return folder


def step(number, **figures):
    sources = {"human": {"log_ratio": -float(number)}, "reference": {"log_ratio": 0.5}}
    return {
        "step": number,
        "tokens": 1000,
        "gradient_norm": 1.0,
        "loss": 1.0 / (number + 1),
        "residual": 0.1,
        "q_success": -0.1,
        "q_failure": -0.9,
        "q_above_zero": 0.0,
        "sources": sources,
        "data_seconds": 0.5,
        "seconds": 2.0,
        "watermark": {"verdicts": 3 + number // 4},
    } | figures


@pytest.fixture(scope="module")
def whole(tmp_path_factory, rows, small_store):
    """A report on the small store with one trained seed, and hostile text wherever data can put it."""
    folder = tmp_path_factory.mktemp("report")
    store = Store(shutil.copytree(small_store.location, folder / "store"))
    problems = [
        rows.problem(
            f"held/{i:02}", split="test", title=f"<b>t{i}</b>", statement=HOSTILE, tags=["<i>$f_{$</i>"]
        )
        for i in range(12)
    ]
    store.append("problems", rows.frame("problems", problems), producer="t", sequence=0)
    sampled = {
        "origin": "online",
        "temperature": 0.4,
        "batch_id": "eval/x",
        "program": HOSTILE,
        "policy_id": "<u>new</u>",
    }
    actual = [
        rows.trajectory("new-0", "held/00", **sampled),
        rows.trajectory("new-1", "held/00", **sampled, run_id="<u>new</u>"),
    ]
    store.append("trajectories", rows.frame("trajectories", actual), producer="t", sequence=0)
    judged = [rows.verdict("new-0", "accepted", "held/00"), rows.verdict("new-1", "wrong_answer", "held/00")]
    store.append("verdicts", rows.frame("verdicts", judged), producer="t", sequence=0)
    refused = {
        "quarantine_id": "bad",
        "batch_id": "batch-1",
        "adapter": "bundle",
        "source_file": "<s>.jsonl",
        "source_line": 3,
        "field": "code",
        "reason": "not UTF-8: <script>",
        "raw": b"\xff\x00</code><script>1</script>",
        "refused_at": rows.day,
    }
    store.append("quarantine", rows.frame("quarantine", [refused]), producer="t", sequence=0)
    counts = [evaluation(rows, "ref", f"held/{i:02}", 0 if i == 0 else i) for i in range(12)]
    counts += [evaluation(rows, "<u>new</u>", f"held/{i:02}", 5 if i == 0 else i) for i in range(12)]
    store.append("evaluations", rows.frame("evaluations", counts), producer="t", sequence=0)
    run = write_run(
        folder / "run",
        policies=[{"policy_id": "<u>new</u>", "seed": 0, "folder": "seed-0"}],
        settings={"training": {"beta": 0.1, "note": "</style>\ud800"}, "mixture": [{"name": "human"}]},
        stages=[
            {"name": "ingest", "seconds": 75.2, "detail": "<b>9</b> rows"},
            {"name": "train", "seconds": 4000},
        ],
        rows_in_file={"human.jsonl": 1234},
    )
    (run / "seed-0").mkdir()
    (run / "seed-0" / "metrics.jsonl").write_text("".join(json.dumps(step(i)) + "\n" for i in range(30)))
    return write_report(store, run, folder / "report")


@pytest.fixture(scope="module")
def page(whole):
    return Page(whole.read_text(encoding="utf-8"))


def test_the_page_holds_the_numbers_of_the_store(page):
    assert page.table("ingested")["human.jsonl"] == ["bundle", "1234", "9", "6", "1", "2", "3.0 s"]
    assert page.table("ingested")["src"] == ["2", "2", "0", "0", "0", "8", "23"]
    assert page.table("ingested")["<s>.jsonl"][:3] == ["1", "code: not UTF-8not UTF-8: <script>", "3"]
    agreement = page.table("agreement")
    # src: h1 and h4 as claimed, h2 and h3 not; oth: both as claimed.
    assert agreement["src"] == ["4", "2", "50.0%", "1", "1", "1", "1"]
    assert agreement["oth"] == ["2", "2", "100.0%", "1", "0", "0", "1"]
    assert agreement["all sources"] == ["6", "4", "66.7%", "2", "1", "1", "2"]
    assert agreement["h2"][3:5] == ["wrong answer", "accepted"]
    assert agreement["h3"][3:5] == ["accepted", "wrong answer"]
    assert page.table("curves")["seed 0"][:5] == ["30", "30000", "1 min 00 s", "500", "25.0%"]
    assert page.table("lineage")["total"][0] == "1 h 07 min"


def test_judge_errors_and_missing_languages_are_counted_separately(page):
    # ref: 13 + 6 samples; of ref-b1..6 one has only a judge error and one no language, so 17 are judged and 4
    # accepted: ref-a01, ref-a02 and ref-cold; ref-a04 was accepted by an older judge only.
    accepted, *_, judged, share, errors, unavailable, missing = page.table("verdicts")["earlier training"][1:]
    assert (accepted, judged, share, errors, unavailable, missing) == ("3", "17", "17.6%", "1", "1", "0")
    rows = [row for section, row in page.rows if section == "verdicts"]
    assert ["src", "python3", "1", "1", "no detail was recorded"] in rows


def test_duplicates_are_counted_by_level(page):
    # ref-a01 and ref-a02 are equal to the byte, ref-a05 is alone; the other 16 samples of ref were never
    # compared.
    assert page.table("duplicates")["earlier training"][:7] == [
        "19",
        "3",
        "33.3%",
        "0.0%",
        "0.0%",
        "66.7%",
        "2",
    ]
    assert "One program per cluster leaves 2 of 3 trajectories" in page.says("duplicates")


def test_the_headline_says_no_more_than_the_numbers(page):
    # One of 12 problems gained 25 points: resamples without it are 35 % of all, so the interval reaches 0.
    assert "the result is inconclusive, because the interval includes 0. This is one seed" in page.says(
        "headline"
    )
    assert "Training helped" not in page.says("headline")
    assert page.table("headline")["before"][0] == "27.5%"
    assert page.table("headline")["seed 0"][0] == "29.6%"
    assert "before 0 of 20 samples, after 5 of 20" in page.says("samples")


def without_libraries(source):
    """The page without its four scripts, which are the last elements of its body."""
    start = source.index("<script>")
    assert source[start:].count("<script>") == source[start:].count("</script>") == 4
    return source[:start]


def test_text_from_data_is_shown_and_does_nothing(whole, page):
    source = without_libraries(whole.read_text(encoding="utf-8"))
    assert source.count("<script") == source.count('<script type="application/json">') > 10
    assert not page.tags & {"img", "b", "s", "u", "iframe", "object", "link", "form"}
    assert not [
        name for name, _ in page.attributes if name.startswith("on") or name in ("src", "action", "srcset")
    ]
    assert all(value.startswith("#") for name, value in page.attributes if name in ("href", "xlink:href"))
    assert not [c for c in source if (ord(c) < 32 and c != "\n" and c != "\t") or c == "\u202e"]
    assert text.visible(HOSTILE) in "".join(page.texts)
    assert "\\x00\\x1b[31m \\u202e" in text.visible(HOSTILE)
    assert "\\xff\\x00</code><script>1</script>" in "".join(page.texts)
    assert "</style>\\ud800" in "".join(page.texts)


def test_nothing_is_loaded_from_elsewhere(whole, page):
    source = without_libraries(whole.read_text(encoding="utf-8"))
    assert "http://" not in source and "https://" not in source and "@import" not in source
    (policy,) = [value for name, value in page.attributes if name == "content" and "default-src" in value]
    assert policy.startswith(
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-"
    )
    assert policy.count("'sha256-") == 4 and "unsafe-eval" not in policy


def test_the_libraries_are_those_of_their_authors():
    folder = Path(pipeline.evaluation.report.__file__).parent / "static"
    named = re.findall(r"\| `([\w.-]+)` \| [^|]+ \| `([0-9a-f]{64})` \|", (folder / "README.md").read_text())
    assert [name for name, _ in named] == ["vega.min.js", "vega-lite.min.js", "vega-embed.min.js"]
    for name, digest in named:
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest, name


def test_ids_are_unique_and_references_hold(page):
    assert len(page.ids) == len(set(page.ids))
    used = {value[1:] for name, value in page.attributes if name in ("href", "xlink:href")}
    used |= {value[5:-1] for name, value in page.attributes if name == "clip-path"}
    assert used <= set(page.ids) and len(used) > 20


def test_colours_come_from_the_page(whole):
    source = without_libraries(whole.read_text(encoding="utf-8"))
    assert "#0a0b" not in source and "#0a0c" not in source
    assert "fill: var(--c" in source and "stroke: var(--c" in source


@pytest.mark.skipif(not CHROMIUM, reason="no browser on this machine")
def test_a_browser_shows_it(whole, tmp_path):
    command = [
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-component-update",
        "--disable-background-networking",
        "--disable-sync",
        f"--user-data-dir={tmp_path}",
        "--dump-dom",
        whole.as_uri(),
    ]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=200, check=True).stdout
    assert "<title>run-1 – report</title>" in dom
    assert Page(dom).table("agreement")["src"] == ["4", "2", "50.0%", "1", "1", "1", "1"]
    assert dom.count("<svg") >= 14


def test_an_empty_store_and_a_run_without_seeds_have_a_report(tmp_path):
    run = write_run(tmp_path / "run", command="", reference_policy="")
    path = write_report(Store(tmp_path / "store"), run, tmp_path / "report")
    page = Page(path.read_text())
    assert "svg" not in page.tags
    for section, words in {
        "headline": "No policy has been trained yet",
        "ingested": "Quarantine is empty: no row was refused.",
        "verdicts": "The store has no trajectories.",
        "agreement": "there is nothing to compare",
        "duplicates": "This store has not been deduplicated yet",
        "curves": "No seed has been trained yet.",
        "problems": "No problem was evaluated both before and after",
        "samples": "No problem was evaluated both before and after",
        "lineage": "The run recorded no settings.",
    }.items():
        assert words in page.says(section)


def test_a_seed_that_has_not_begun_is_reported(tmp_path, small_store):
    run = write_run(tmp_path / "run", policies=[{"policy_id": "pol", "seed": 1, "folder": "seed-1"}])
    page = Page(write_report(small_store, run, tmp_path / "report").read_text())
    assert "Seed 1: seed-1/metrics.jsonl does not exist: no step was logged." in page.says("curves")
    assert "The reference policy ref has not been evaluated." in page.says("headline")


def test_a_folder_without_a_run_is_an_error(tmp_path):
    with pytest.raises(ReportError, match=r"does not exist, or has neither run\.json nor config\.json"):
        write_report(Store(tmp_path / "store"), tmp_path, tmp_path / "report")
    (tmp_path / "run.json").write_text("[]")
    with pytest.raises(ReportError, match="not the record of a run: it has no key run"):
        write_report(Store(tmp_path / "store"), tmp_path, tmp_path / "report")


@pytest.fixture
def trained(rows, tmp_path):
    """A store with a reference and the folder of a run by `spo train`, not evaluated yet."""
    store = Store(tmp_path / "store")
    policies = [
        policy_row(rows, "base", step=None, weights="w0"),
        policy_row(rows, "mine@40", parent_id="base", run_id="mine", step=40),
        policy_row(rows, "mine", parent_id="base", run_id="mine", step=80),
    ]
    store.append("policies", rows.frame("policies", policies), producer="t", sequence=0)
    counts = [evaluation(rows, "base", f"held/{i:02}", i) for i in range(12)]
    store.append("evaluations", rows.frame("evaluations", counts), producer="t", sequence=0)
    run = tmp_path / "runs" / "mine"
    run.mkdir(parents=True)
    config = {"run": str(run), "seed": 3, "source": [{"name": "human"}], "training": {"steps": 80}}
    (run / "config.json").write_text(json.dumps(config))
    (run / "reference.json").write_text(json.dumps({"weights": "w0", "tokenizer": "t"}))
    (run / "metrics.jsonl").write_text("".join(json.dumps(step(i, margin=0.25)) + "\n" for i in range(80)))
    return store, run


def policy_row(rows, name, *, weights="other", **columns):
    details = json.dumps({"fingerprint": {"weights": weights}})
    return {
        "policy_id": name,
        "fingerprint": f"print of {name}",
        "folder": "",
        "details": details,
        "created_at": rows.day,
    } | columns


def report_of(store, run, tmp_path):
    return Page(write_report(store, run, tmp_path / "report").read_text())


def test_a_run_by_train_has_a_report_before_it_is_evaluated(trained, tmp_path):
    page = report_of(*trained, tmp_path)
    assert "The reference alone, over all its evaluations: pass@1 27.5% on 12 problems." in page.says(
        "headline"
    )
    assert page.table("curves")["seed 3"][:2] == ["80", "80000"]
    assert page.table("curves")["margin"] == ["seed 3", "80", "0.25", "0.25", "0.25", "0.25"]
    assert page.table("lineage")["mine"][1] == "base"
    assert "spo train" in page.says("lineage") and page.table("lineage")["training.steps"] == ["80"]


def test_a_run_by_train_is_compared_with_its_reference(rows, trained, tmp_path):
    store, run = trained
    counts = [evaluation(rows, "mine", f"held/{i:02}", i + 4) for i in range(12)]
    counts += [evaluation(rows, "mine@40", f"held/{i:02}", i + 2) for i in range(12)]
    store.append("evaluations", rows.frame("evaluations", counts), producer="t", sequence=1)
    page = report_of(store, run, tmp_path)
    assert page.table("headline")["before"][0] == "27.5%"
    assert page.table("headline")["seed 3"][0] == "47.5%"


def test_a_run_that_goes_on_is_compared_at_its_last_evaluated_step(rows, trained, tmp_path):
    store, run = trained
    counts = [evaluation(rows, "mine@40", f"held/{i:02}", i + 2) for i in range(12)]
    store.append("evaluations", rows.frame("evaluations", counts), producer="t", sequence=1)
    page = report_of(store, run, tmp_path)
    assert page.table("headline")["seed 3 at step 40"][0] == "37.5%"


def test_the_reference_of_a_run_without_published_policies_is_known_by_its_weights(trained, tmp_path):
    store, run = trained
    other = run.rename(run.parent / "other")
    assert "pass@1 27.5% on 12 problems" in report_of(store, other, tmp_path).says("headline")
    (other / "reference.json").write_text(json.dumps({"weights": "nobody's"}))
    actual = report_of(store, other, tmp_path).says("headline")
    assert "The reference policy (not known) has not been evaluated." in actual


def test_the_name_in_a_configuration_comes_before_that_of_the_folder(trained, tmp_path):
    store, run = trained
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | {"name": "renamed", "reference_policy": "base"}))
    page = report_of(store, run, tmp_path)
    assert "not in the table policies: renamed" in page.says("lineage")


def test_the_folder_of_a_policy_is_not_a_run(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(ReportError, match=r"config\.json: not the record of a run: it has no key source"):
        write_report(Store(tmp_path / "store"), tmp_path, tmp_path / "report")


def test_the_kind_of_a_refusal_is_that_of_admission(small_store):
    from pipeline.evaluation.report.ingestion import REASONS
    from pipeline.ingest.admission import fault_kind

    with connect(small_store) as connection:
        kinds = query(connection, REASONS)["kind"].to_list()
    assert kinds == [fault_kind(("code", "no program"))]


def test_it_stays_within_its_room():
    for path in Path(pipeline.evaluation.report.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.split(".")[0] for name in names} & {
                "torch",
                "trainer",
                "flows",
                "prefect",
                "sandbox",
            }, path
