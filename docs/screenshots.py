"""`./run docs --screenshots`: the pictures of explorer, report and terminal, from a small store made here.

Writes docs/pictures/*.webp and terminal.svg. Needs Debian's chromium, and playwright from the extra dev.
"""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
PICTURES = HERE / "pictures"
CHROMIUM = "/usr/bin/chromium"
SPO = [sys.executable, "-P", "-m", "flows"]
SMALL = ("--max-new-tokens", "48")
STORE = (
    ("ingest", str(ROOT / "data" / "starter"), "--limit", "60"),
    ("label",),
    ("deduplicate",),
    ("warmstart", "models/first", "--share", "1", "--steps", "150", "--layers", "2", "--width", "64"),
    ("rollout", "models/first", "--samples", "4", *SMALL),
    ("label",),
    ("score", "models/first"),
    ("init",),
)
FONTS = re.compile(r"@font-face \{.*?\}\s*|<!--.*?-->\s*", re.DOTALL)  # they would come from the network
WRONG = (
    "select trajectory_id from judged where verdict = 'wrong_answer' and origin = 'human' order by 1 limit 1"
)
ASKED = "select origin, verdict, count(*) as programs from judged group by all order by all"


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "SPO_DATA_DIR": "data", "OMP_NUM_THREADS": "1"}


def spo(folder: Path, *words: str) -> str:
    done = subprocess.run([*SPO, *words], cwd=folder, env=environment(), capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"spo {' '.join(words)}: {done.stdout}{done.stderr}")
    return done.stdout


def make_store(folder: Path) -> None:
    """A store with a run of two seeds."""
    for words in STORE:
        spo(folder, *words)
    first = (folder / "run.toml").read_text()
    for seed in (0, 1):
        text = first.replace("first-spo", f"first-spo/seed-{seed}").replace("seed = 0", f"seed = {seed}")
        text = text.replace("steps = 200", "steps = 60").replace("\nevaluation = ", "\n# evaluation = ")
        (folder / f"run-{seed}.toml").write_text(text)
        spo(folder, "train", f"run-{seed}.toml")


@contextmanager
def explorer(folder: Path) -> Iterator[str]:
    """The address of the explorer of the store, with its token."""
    process = subprocess.Popen(
        [*SPO, "view", "--port", "0"], cwd=folder, env=environment(), stderr=subprocess.DEVNULL
    )
    record = folder / "data" / "view.json"
    try:
        while not record.exists():
            if process.poll() is not None:
                raise SystemExit("spo view has ended")
            time.sleep(0.2)
        token = (folder / "data" / "view-token").read_text().strip()
        yield f"{json.loads(record.read_text())['address']}/?token={token}"
    finally:
        process.terminate()
        process.wait(30)


def save(picture: bytes, name: str) -> None:
    """As WebP, which has a fifth of the size."""
    from PIL import Image

    Image.open(io.BytesIO(picture)).convert("RGB").save(PICTURES / f"{name}.webp", quality=72, method=6)


def shoot(browser: Any, folder: Path, opened: str) -> None:
    home = opened.partition("/?")[0]
    wrong = json.loads(spo(folder, "sql", WRONG, "-o", "json"))[0]["trajectory_id"]
    page = browser.new_context(viewport={"width": 1200, "height": 800}, color_scheme="light").new_page()
    page.goto(opened)
    runs = "run=first-spo/seed-0&run=first-spo/seed-1"
    for name, address in (("trajectory", f"/trajectory?id={wrong}"), ("run", f"/run?{runs}")):
        page.goto(home + address)
        save(page.screenshot(), f"explorer-{name}")
    report = spo(folder, "report", "data/runs/first-spo/seed-0", "data/runs/first-spo/seed-1").split()[-1]
    page.goto((folder / report).as_uri())
    page.locator("#curves").evaluate("section => section.scrollIntoView()")
    page.wait_for_timeout(3000)
    save(page.screenshot(), "report")


def terminal(folder: Path) -> None:
    """A command and its answer, as the terminal shows them."""
    from rich.console import Console
    from rich.text import Text

    console = Console(record=True, width=96, file=io.StringIO(), force_terminal=True)
    console.print(f'$ spo sql "{ASKED}"', soft_wrap=False, highlight=False)
    console.print(Text.from_ansi(spo(folder, "sql", ASKED)))
    drawn = console.export_svg(title="spo", unique_id="terminal")
    (PICTURES / "terminal.svg").write_text(FONTS.sub("", drawn))


def main() -> None:
    from playwright.sync_api import sync_playwright

    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_store(folder)
        terminal(folder)
        with explorer(folder) as opened, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            shoot(browser, folder, opened)
            browser.close()
    for picture in sorted(PICTURES.iterdir()):
        print(f"{picture.relative_to(ROOT)}: {picture.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
