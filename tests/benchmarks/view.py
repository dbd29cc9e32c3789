"""Benchmark of the explorer: `./run bench view [--rows N] [--repeats N] [--no-browser]`; the last line is
JSON.

A store of trajectories made from real programs (`view_store.py`) is served by the explorer in a process of
its own and read over HTTP on loopback. Times are those of whole responses. `window` are pages of rows in the
order of storage, sorted, filtered and turned; `facet` are counts by columns; `search` are words that are
frequent, rare and absent, several words, and text in quotes. `index_s` is the time until the index of words
was built, by the first search. `page_bytes_max` and `memory_mb` (peak of the explorer's process) are of these
pages.

Unless `--no-browser`, the tests in Chromium run too: `browser_checks` are those that passed, `axe_serious`
what axe found (null if SPO_AXE does not name axe.min.js), `xss` the number of tests with hostile rows that
failed, `clicks_spike_to_row` the clicks from a spike of a curve to the page of a row, and `first_paint_ms`
the browser's own figure for the page of a table.
"""

from __future__ import annotations

import argparse
import html
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import httpx
import numpy as np

from flows.view.app import PAGES
from pipeline.store import Store

ROOT = Path(__file__).parents[2]
CHROMIUM = Path("/usr/bin/chromium")
TOKEN = "0123456789abcdef0123456789abcdef"
WINDOWS = [
    "/table/trajectories",
    "/table/trajectories?f=origin:eq:human&f=language:eq:cpp",
    "/table/trajectories?sort=-created_at",
    "/table/trajectories?sort=policy_step",
    "/table/trajectories?sort=trajectory_id",
]
FACETS = ["/facets/trajectories?part=1", "/facets/trajectories?part=1&f=origin:eq:human"]
SEARCHES = [
    "/table/trajectories?q=print",
    "/table/trajectories?q=heapq+heappush",
    "/table/trajectories?q=yield+from",
    "/table/trajectories?q=no-such-text",
    "/table/trajectories?q=zzzzzz",
    "/table/trajectories?q=%22for+i+in+range(n):%22",
    "/table/trajectories?q=yield&f=origin:eq:human",
    "/table/problems?q=integers+case+777",
]


