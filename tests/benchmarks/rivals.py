"""`./run bench rivals [--budget NAME] [--place FOLDER] [--kept] [--only METHOD...] [--seeds N...]
[--done | --report | --signal]`: objectives side by side under one budget of samples; the last line is JSON.

Each cell (method, data condition, seed) is a run of `spo train` in a process of its own, in one store:
problems and human programs of the starter set, judged by the sandbox; a small policy that was warmed up on a
part of them; its samples. A cell that is done is looked up, so a comparison that is stopped goes on. The
figures of all cells are in `results/rivals-BUDGET.json` with commit, machine and command, and `--report`
makes RESULTS.md of them. `--signal` measures how much of a gradient is signal. `rivals_cells.py` says what
each cell trains on, `rivals_ledger.py` what is counted of it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path[:] = [folder for folder in sys.path if folder != str(HERE)]
sys.path.insert(0, str(ROOT))
from tests.benchmarks import rivals_ledger, rivals_report, rivals_results, rivals_signal  # noqa: E402
from tests.benchmarks.online_loop import lines_of  # noqa: E402
from tests.benchmarks.rivals_cells import (  # noqa: E402
    BUDGETS,
    HARD,
    HARD_SAMPLES,
    MAX_NEW_TOKENS,
    REFERENCE,
    Budget,
    Cell,
    Configuration,
    final_cells,
    tuning_cells,
)

if TYPE_CHECKING:
    from pipeline.store import Store
    from trainer.policies import Policy

RESULTS = ROOT / "results"
HARD_SEED = 1_000_000  # of the samples that choose problems; no cell is evaluated with it
SHARED = "SPO_SANDBOX_SHARED_JAILS"  # an option of the judge that changes the time of judging


def prepare(place: Path, budget: Budget) -> None:
    """The store that all cells share: problems, judged human programs, the reference with its judged samples,
    scores. What is there is not made again.
    """
    from pipeline.dedup import deduplicate
    from pipeline.ingest import ingest
    from pipeline.labelling import label
    from pipeline.store import Store
    from sandbox import Pool
    from trainer.policies import (
        SolvedRows,
        has_weights,
        load_policy,
        new_policy,
        publish_policy,
        score,
        warm_start,
    )

    store = Store(place / "store")
    if (place / "prepared").exists():
        return
    write_starter(place / "starter", *budget.programs)
    ingest(store, "plain", str(place / "starter"))
    with Pool() as pool:
        label(store, pool)
        deduplicate(store)
        if not has_weights(place / REFERENCE):
            rows = SolvedRows("split = 'train' and source = 'starter'", "j.origin = 'human'", share=0.5)
            policy = new_policy(rows.texts(store), layers=3, width=128, seed=0)
            warm_start(policy, rows.pairs(store), seed=0, steps=budget.warm_start_steps, batch_tokens=2048)
            policy.save(place / REFERENCE)
        policy = load_policy(place / REFERENCE)
        publish_policy(store, policy, place / REFERENCE, policy_id=REFERENCE)
        rivals_ledger.sample_training_problems(store, policy, REFERENCE)
        label(store, pool)
        deduplicate(store)
    score(store, policy, max_tokens=768)
    if budget.hard:
        (place / HARD).write_text(json.dumps(unsolved(store, policy)))
    (place / "prepared").touch()


def unsolved(store: Store, policy: Policy) -> dict[str, list[str]]:
    """By split, the problems that a policy solves in none of HARD_SAMPLES samples. Of the training problems
    only those without success in a group of the samples that are stored are tried. The samples are those of
    an evaluation, which no run trains on.
    """
    from pipeline.store import connect, query
    from sandbox import Pool
    from trainer.evaluation import evaluate
    from trainer.evaluation.evaluator import settings_key, stored
    from trainer.rollouts import SamplingSettings

    with connect(store) as connection:
        problems = query(
            connection,
            "select problem_id, statement, split from problems where split <> 'train' or problem_id not in"
            f" (select problem_id from judged where policy_id = '{REFERENCE}' and verdict = 'accepted')"
            " order by problem_id",
        )
    settings = SamplingSettings(samples_per_problem=HARD_SAMPLES, max_new_tokens=MAX_NEW_TOKENS)
    with Pool() as pool:
        evaluate(store, pool, policy, REFERENCE, problems, settings, seed=HARD_SEED)
    rows = stored(store, REFERENCE, settings_key(settings, problems, HARD_SEED)).filter(correct=0)
    named = problems.filter(problems["problem_id"].is_in(rows["problem_id"].to_list()))
    return {split: named.filter(split=split)["problem_id"].to_list() for split in ("train", "valid", "test")}


def write_starter(folder: Path, right: int, wrong: int) -> None:
    """The starter set with at most these numbers of programs for each problem, chosen by hash."""
    folder.mkdir(exist_ok=True)
    (folder / "problems.jsonl").write_text("".join(lines_of("problems")))
    seen: Counter[tuple[str, bool]] = Counter()
    kept = []
    for line in lines_of("solutions"):
        row = json.loads(line)
        kind = row["problem_id"], row["claimed_verdict"] == "accepted"
        seen[kind] += 1
        if seen[kind] <= (right if kind[1] else wrong):
            kept.append(line)
    (folder / "solutions.jsonl").write_text("".join(kept))


def path_of(cell: Cell, place: Path) -> Path:
    """The file of the figures of a cell."""
    return place / "cells" / f"{cell.name}.json"


def measure(cell: Cell, place: Path, command: str) -> dict:
    """The figures of a cell, from its file or from a process that makes them."""
    path = path_of(cell, place)
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        started = time.monotonic()
        print(f"{cell.name} ...", file=sys.stderr, flush=True)
        own = [sys.executable, "-P", __file__, "--cell", json.dumps(vars(cell)), *command.split()]
        one_thread = os.environ | {"OMP_NUM_THREADS": "1", "SPO_DATA_DIR": str(place)}
        subprocess.run([*own, "--place", str(place)], check=True, env=one_thread, stdout=sys.stderr)
        print(f"{cell.name}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    return json.loads(path.read_text())


def take_kept(name: str, place: Path) -> dict | None:
    """Write the figures of `results/` as those of cells that are done. Returns those of the reference. Cells
    that began from another reference than that of the place are refused: they are no seeds of one comparison.
    """
    path = RESULTS / f"rivals-{name}.json"
    figures = json.loads(path.read_text()) if path.exists() else {"tuned": [], "cells": []}
    reference = figures.get("reference")
    if reference and reference.get("weights") != rivals_ledger.digest_of_reference(place):
        sys.exit(f"{path}: its cells began from another reference than that of {place}; leave --kept out")
    (place / "cells").mkdir(exist_ok=True)
    for one in (*figures["tuned"], *figures["cells"]):
        settings = {field.name: one[field.name] for field in fields(Cell) if field.name in one}
        done = path_of(Cell(**settings), place)
        if not done.exists():
            done.write_text(json.dumps(one))
    return reference


def with_starts(cells: list[Cell], place: Path) -> list[Cell]:
    """The cells; one whose figures are there and whose policy is not is run again where another one that is
    to be run begins from it.
    """
    starts = {cell.start for cell in cells if cell.start and not path_of(cell, place).exists()}
    for cell in cells:
        if cell.name in starts and not (place / "runs" / cell.name / "final").exists():
            path_of(cell, place).unlink(missing_ok=True)
    return cells


def best_configurations(tuned: list[dict]) -> dict[str, Configuration]:
    """For each group the configuration with the highest pass@10 on the validation split."""
    return {
        group: Configuration(one["rate"], one["objective"])
        for group, one in rivals_report.best_of(tuned).items()
    }


def provenance(command: str) -> dict[str, str]:
    """Where figures come from: commit, machine and command."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
        return done.stdout.strip()

    # The results themselves are written while cells are run.
    changed = git("status", "--porcelain", "--", ".", ":!results", ":!RESULTS.md")
    shared = f"{SHARED}={os.environ[SHARED]} " if SHARED in os.environ else ""
    machine = f"{platform.machine()}, {os.cpu_count()} processors, Python {platform.python_version()}"
    return {
        "commit": (git("rev-parse", "--short", "HEAD") or "unknown") + ("-dirty" if changed else ""),
        "machine": machine,
        "command": f"{shared}./run bench rivals {command}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--budget", choices=BUDGETS, default="small")
    parser.add_argument("--place", type=Path, help="folder of store, runs and cells; kept, and gone on from")
    parser.add_argument("--report", action="store_true", help="make RESULTS.md of what is in results/")
    parser.add_argument("--kept", action="store_true", help="cells whose figures are in results/ are done")
    parser.add_argument("--done", action="store_true", help="keep the figures of what is done; run no cell")
    parser.add_argument("--signal", action="store_true", help="measure the share of signal in gradients")
    parser.add_argument(
        "--only", nargs="+", metavar="METHOD", help="run the cells of these, and keep nothing"
    )
    parser.add_argument("--seeds", nargs="+", type=int, help="run the cells of these alone")
    parser.add_argument("--cell", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    budget, command = BUDGETS[arguments.budget], f"--budget {arguments.budget}"
    if arguments.report:
        return rivals_results.write(ROOT)
    place = arguments.place or ROOT / "data" / f"rivals-{arguments.budget}"
    place.mkdir(parents=True, exist_ok=True)
    if arguments.cell:
        cell = Cell(**json.loads(arguments.cell))
        figures = rivals_ledger.run_cell(cell, budget, place)
        path_of(cell, place).write_text(json.dumps(figures | provenance(command)))
        return None
    prepare(place, budget)
    if arguments.signal:
        command += " --signal"
        return keep("signal", {"signal": list(rivals_signal.measure(place, budget)), **provenance(command)})
    kept: dict = {"reference": None, "tuned": [], "cells": []}

    def wanted(cells: Iterable[Cell]) -> Iterator[Cell]:
        return (cell for cell in cells if not arguments.done or path_of(cell, place).exists())

    if arguments.only or arguments.seeds:  # other processes run the others
        return run_some(arguments.only, arguments.seeds, budget, place, command)

    if arguments.kept:
        kept["reference"] = take_kept(arguments.budget, place)
    for cell in wanted(tuning_cells(budget)):
        kept["tuned"].append(measure(cell, place, command))
        keep(arguments.budget, kept)
    cells = list(final_cells(budget, best_configurations(kept["tuned"])))
    for cell in wanted(cells if arguments.done else with_starts(cells, place)):
        kept["reference"] = kept["reference"] or rivals_ledger.evaluate_reference(place, budget)
        kept["cells"].append(measure(cell, place, command))
        keep(arguments.budget, kept)
    if kept["cells"]:
        print(rivals_report.table(kept["reference"], kept["cells"]))
    print(json.dumps(rivals_report.ratios(kept["cells"])))
    return None


def run_some(
    methods: list[str] | None, seeds: list[int] | None, budget: Budget, place: Path, command: str
) -> None:
    """Run the cells of some methods, or of conditions such as `spo,half`, and of some seeds."""
    for cell in (*tuning_cells(budget), *final_cells(budget, {})):
        named = methods is None or not {cell.method, f"{cell.method},{cell.condition}"}.isdisjoint(methods)
        if named and (seeds is None or cell.seed in seeds):
            measure(cell, place, command)


def keep(name: str, figures: dict) -> None:
    """Write the figures of a budget, or what was measured beside, to `results/`."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"rivals-{name}.json").write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
