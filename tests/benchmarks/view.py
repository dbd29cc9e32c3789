"""Benchmark of the explorer: `./run bench view [--rows N] [--repeats N] [--browser]`; the last line is JSON.

A store of synthetic trajectories (those of `./run bench store`) is served by uvicorn and read over HTTP on
loopback. Times are those of whole responses. `window` are pages of rows in the order of storage, sorted,
filtered and turned; `facet` are counts by columns; `search` are texts that are frequent, rare and absent.

`--browser` also runs the tests in Chromium: `browser_checks` are those that passed, `axe_serious` is 0, or
null if SPO_AXE does not name axe.min.js, and `xss` the number of tests with hostile rows that failed.
"""

from __future__ import annotations

import argparse
import html
import importlib.util
import json
import os
import re
import resource
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree

import httpx
import numpy as np
import uvicorn

from flows.view import application
from flows.view.app import PAGES
from pipeline.store import Store

ROOT = Path(__file__).parents[2]
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
    "/table/trajectories?q=append",
    "/table/trajectories?q=v399+v398",
    "/table/trajectories?q=no-such-text",
]


def synthetic_store(folder: Path, rows: int) -> Store:
    """A compacted store with this many trajectories."""
    spec = importlib.util.spec_from_file_location("bench_store", Path(__file__).with_name("store.py"))
    assert spec and spec.loader
    bench = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bench)
    rng, store = np.random.default_rng(0), Store(folder / "store")
    text = bench.source_text(rng, 20_000_000)
    for number, start in enumerate(range(0, rows, bench.BATCH_ROWS)):
        frame = bench.batch(rng, text, number, min(bench.BATCH_ROWS, rows - start))
        store.append("trajectories", frame, producer="bench", sequence=number)
        print(f"{start + frame.height:,} of {rows:,} rows", file=sys.stderr)
    store.maintain("trajectories")
    return store


@contextmanager
def served(store: Store, folder: Path) -> Iterator[httpx.Client]:
    """A client of the explorer on a free port, with its cookie."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        app = application(store.location, TOKEN, runs_folder=folder, port=port)
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", follow_redirects=True, timeout=300) as client:
            client.get(f"/?token={TOKEN}").raise_for_status()
            yield client
        server.should_exit = True
        thread.join()


def measured(
    client: httpx.Client, addresses: list[str], repeats: int
) -> tuple[list[float], list[int], list[float]]:
    """Milliseconds, bytes, and CPU milliseconds of both sides, of each address and of the page after it."""
    times, sizes, processor = [], [], []
    at = str(client.get("/").url).rpartition("at=")[2]
    for address in addresses:
        for _ in range(repeats):
            page = f"{address}{'&' if '?' in address else '?'}at={at}"
            for _ in range(2):
                begin, spent = time.perf_counter(), time.process_time()
                answer = client.get(page).raise_for_status()
                times.append(1000 * (time.perf_counter() - begin))
                processor.append(1000 * (time.process_time() - spent))
                sizes.append(len(answer.content))
                following = re.search(r'rel="next" href="([^"]+)"', answer.text)
                if following is None:
                    break
                page = html.unescape(following[1])
        print(f"{address}: {np.median(times[-repeats:]):.0f} ms", file=sys.stderr)
    return times, sizes, processor


def p95(values: list[float]) -> float:
    return round(float(np.quantile(values, 0.95)), 1)


def browser_figures() -> dict[str, int | None]:
    """Outcomes of the tests in Chromium and of the tests with hostile rows."""
    tests = ROOT / "tests" / "flows" / "view"
    outcomes: dict[str, str] = {}
    for marker, file in (("slow", "test_view_browser.py"), ("not slow", "test_view_guard.py")):
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder) / "report.xml"
            command = [
                sys.executable,
                "-m",
                "pytest",
                "-q",
                "-m",
                marker,
                str(tests / file),
                f"--junitxml={report}",
            ]
            subprocess.run(command, cwd=ROOT, stdout=sys.stderr, check=False)
            for case in ElementTree.parse(report).iter("testcase"):
                kinds = {child.tag for child in case} & {"failure", "error", "skipped"}
                outcomes[f"{file}:{case.get('name')}"] = min(kinds, default="passed")
    browser = {name: kind for name, kind in outcomes.items() if name.startswith("test_view_browser")}
    tried = re.compile("stays_text|hostile|runs_nothing")
    hostile = [kind for name, kind in outcomes.items() if tried.search(name)]
    axe = next((kind for name, kind in browser.items() if "axe" in name), "skipped")
    return {
        "browser_checks": sum(kind == "passed" for kind in browser.values()),
        "axe_serious": {"passed": 0, "skipped": None}.get(axe, 1),
        "xss": sum(kind in ("failure", "error") for kind in hostile),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where the store is made, or one of an earlier run")
    parser.add_argument("--browser", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as temporary:
        folder = options.folder or Path(temporary)
        store = (
            Store(folder / "store") if (folder / "store").exists() else synthetic_store(folder, options.rows)
        )
        rows = store.statistics("trajectories").rows
        with served(store, folder) as client:
            results = {
                name: measured(client, addresses, options.repeats)
                for name, addresses in (("window", WINDOWS), ("facet", FACETS), ("search", SEARCHES))
            }
    figures: dict[str, object] = {"rows": rows, "pages": len(PAGES)}
    figures |= {f"{name}_ms_p95": p95(times) for name, (times, _, _) in results.items()}
    for name, (times, _, processor) in results.items():
        figures[f"{name}_ms_median"] = round(float(np.median(times)), 1)
        figures[f"{name}_cpu_ms_p95"] = p95(processor)
    figures["page_bytes_max"] = max(results["window"][1])
    figures["peak_memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    none = {"browser_checks": None, "axe_serious": None, "xss": None}
    print(json.dumps(figures | (browser_figures() if options.browser else none)))


if __name__ == "__main__":
    main()