def module(name: str) -> ModuleType:
    """Another file of this folder."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec and spec.loader
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


@dataclass(frozen=True)
class Explorer:
    """The explorer's process, and a client with its cookie."""

    process: subprocess.Popen
    client: httpx.Client

    def peak_memory_mb(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) // 1024  # type: ignore[index]

    def cpu_ms(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return 1000 * (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def served(store: Store, folder: Path) -> Iterator[Explorer]:
    settings = {
        "location": store.location,
        "token": TOKEN,
        "runs": str(folder),
        "cache": str(folder / "cache"),
    }
    command = [sys.executable, "-P", "-c", "from flows.view.beside import main; main()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin and process.stdout
        process.stdin.write(json.dumps(settings) + "\n")
        process.stdin.flush()
        address = process.stdout.readline().strip()
        with httpx.Client(base_url=address, follow_redirects=True, timeout=300) as client:
            client.get(f"/?token={TOKEN}").raise_for_status()
            yield Explorer(process, client)
        process.terminate()


def build_index(explorer: Explorer) -> float:
    """Seconds until the indexes are built, which the first searches start."""
    begin = time.perf_counter()
    for address in ("/table/problems?q=zzzzzz", "/table/trajectories?q=zzzzzz&rows=1"):
        while True:
            answer = explorer.client.get(address)  # a store too large for a reading in 30 s answers 400
            if answer.is_success and "is being built" not in answer.text:
                break
            time.sleep(5)
            note = re.search(r"[\d,]+ of [\d,]+ rows are in it", answer.text)
            print(note[0] if note else answer.status_code, file=sys.stderr, flush=True)
    return round(time.perf_counter() - begin, 1)


def measured(
    explorer: Explorer, addresses: list[str], repeats: int
) -> tuple[list[float], list[int], list[float]]:
    """Milliseconds, bytes, and CPU milliseconds of the explorer, of each address and of the page after it."""
    times, sizes, processor = [], [], []
    client = explorer.client
    at = str(client.get("/").url).rpartition("at=")[2]
    for address in addresses:
        first = len(times)
        for _ in range(repeats):
            page = f"{address}{'&' if '?' in address else '?'}at={at}"
            for _ in range(2):
                begin, spent = time.perf_counter(), explorer.cpu_ms()
                answer = client.get(page).raise_for_status()
                times.append(1000 * (time.perf_counter() - begin))
                processor.append(explorer.cpu_ms() - spent)
                sizes.append(len(answer.content))
                following = re.search(r'rel="next" href="([^"]+)"', answer.text)
                if following is None:
                    break
                page = html.unescape(following[1])
        median, cpu = np.median(times[first:]), np.median(processor[first:])
        print(f"{address}: {median:.0f} ms, {cpu:.0f} ms CPU", file=sys.stderr, flush=True)
    return times, sizes, processor


def p95(values: list[float]) -> float:
    return round(float(np.quantile(values, 0.95)), 1)


def first_paint_ms(explorer: Explorer) -> float | None:
    """The median of five visits of a table's page in Chromium; None without it."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return None
    if not CHROMIUM.exists():
        return None
    address, paints = str(explorer.client.base_url).rstrip("/"), []
    paint = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=flags)
        page = browser.new_page()
        page.goto(f"{address}/?token={TOKEN}")
        for _ in range(5):
            page.goto(f"{address}/table/trajectories", wait_until="load")
            page.wait_for_timeout(300)
            paints.append(page.evaluate(paint))
        browser.close()
    return round(float(np.median([one for one in paints if one is not None])), 1)


def browser_figures() -> dict[str, int | None]:
    """Outcomes of the tests in Chromium and of the tests with hostile rows."""
    tests = ROOT / "tests" / "flows" / "view"
    outcomes: dict[str, str] = {}
    properties: dict[str, int] = {}
    for marker, file in (("slow", "test_view_browser.py"), ("not slow", "test_view_guard.py")):
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder) / "report.xml"
            command = [sys.executable, "-P", "-m", "pytest", "-q", "-m", marker, str(tests / file)]
            subprocess.run(
                [*command, f"--junitxml={report}"], cwd=ROOT, stdout=sys.stderr, check=False
            )  # fmt: skip
            for case in ElementTree.parse(report).iter("testcase"):
                kinds = {child.tag for child in case} & {"failure", "error", "skipped"}
                outcomes[f"{file}:{case.get('name')}"] = min(kinds, default="passed")
                for one in case.iter("property"):
                    properties[str(one.get("name"))] = int(str(one.get("value")))
    browser = {name: kind for name, kind in outcomes.items() if name.startswith("test_view_browser")}
    tried = re.compile("stays_text|hostile|runs_nothing")
    hostile = [kind for name, kind in outcomes.items() if tried.search(name)]
    return {
        "browser_checks": sum(kind == "passed" for kind in browser.values()),
        "browser_failures": sum(kind in ("failure", "error") for kind in browser.values()),
        "axe_serious": properties.get("axe_serious"),
        "xss": sum(kind in ("failure", "error") for kind in hostile),
        "clicks_spike_to_row": properties.get("clicks_spike_to_row"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where the store is made, or one of an earlier run")
    parser.add_argument("--no-browser", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as temporary:
        folder = options.folder or Path(temporary)
        store = module("view_store").synthetic_store(folder, options.rows)
        figures: dict[str, object] = {"rows": store.statistics("trajectories").rows, "pages": len(PAGES)}
        with served(store, folder) as explorer:
            figures["index_s"] = build_index(explorer)
            kinds = (("window", WINDOWS), ("facet", FACETS), ("search", SEARCHES))
            results = {name: measured(explorer, addresses, options.repeats) for name, addresses in kinds}
            figures["first_paint_ms"] = None if options.no_browser else first_paint_ms(explorer)
            figures["memory_mb"] = explorer.peak_memory_mb()
    figures |= {f"{name}_ms_p95": p95(times) for name, (times, _, _) in results.items()}
    for name, (times, _, processor) in results.items():
        figures[f"{name}_ms_median"] = round(float(np.median(times)), 1)
        figures[f"{name}_cpu_ms_p95"] = p95(processor)
    figures["page_bytes_max"] = max(size for _, sizes, _ in results.values() for size in sizes)
    print(json.dumps(figures | ({} if options.no_browser else browser_figures())))


if __name__ == "__main__":
    main()
