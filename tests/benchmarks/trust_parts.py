"""What `trust` tries, part by part. Each part runs in a process of its own and gives an `Outcome`.

Attacks come from the tests' own lists. Where an attack is a test function, its file is run by pytest: a test
that fails is a breach, and one that could not be set up or was skipped repelled nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:] = [folder for folder in sys.path if folder != str(Path(__file__).parent)]
sys.path[:0] = [str(ROOT), str(ROOT / "tests/pipeline")]
MANY_RUNS, FEW_RUNS = 100, 10
SLOW_CASES = ("reads for ever",)  # each ends at its time limit
QUICK_PACKAGES = ("a FIFO", "a link", "nested", "gzip")


@dataclass
class Outcome:
    """`attempts` that took place, `breaches` among them, `untried` ones with the reason; other figures."""

    attempts: int = 0
    breaches: list[str] = field(default_factory=list)
    untried: list[str] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)

    def __add__(self, other: Outcome) -> Outcome:
        return Outcome(
            self.attempts + other.attempts,
            self.breaches + other.breaches,
            self.untried + other.untried,
            self.figures | other.figures,
        )


def tests(*words: str) -> Outcome:
    """The outcome of test functions. Raises RuntimeError where pytest itself failed."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}"]
        done = subprocess.run([*command, *words], cwd=ROOT, capture_output=True, text=True)
        if done.returncode not in (0, 1) or not report.exists():
            raise RuntimeError(f"pytest ended with {done.returncode}: {(done.stdout + done.stderr)[-500:]}")
        results = Outcome()
        for case in ElementTree.parse(report).iter("testcase"):
            name = f"{case.get('classname')}::{case.get('name')}"
            unsettled = [case.find(kind) for kind in ("error", "skipped")]
            if reasons := [one.get("message", "") for one in unsettled if one is not None]:
                results.untried.append(f"{name}: {reasons[0]}"[:300])
                continue
            results.attempts += 1
            if (failure := case.find("failure")) is not None:
                results.breaches.append(f"{name}: {failure.get('message', '')}"[:300])
    return results


def service(quick: bool) -> Outcome:
    """Hostile requests, slow and crowding clients, limits, and a machine without free processors."""
    from sandbox import Pool
    from tests.sandbox.served import attack

    with Pool() as pool:
        attacks, breaches = attack(pool)
    results = Outcome(attacks, breaches)
    if not quick:
        files = ("tests/sandbox/test_service_attacks.py", "tests/sandbox/test_load.py")
        results += tests(*files, "--deselect", "tests/sandbox/test_service_attacks.py::test_attacks")
    return results


def sql(quick: bool) -> Outcome:
    import sql_attacks

    with tempfile.TemporaryDirectory() as folder:
        tries = list(sql_attacks.tries(Path(folder)))
    return Outcome(len(tries), [f"{text}: {breach}" for text, breach in tries if breach])


def packages(quick: bool) -> Outcome:
    import hostile_sources

    attacks, breaches = hostile_sources.tried(*(QUICK_PACKAGES if quick else ()))
    return Outcome(attacks, [f"{name}: {'; '.join(faults)}" for name, faults in breaches.items()])


def prefect(quick: bool) -> Outcome:
    """Forged requests and websockets, and pages of four origins in Chromium."""
    from tests.flows.prefect_attacks import CHROMIUM, attack_prefect

    with_browser = CHROMIUM.exists() and not quick
    attacks, breaches = attack_prefect(with_browser)
    return Outcome(attacks, breaches, [] if with_browser else ["pages in a browser"])


def store_rows(quick: bool) -> Outcome:
    """Adapters, policies' folders, control sequences and locks in a shared store."""
    from tests.flows import hostile_rows

    parts = (hostile_rows.adapters_in_quarantine,) if quick else (hostile_rows.attempts,)
    with tempfile.TemporaryDirectory() as folder:
        outcomes = [one for part in parts for one in part(Path(folder))]
    results = Outcome(len(outcomes), [f"{attack}: {fault}" for attack, fault in outcomes if fault])
    words = "link or colleague or private or refused or lead_out or number_or_nothing"
    return results + tests("tests/pipeline/test_locks.py", "-k", words)


def function_verdicts(quick: bool) -> Outcome:
    from tests.benchmarks.judge_trust import forging

    attacks, forged = forging(10 if quick else None)
    return Outcome(attacks, forged, figures={"forged": len(forged)})


def sandbox_bubblewrap(quick: bool) -> Outcome:
    from tests.sandbox.test_landlock import QUICK

    files = ["tests/sandbox/test_hostile.py", "tests/sandbox/test_hostile_sources.py"]
    return tests(*files, *(["-k", " or ".join(QUICK)] if quick else []))


