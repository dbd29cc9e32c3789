"""Benchmark of small commands: `./run bench commands [--rounds ROUNDS] [--setup]`; the last line is JSON.

CPU seconds, user and system, of the command and of the processes that it started and waited for; the smallest
of the rounds, because whatever else the machine does only adds to them.

* help_s: `spo --help`. sql_s: `spo sql "select 1"` on a store with one source.
* ingest_small_s: `spo ingest` of 2 problems and 16 programs into a new store, without a server.
* judge_s: `spo judge FILE` of an accepted Python program with 9 tests, the start of the sandbox included.
* setup_cpu_s: `./run true` in a new clone without .venv, packages from uv's cache or the index; null without
  --setup, because it takes minutes and downloads what the cache does not have.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STARTER = ROOT / "data" / "starter"
PROGRAMS, PROBLEMS = 16, 2


def cpu_s(command: list[str], cwd: Path = ROOT, **variables: str) -> float:
    """CPU seconds of a command and its children. Raises CalledProcessError if it fails."""
    before = os.times()
    subprocess.run(
        command, cwd=cwd, env=os.environ | variables, check=True, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    after = os.times()
    spent = after.children_user + after.children_system
    return spent - before.children_user - before.children_system


def write_source(folder: Path) -> tuple[str, Path]:
    """A source of 18 lines: 2 problems and their first programs. The id of a problem, and an accepted program
    for it.
    """
    folder.mkdir()
    with gzip.open(STARTER / "problems.jsonl.gz", "rt") as lines:
        problems = [json.loads(line) for _, line in zip(range(PROBLEMS), lines, strict=False)]
    ids = [problem["problem_id"] for problem in problems]
    with gzip.open(STARTER / "solutions.jsonl.gz", "rt") as lines:
        rows = [row for row in map(json.loads, lines) if row["problem_id"] in ids][:PROGRAMS]
    for name, written in (("problems", problems), ("solutions", rows)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in written))
    right = next(row for row in rows if row["claimed_verdict"] == "accepted" and row["language"] == "python3")
    program = folder.parent / "right.py"
    program.write_text(right["program"])
    return right["problem_id"], program


def measured(folder: Path, rounds: int) -> dict[str, float]:
    """The smallest CPU seconds of each command."""
    data = {"SPO_DATA_DIR": str(folder / "data")}
    problem, program = write_source(folder / "source")
    spo = [sys.executable, "-m", "flows"]

    def smallest(*arguments: str) -> float:
        return round(min(cpu_s([*spo, *arguments], **data) for _ in range(rounds)), 2)

    def ingest(number: int) -> float:
        store = str(folder / "stores" / str(number))
        return cpu_s([*spo, "ingest", "plain", str(folder / "source"), "--store", store], **data)

    # As at set-up; with PYTHONDONTWRITEBYTECODE each command would compile them.
    cpu_s([sys.executable, "-m", "compileall", "-q", "sandbox", "pipeline", "trainer", "flows"])
    cpu_s([*spo, "ingest", "plain", str(folder / "source")], **data)  # fills the store
    return {
        "help_s": smallest("--help"),
        "sql_s": smallest("sql", "select 1"),
        "ingest_small_s": round(min(map(ingest, range(rounds))), 2),
        "judge_s": smallest("judge", str(program), "--problem", problem),
    }


def setup_cpu_s(folder: Path) -> float:
    """CPU seconds of the set-up in a new clone."""
    clone = folder / "clone"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    shutil.copy(ROOT / "run", clone / "run")
    environment = {"VIRTUAL_ENV": "", "PYTHONPATH": ""}
    return round(cpu_s(["sh", "run", "true"], clone, **environment), 1)


def main() -> None:
    parser = argparse.ArgumentParser(description="Benchmark of small commands; the last line is JSON.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--setup", action="store_true", help="also measure ./run in a new clone")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="spo-bench-commands-", dir="/var/tmp") as name:
        figures: dict[str, float | None] = {**measured(Path(name), options.rounds), "setup_cpu_s": None}
        if options.setup:
            figures["setup_cpu_s"] = setup_cpu_s(Path(name))
    for key, value in figures.items():
        print(f"{key:<16} {'-' if value is None else value}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
