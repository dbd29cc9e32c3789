"""`./run bench newcomer [--install]`: from the wheel to a verdict, an answer and a trained step on own data.

The wheel is built and put into an environment of its own, outside the tree. Its dependencies are those of
this environment, or with `--install` those that pip fetches. The commands are the tutorial's, copied from
its pages. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
import zipfile
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path[:] = [folder for folder in sys.path if folder != str(HERE)]
sys.path.insert(0, str(ROOT))
from tests.test_tutorial import PAGES, run_page  # noqa: E402

COMMANDS = """
import json, typer.main
from flows.cli import app
waiting, names = [((), typer.main.get_command(app))], []
while waiting:
    path, command = waiting.pop()
    below = getattr(command, "commands", {})
    waiting += [((*path, name), sub) for name, sub in below.items()]
    if not below:
        names.append(path)
print(json.dumps(names))
"""


def install(folder: Path, fetch: bool) -> Path:
    """An environment with the wheel. Returns its `bin`."""
    words = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder / "wheel")]
    subprocess.run(words, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = (folder / "wheel").glob("*.whl")
    place = folder / "environment"
    subprocess.run([sys.executable, "-m", "venv", *([] if fetch else ["--without-pip"]), place], check=True)
    if fetch:
        subprocess.run([place / "bin" / "pip", "install", "--quiet", wheel], check=True)
        return place / "bin"
    packages = next((place / "lib").glob("python3.*")) / "site-packages"
    zipfile.ZipFile(wheel).extractall(packages)
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    script = place / "bin" / "spo"
    script.write_text(f"#!{place / 'bin' / 'python'}\nfrom spo.command import main\nmain()\n")
    script.chmod(0o755)
    return place / "bin"


class Clock:
    """Seconds from the first command of the tutorial to what a newcomer waits for."""

    def __init__(self, folder: Path) -> None:
        self.begin = time.monotonic()
        self.folder = folder
        self.seconds: dict[str, float] = {}
        self.over = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def note(self, what: str) -> None:
        self.seconds.setdefault(what, round(time.monotonic() - self.begin, 1))

    def _watch(self) -> None:
        """Note the first step that a run has logged."""
        while not self.over.wait(0.05):
            if any(path.stat().st_size for path in self.folder.glob("data/runs/*/metrics.jsonl")):
                return self.note("first_step_s")


def walk(folder: Path, spo: Path, environment: dict[str, str]) -> tuple[int, dict[str, float]]:
    """Number of commands of the tutorial that passed, and the seconds of the clock."""
    clock, passed = Clock(folder), 0
    for page in PAGES:
        for command, _ in run_page(page, folder, [str(spo)], environment):
            passed += 1
            print(f"{time.monotonic() - clock.begin:8.1f} s  {command}", flush=True)
            if command.startswith("spo label"):
                clock.note("first_verdict_s")
            if command.startswith("spo sql"):
                clock.note("first_answer_s")
    clock.over.set()
    return passed, clock.seconds


def commands_with_help(programs: Path, environment: dict[str, str]) -> int:
    done = subprocess.run(
        [programs / "python", "-c", COMMANDS], env=environment, cwd=programs, capture_output=True, check=True
    )
    words = [[programs / "spo", *path, "--help"] for path in json.loads(done.stdout)]
    shown = [subprocess.run(one, env=environment, cwd=programs, capture_output=True) for one in words]
    return sum(one.returncode == 0 and b"Usage" in one.stdout for one in shown)


def passes(*words: str) -> tuple[bool, str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-P", *words], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    return done.returncode == 0, done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--install", action="store_true", help="let pip fetch the dependencies")
    fetch = parser.parse_args().install
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        begin = time.monotonic()
        programs = install(folder, fetch)
        installed_s = round(time.monotonic() - begin, 1)
        environment = {"PATH": f"{programs}:/usr/bin:/bin", "HOME": name, "OMP_NUM_THREADS": "1"}
        figures = {"install_s": installed_s if fetch else None}
        figures["commands_in_wheel"] = commands_with_help(programs, environment)
        (folder / "own").mkdir()
        figures["tutorial_steps_passed"], seconds = walk(folder / "own", programs / "spo", environment)
        _, output = passes("docs/check.py", str(folder / "site"))
        docs = json.loads(output.splitlines()[-1]) if output else {}
    figures |= {name: docs.get(name) for name in ("docs_undocumented", "broken_links")} | seconds
    figures["old_store_opens"], _ = passes("-m", "pytest", "-q", "tests/pipeline/test_old_stores.py")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
