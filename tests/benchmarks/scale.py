"""Benchmark of scale: `./run bench scale [--rows N] [--folder FOLDER]`; the last line is JSON.

One store grows from 100,000 trajectories to N, and at each size each look is measured that the product takes
at what is new: labelling with nothing pending, a grader's pass after 1,000 new rows, a rollout worker's look,
ingestion of a file of 1,000 rows, deduplication of what came in, `stream.advance` after 1,000 rows, a report.
Then whole passes: decontaminate, publish a corpus, group by, maintain, and the ledger of lost and doubled
rows. `scale_rows.py` says what the rows are, `scale_looks.py` what is measured.

It goes on where it was stopped, if the folder is named. 10 million rows take about 45 GB and some hours.

* look_ratio: the largest ratio of a look at the last size to that at 100,000 rows, CPU seconds of the process
  that looks; look_work_ratio the same without the start of the process; both leave out the first look, which
  builds an index. look_s_worst: CPU seconds of the slowest look. rss_mb_worst: of all looks.
* dedup_s: CPU seconds of deduplicating all rows, in the portions in which the store grew.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

HERE = Path(__file__).parent
sys.path[:] = [folder for folder in sys.path if folder != str(HERE)]
sys.path.insert(0, str(HERE.parents[1]))
from pipeline.ingest import ingest  # noqa: E402
from pipeline.store import Store  # noqa: E402
from tests.benchmarks.scale_looks import append_fresh, run_apart  # noqa: E402
from tests.benchmarks.scale_rows import grow, problem_lines, starter  # noqa: E402

SIZES = (100_000, 400_000, 1_000_000, 3_000_000)


@dataclass(frozen=True)
class Look:
    """A figure: `work`, after its `settled` work was done unmeasured and, with `fresh`, a round of rollouts
    was appended. `handles` says which rows the work must then report: those of the round, or none.
    """

    name: str
    work: str
    settled: tuple[str, ...] = ()
    fresh: bool = False
    handles: Literal["none", "fresh"] | None = None


LOOKS = (
    Look("label_idle", "label", settled=("label",), handles="none"),
    Look("grader", "label", settled=("label",), fresh=True, handles="fresh"),
    Look("ingest", "ingest", handles="fresh"),
    Look("deduplicate", "deduplicate", settled=("deduplicate",), fresh=True, handles="fresh"),
    Look("worker", "worker"),
    Look("advance", "advance", handles="fresh"),
    Look("report", "report", settled=("report",), fresh=True),
)
FIRST = (("deduplicate_bulk", "deduplicate"), ("label_first", "label"), ("ingest_first", "ingest"))
PASSES = ("group_by", "publish", "decontaminate", "health", "maintain", "ledger")
NOT_A_LOOK = {*(name for name, _ in FIRST), *PASSES}
# A round of rollouts: 50 problems with 20 samples.
ROUND_PROBLEMS, SAMPLES = 50, 20


class BenchmarkError(Exception):
    """A look did not measure what its name says."""


class Results:
    """Figures by number of rows, kept in the folder of the store."""

    def __init__(self, path: Path, round_problems: int = ROUND_PROBLEMS):
        self.path, self.round_problems = path, round_problems
        self.sizes: dict[str, dict[str, Any]] = json.loads(path.read_text()) if path.exists() else {}

    def measure(self, rows: int, look: Look, folder: Path) -> None:
        """Measure one look at this size, unless an earlier call did. Raises BenchmarkError if it handled
        other rows than the new ones.
        """
        figures = self.sizes.setdefault(str(rows), {})
        if look.name in figures:
            return
        turn = 1_000 * sum(map(len, self.sizes.values())) + len(self.sizes)
        for work in look.settled:
            run_apart(work, folder, turn, self.round_problems)
        if look.fresh:
            append_fresh(Store(folder / "store"), turn + 1, self.round_problems)
        measured = run_apart(look.work, folder, turn, self.round_problems)
        expected = {"none": 0, "fresh": SAMPLES * self.round_problems}.get(str(look.handles))
        if expected not in (None, measured["outcome"]):
            raise BenchmarkError(f"{look.name}: {measured['outcome']} rows instead of {expected}")
        figures[look.name] = measured
        self.path.write_text(json.dumps(self.sizes, indent=1))
        progress(f"{rows:,} {look.name}: {measured}")

    def all(self, figure: str, rows: int | None = None) -> dict[str, float]:
        """A figure of each look at one size, or the largest of all sizes."""
        sizes = [str(rows)] if rows else list(self.sizes)
        names = {name for size in sizes for name in self.sizes[size] if name not in NOT_A_LOOK}
        return {
            name: max(self.sizes[size][name][figure] for size in sizes if name in self.sizes[size])
            for name in names
        }


def summary(results: Results, rows: int) -> dict[str, Any]:
    """The JSON line, for the largest size."""
    least = min(map(int, results.sizes))
    ratios = {}
    for figure, name in (("cpu_s", "look_ratio"), ("work_s", "look_work_ratio")):
        small, large = results.all(figure, least), results.all(figure, rows)
        ratios[name] = {look: round(large[look] / max(small[look], 0.01), 2) for look in large}
    last = results.sizes[str(rows)]
    bulk = [size["deduplicate_bulk"]["cpu_s"] for size in results.sizes.values()]
    return {
        "rows": rows,
        "look_ratio": max(ratios["look_ratio"].values()),
        "look_work_ratio": max(ratios["look_work_ratio"].values()),
        "look_ratios": ratios["look_work_ratio"],
        "look_s_worst": max(results.all("cpu_s", rows).values()),
        "rss_mb_worst": max(results.all("rss_mb", rows).values()),
        "dedup_s": round(sum(bulk), 1),
        **{f"{name}_s": last[name]["cpu_s"] for name in PASSES if name in last},
        **last.get("ledger", {}).get("outcome", {}),
    }


def measure_all(folder: Path, rows: int) -> Results:
    make_problems(folder)
    store, results = Store(folder / "store"), Results(folder / "results.json")
    for size in [*(size for size in SIZES if size < rows), rows]:
        if "ledger" in results.sizes.get(str(size), {}):
            continue
        grow(store, size, progress)
        measure_size(results, folder, size, PASSES if size in (1_000_000, rows) else ("maintain", "ledger"))
    return results


def make_problems(folder: Path) -> None:
    """A store with the problems of the benchmark, unless the folder has one."""
    store = Store(folder / "store")
    if not store.exists():
        lines = folder / "problems.jsonl"
        lines.write_text("".join(json.dumps(line) + "\n" for line in problem_lines(starter())))
        ingest(store, "plain", str(lines))


def measure_size(results: Results, folder: Path, rows: int, passes: tuple[str, ...]) -> None:
    """All figures at one size, the first looks before the others, the passes last."""
    for name, work in FIRST:
        results.measure(rows, Look(name, work), folder)
    for look in LOOKS:
        results.measure(rows, look, folder)
    for work in passes:
        results.measure(rows, Look(work, work), folder)


def progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000, help="at most; 10_000_000 takes hours")
    parser.add_argument("--folder", type=Path, help="where the store is; a temporary folder if left out")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="spo-bench-scale-", dir="/var/tmp") as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        results = measure_all(folder, options.rows)
    print(json.dumps(summary(results, options.rows)))


if __name__ == "__main__":
    main()
