"""`./run matrix [--python VERSIONS] [--torch VERSIONS] [TEST...]`: a part of the tests on other versions.

Each cell is an environment of its own below .matrix/, with the packages of requirements.lock and one torch.
It is `passed`, `failed`, or `could not be had` where an interpreter or a wheel cannot be installed here; its
output is in .matrix/CELL.log. The last line is JSON. Exit code 1 if a cell failed, or none passed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PLACE = ROOT / ".matrix"
PYTHONS = "3.11,3.12,3.13,3.14"
TORCHES = "2.11,2.12,2.13,2.14,2.15"
# Tables and SQL, the sandbox, the objectives, a run from configuration to final policy, names of commands.
TESTS = (
    "tests/pipeline/test_store.py",
    "tests/pipeline/test_report_facts.py",
    "tests/sandbox/test_compare.py",
    "tests/trainer/test_objective.py",
    "tests/trainer/test_report_of_run.py",
    "tests/flows/test_config_command.py",
)
WITHOUT_TORCH = ("accelerate", "peft", "trl")  # they name torch, which is installed before them


class Unavailable(Exception):
    """An interpreter or a wheel that this machine cannot have; one line."""


def find_uv() -> str:
    program = shutil.which("uv") or str(ROOT / ".venv" / "tools" / "bin" / "uv")
    if not Path(program).exists():
        raise SystemExit("no uv on PATH; ./run brings one: ./run matrix")
    return program


def interpreter(uv: str, version: str) -> str:
    """Raises Unavailable."""
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for path in sorted(versions.glob(f"{version}.*/bin/python")):
        return str(path)
    words = [uv, "python", "find", "--no-python-downloads", version]
    found = subprocess.run(words, capture_output=True, text=True)
    if found.returncode:
        found = subprocess.run([uv, "python", "install", version], capture_output=True, text=True)
        if found.returncode == 0:
            found = subprocess.run(words, capture_output=True, text=True)
    if found.returncode:
        raise Unavailable(f"no interpreter: {last_line(found.stderr)}")
    return found.stdout.strip()


def install(uv: str, python: str, torch: str, folder: Path) -> None:
    """Raises Unavailable for a package without a wheel for this interpreter."""
    if (folder / "complete").exists():
        return
    environment = os.environ | {"VIRTUAL_ENV": str(folder)} | package_settings()

    def run(*words: str) -> None:
        done = subprocess.run([uv, *words], env=environment, cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            raise Unavailable(last_line(done.stderr))

    run("venv", "--quiet", "--clear", "--python", python, str(folder))
    # torch first: it is what is most often missing, and the rest takes minutes.
    run("pip", "install", "--quiet", "--only-binary", "torch", f"torch=={torch}.*")
    run("pip", "install", "--quiet", "--require-hashes", "-r", "requirements.lock")
    run("pip", "install", "--quiet", "--no-deps", *WITHOUT_TORCH)
    (folder / "complete").touch()


def last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no reason given"


def try_cell(uv: str, python: str, torch: str, tests: list[str]) -> tuple[str, str]:
    """Outcome and reason."""
    name = f"python{python}-torch{torch}"
    folder, log = PLACE / name, PLACE / f"{name}.log"
    PLACE.mkdir(exist_ok=True)
    try:
        install(uv, interpreter(uv, python), torch, folder)
    except Unavailable as error:
        log.write_text(f"{error}\n")
        return "could not be had", str(error)
    words = [str(folder / "bin" / "python"), "-P", "-m", "pytest", "-q", *tests]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with open(log, "w") as output:
        done = subprocess.run(words, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT)
    return ("passed" if done.returncode == 0 else "failed"), last_line(log.read_text())


def package_settings() -> dict[str, str]:
    """Where packages come from: uv does not read pip's configuration, as `run` explains."""
    own = {
        "UV_FIND_LINKS": ("PIP_FIND_LINKS", "global.find-links"),
        "UV_DEFAULT_INDEX": ("PIP_INDEX_URL", "global.index-url"),
    }
    settings = {}
    for name, (variable, key) in own.items():
        words = [sys.executable, "-m", "pip", "config", "get", key]
        known = subprocess.run(words, capture_output=True, text=True).stdout.strip()
        if value := os.environ.get(name) or os.environ.get(variable) or known:
            settings[name] = value
    certificates = os.environ.get("SSL_CERT_FILE") or os.environ.get("PIP_CERT")
    return settings | ({"SSL_CERT_FILE": certificates} if certificates else {})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--python", default=PYTHONS, help="versions, by commas")
    parser.add_argument("--torch", default=TORCHES, help="versions, by commas")
    parser.add_argument("tests", nargs="*", default=list(TESTS), help="files of tests")
    chosen, uv = parser.parse_args(), find_uv()
    cells = {}
    for python in chosen.python.split(","):
        for torch in chosen.torch.split(","):
            outcome, reason = try_cell(uv, python, torch, chosen.tests)
            cells[f"{python}, {torch}"] = outcome
            print(f"| {python} | {torch} | {outcome} | {reason} |", flush=True)
    counts = {word: list(cells.values()).count(word) for word in ("passed", "failed", "could not be had")}
    print(json.dumps({"cells": cells} | {word.replace(" ", "_"): count for word, count in counts.items()}))
    sys.exit(1 if counts["failed"] or not counts["passed"] else 0)


if __name__ == "__main__":
    main()
