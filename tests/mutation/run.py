"""Mutation testing of the core: small changes of the code, each of which must make a test fail.

    ./run python tests/mutation/run.py                 # all modules of core.toml
    ./run python tests/mutation/run.py clusters        # modules whose path contains this word
    ./run python tests/mutation/run.py --json          # end with one JSON line

cosmic-ray makes the mutants. Each runs the tests of its module in a process forked from one that has the
libraries loaded, in a copy of the tree. At most `LIMIT` mutants per module are tried, chosen by hash.
`results.json` keeps the outcome of a module until its code or its tests change. A mutant that survives is a
missing test, or is named with the reason in `survivors.toml`.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Queue

import mutants
import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
RESULTS = HERE / "results.json"
LIMIT = 80
WORKERS = 2
TIMEOUT_S = 120
# Loaded once, before the forks; none of them may start threads when imported.
LIBRARIES = (
    "torch",
    "polars",
    "duckdb",
    "deltalake",
    "pydantic",
    "hypothesis",
    "transformers",
    "rensa",
    "dataframely",
)
COPIED = ("sandbox", "pipeline", "trainer", "flows", "tests", "data/starter", "pyproject.toml")


@dataclass(frozen=True)
class Module:
    """A module of the core and the arguments of pytest that test it."""

    path: str
    tests: tuple[str, ...]

    @property
    def state(self) -> str:
        """A hash of the code and of the files that test it."""
        files = [self.path, *(test for test in self.tests if test.endswith(".py"))]
        return hashlib.sha256(b"\0".join((ROOT / name).read_bytes() for name in files)).hexdigest()[:16]


def core() -> list[Module]:
    entries = tomllib.loads((HERE / "core.toml").read_text())["module"]
    return [Module(entry["path"], tuple(entry["tests"])) for entry in entries]


def reasons() -> dict[str, str]:
    """Why a mutant that survives is not a missing test, by its name."""
    entries = tomllib.loads((HERE / "survivors.toml").read_text()).get("survivor", [])
    return {entry["mutant"]: entry["reason"] for entry in entries}


def copy_tree(target: Path) -> Path:
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target / name)
    return target


def run_tests(tree: Path, tests: tuple[str, ...]) -> bool:
    """Whether the tests pass in a copy of the tree. A run that takes too long has failed."""
    child = os.fork()
    if child == 0:
        run_tests_here(tree, tests)
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status) == 0
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def run_tests_here(tree: Path, tests: tuple[str, ...]) -> None:
    """Body of the forked process: becomes pytest in that tree, and never returns."""
    os.setsid()
    os.chdir(tree)
    sys.path[:] = [str(tree), *(path for path in sys.path if path not in (str(ROOT), str(HERE), ""))]
    os.environ |= {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    sys.dont_write_bytecode = True
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    code = 3
    try:
        code = pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *tests])
    finally:
        os._exit(int(code))


def try_module(module: Module, trees: Queue[Path]) -> dict:
    """Try the mutants of a module. Raises RuntimeError if its tests fail on the code as it is."""
    tree = trees.get()
    passes = run_tests(tree, module.tests)
    trees.put(tree)
    if not passes:
        raise RuntimeError(f"{module.path}: its tests fail without a change: {' '.join(module.tests)}")
    chosen = mutants.sample(mutants.of_file(ROOT / module.path), LIMIT)

    def survives(mutant: mutants.Mutant) -> bool:
        tree = trees.get()
        original = (tree / module.path).read_text()
        try:
            (tree / module.path).write_text(mutant.code)
            return run_tests(tree, module.tests)
        finally:
            (tree / module.path).write_text(original)
            trees.put(tree)

    with ThreadPoolExecutor(WORKERS) as pool:
        outcomes = list(pool.map(survives, chosen))
    survived = [mutant.name for mutant, alive in zip(chosen, outcomes, strict=True) if alive]
    return {"state": module.state, "mutants": len(chosen), "survived": survived}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("words", nargs="*", help="only modules whose path contains one of these")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    named = [m for m in core() if not options.words or any(word in m.path for word in options.words)]
    stale = [m for m in named if results.get(m.path, {}).get("state") != m.state]
    if stale:
        for name in LIBRARIES:
            importlib.import_module(name)
    with tempfile.TemporaryDirectory() as folder:
        trees: Queue[Path] = Queue()
        for number in range(WORKERS if stale else 0):
            trees.put(copy_tree(Path(folder) / str(number)))
        for module in stale:
            results[module.path] = try_module(module, trees)
            RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
            print(f"{module.path}: {results[module.path]['mutants']} tried", file=sys.stderr, flush=True)
    report(named, results, options.json)


def report(modules: list[Module], results: dict[str, dict], as_json: bool) -> None:
    known, tried, killed, unexplained = reasons(), 0, 0, 0
    for module in modules:
        actual = results[module.path]
        survived = actual["survived"]
        tried, killed = tried + actual["mutants"], killed + actual["mutants"] - len(survived)
        print(f"{module.path:<44} {actual['mutants'] - len(survived):>4} of {actual['mutants']:>4} killed")
        for name in survived:
            unexplained += f"{module.path}: {name}" not in known
            print(f"    survived: {name}  ({known.get(f'{module.path}: {name}', 'NO REASON')})")
    if as_json:
        score = round(killed / tried, 4) if tried else 0.0
        print(json.dumps({"mutation_score": score, "mutants": tried, "unexplained": unexplained}))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if os.environ["OMP_NUM_THREADS"] != "1":
        sys.exit(subprocess.call([sys.executable, *sys.argv], env=os.environ | {"OMP_NUM_THREADS": "1"}))
    main()