def sandbox_landlock(quick: bool) -> Outcome:
    import pytest

    from sandbox.isolation.guest import confine
    from tests.sandbox import test_landlock

    if confine.version() < confine.NEEDED_VERSION:
        return Outcome(untried=[f"Landlock {confine.version()}, {confine.NEEDED_VERSION} is needed"])
    with tempfile.TemporaryDirectory() as folder:
        # Programs of root run as another user, who reads the built ones.
        os.chmod(folder, 0o755)
        try:
            results = test_landlock.breaches(Path(folder, "programs"), test_landlock.QUICK if quick else ())
        except pytest.skip.Exception as reason:
            return Outcome(untried=[str(reason)])
    return Outcome(
        len(results), [f"{name}: {'; '.join(faults)}" for name, faults in results.items() if faults]
    )


def power_cuts(quick: bool) -> Outcome:
    """States of the disk after a power cut, each opened; without flushes, some must lose something."""
    import power_cut
    from recorded_disk import can_record

    if not can_record():
        return Outcome(untried=["strace, or the right to trace a process, is missing"])
    if power_cut.run(12, states_per_moment=3, flushes=False).lost == 0:
        raise RuntimeError("nothing is lost without flushes: the simulated power cuts test nothing")
    outcome = power_cut.run(20 if quick else 440)
    return Outcome(figures={"crash_states": outcome.states, "lost": outcome.lost}, breaches=outcome.faults)


def flipped_bits(quick: bool) -> Outcome:
    import bit_flips

    outcome = bit_flips.attempt(16 if quick else 256)
    figures = {"bitflips": outcome["tried"], "bitflips_undetected": outcome["undetected"]}
    return Outcome(figures=figures, breaches=outcome["details"])


def interactive_runs(quick: bool) -> Outcome:
    from sandbox import Pool
    from tests.sandbox.interaction_cases import CASES, verdict_flips

    cases = [case for case in CASES if case not in SLOW_CASES]
    many, few = (3, 1) if quick else (MANY_RUNS, FEW_RUNS)
    with Pool() as pool:
        flips = verdict_flips(pool, many, cases) | verdict_flips(pool, few, list(SLOW_CASES))
    runs = many * len(cases) + few * len(SLOW_CASES)
    figures = {"interactive_runs": runs, "interactive_flips": len(flips)}
    return Outcome(
        figures=figures, breaches=[f"{case}: {sorted(verdicts)}" for case, verdicts in flips.items()]
    )


def flushing(quick: bool) -> Outcome:
    """Median time of an append over the same without flushes, taken in turns on one store per kind: of
    1,000 rows, and of one row, where the flushes are nearly all of it.
    """
    figures = {}
    for name, rows in (("flush_ratio", 1_000), ("flush_ratio_one_row", 1)):
        figures[name] = round(flush_ratio(rows, 10 if quick else 40), 3)
    return Outcome(figures=figures)


def flush_ratio(rows: int, rounds: int) -> float:
    from store_worker import batch

    from pipeline.store import Store

    spent: dict[bool, list[float]] = {True: [], False: []}
    flush = os.fsync
    folder = Path(tempfile.mkdtemp(prefix="flushes-"))
    try:
        stores = {flushes: Store(folder / str(flushes)) for flushes in spent}
        for sequence in range(rounds):
            for flushes, store in stores.items():
                os.fsync = flush if flushes else without_effect
                started = time.perf_counter()
                store.append("trajectories", batch("p", sequence, rows), producer="p", sequence=sequence)
                spent[flushes].append(time.perf_counter() - started)
    finally:
        os.fsync = flush
        shutil.rmtree(folder)
    return statistics.median(spent[True]) / statistics.median(spent[False])


def without_effect(_descriptor: Any) -> None:
    pass


def function_tests(quick: bool) -> Outcome:
    from tests.benchmarks.judge_trust import function_ratio

    results = function_ratio(*((2, 5, 20) if quick else ()))
    return Outcome(figures={"function_ratio": results["check"], "function_ratio_assert": results["assert"]})


def function_data(quick: bool, folder: Path) -> Outcome:
    """Function problems of a data set: those whose values cross, and those judged beside the program."""
    from tests.benchmarks.function_data import count

    results = count(folder, quick)
    return Outcome(figures={f"{source}, {how}": n for source, by in results.items() for how, n in by.items()})


Part = Callable[[bool], Outcome]
# Surfaces whose attempts are counted as attacks.
SURFACES: dict[str, Part] = {
    "service": service,
    "SQL": sql,
    "packages": packages,
    "Prefect": prefect,
    "store rows": store_rows,
    "function verdicts": function_verdicts,
    "sandbox, bubblewrap": sandbox_bubblewrap,
    "sandbox, Landlock": sandbox_landlock,
}
# Parts that give figures of their own.
MEASURED: dict[str, Part] = {
    "power cuts": power_cuts,
    "flipped bits": flipped_bits,
    "interactive runs": interactive_runs,
    "flushing": flushing,
    "function tests": function_tests,
}
# Nothing else runs beside these: their times are measured, or are what the attack is about.
UNDISTURBED = ("flushing", "function tests", "service")


def main(name: str, quick: bool, data: Path | None) -> None:
    outcome = function_data(quick, data) if data else (SURFACES | MEASURED)[name](quick)
    print(json.dumps(vars(outcome)), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--data", type=Path)
    main(**vars(parser.parse_args()))
