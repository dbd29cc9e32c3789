"""Benchmark of trust: `./run bench trust [--quick] [--only PART ...] [--limit-s N]
[--data FOLDER]`; the last line is JSON.

Attacks tried and breaches by surface, states of the disk after power cuts and acknowledged rows lost,
flipped bits that a check does not find, repeated interactive runs with another verdict, and what flushing
and isolated function tests cost. Each part runs in a process of its own, two at a time where no time is
measured, and all of it ends within 15 minutes: a part that failed, or for which no time was left, is named,
counts as nothing tried, and makes the exit code 1, as does a breach. `--data` counts the function problems
of a data set whose tests cross as plain data, see `function_data.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))
from tests.benchmarks.trust_parts import MEASURED, SURFACES, UNDISTURBED, Outcome  # noqa: E402

DATA = "function data"
LIMIT_S = 15 * 60
# For ending processes and printing.
SPARE_S = 20
# Sums and figures of a whole run; null where the part that gives one is missing.
FIGURES = (
    "crash_states",
    "lost",
    "bitflips",
    "bitflips_undetected",
    "forged",
    "flush_ratio",
    "flush_ratio_one_row",
    "function_ratio",
    "function_ratio_assert",
    "interactive_runs",
    "interactive_flips",
)


def run_part(name: str, arguments: Sequence[str], deadline: float) -> Outcome | str:
    """What a part gave, or why it gave nothing. Kills it, with all that it started, at the deadline."""
    command = [sys.executable, "-P", str(HERE / "trust_parts.py"), name, *arguments]
    started = time.monotonic()
    if deadline - started < 1:
        return "no time was left"
    process = subprocess.Popen(
        command,
        env=os.environ | {"PYTHONPATH": str(HERE.parents[1])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        output, errors = process.communicate(timeout=deadline - started)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return f"not finished after {time.monotonic() - started:.0f} s"
    print(f"{name}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    if process.returncode:
        return f"exit code {process.returncode}: {' '.join(errors.split())[-300:]}"
    return Outcome(**json.loads(output.splitlines()[-1]))


def run_parts(names: Iterable[str], arguments: Sequence[str], deadline: float) -> dict[str, Outcome | str]:
    """{part: outcome, or why there is none}: those that need the machine for themselves first."""
    by_itself = [name for name in names if name in UNDISTURBED]
    together = [name for name in names if name not in UNDISTURBED]
    results = {name: run_part(name, arguments, deadline) for name in by_itself}
    with ThreadPoolExecutor(2) as pool:
        outcomes = pool.map(lambda name: run_part(name, arguments, deadline), together)
        return results | dict(zip(together, outcomes, strict=True))


def summary(results: dict[str, Outcome | str]) -> dict[str, object]:
    """The JSON line."""
    outcomes = {name: one for name, one in results.items() if isinstance(one, Outcome)}
    surfaces = {name: one for name, one in outcomes.items() if name in SURFACES}
    figures = {name: value for one in outcomes.values() for name, value in one.figures.items()}
    return {
        "attacks": sum(one.attempts for one in surfaces.values()),
        "breaches": sum(len(one.breaches) for one in surfaces.values()),
        **{name: figures.get(name) for name in FIGURES},
        **({DATA: outcomes[DATA].figures} if DATA in outcomes else {}),
        "by_surface": {name: [one.attempts, len(one.breaches)] for name, one in surfaces.items()},
        "untried": sum(len(one.untried) for one in outcomes.values()),
        "harness_failures": [name for name, one in results.items() if isinstance(one, str)],
    }


def show(results: dict[str, Outcome | str], line: dict[str, object]) -> None:
    print(f"{'surface':22} {'attacks':>8} {'breaches':>9}  not tried")
    for name in SURFACES:
        if isinstance(one := results.get(name), Outcome):
            print(f"{name:22} {one.attempts:>8} {len(one.breaches):>9}  {len(one.untried) or ''}")
    for name in FIGURES:
        if line[name] is not None:
            print(f"{name:22} {line[name]:>8}")
    if isinstance(counts := results.get(DATA), Outcome):
        for name, problems in counts.figures.items():
            print(f"{name:36} {problems:>8} problems")
    for name, outcome in results.items():
        if isinstance(outcome, str):
            print(f"FAILED, nothing counted: {name}: {outcome}")
            continue
        for what, texts in (("BREACH", outcome.breaches), ("not tried", outcome.untried)):
            for text in texts[:20]:
                print(f"{what}: {name}: {text!r}")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = [*SURFACES, *MEASURED]
    parser.add_argument("--quick", action="store_true", help="a part of each list, in some two minutes")
    parser.add_argument("--only", action="append", choices=parts, metavar="PART", help=", ".join(parts))
    parser.add_argument("--limit-s", type=float, default=LIMIT_S)
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="problems and solutions to count")
    options = parser.parse_args()
    deadline = time.monotonic() + options.limit_s - SPARE_S
    arguments = ["--quick"] if options.quick else []
    results = run_parts(options.only or parts, arguments, deadline)
    if options.data:
        results[DATA] = run_part(DATA, [*arguments, "--data", str(options.data)], deadline)
    line = summary(results)
    show(results, line)
    print(json.dumps(line))
    outcomes = [one for one in results.values() if isinstance(one, Outcome)]
    return int(bool(line["harness_failures"]) or any(one.breaches for one in outcomes))


if __name__ == "__main__":
    sys.exit(main())
