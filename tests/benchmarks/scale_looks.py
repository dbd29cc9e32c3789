"""What the benchmark of scale measures, each in a process of its own: `scale_looks.py NAME FOLDER TURN
PROBLEMS` prints JSON. PROBLEMS is the number of problems of a round of rollouts.

A look is what a process of the product does when it asks what is new: its CPU seconds without those of judged
programs, its wall seconds, and the largest resident memory. `work_s` leaves out the start of the process.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

HERE = Path(__file__).parent
sys.path[:] = [folder for folder in sys.path if folder != str(HERE)]
sys.path.insert(0, str(HERE.parents[1]))
from pipeline.store import Store, connect, query  # noqa: E402
from tests.benchmarks.scale_rows import (  # noqa: E402
    FRESH_STEP,
    REFERENCE,
    RUN,
    fresh_rows,
    scores_of,
    starter,
    tests_of,
    verdicts_of,
)

GROUP_BY = (
    "select origin, language, policy_id, verdict, count(*), avg(reward_binary), max(policy_step)"
    " from judged group by all"
)
MIXTURE = {
    "follow_every": 1,
    "source": [
        {"name": "human", "where": "j.origin = 'human'", "weight": 1},
        {"name": "online", "where": "j.origin = 'online'", "weight": 3, "window": 50_000},
    ],
}


def append_fresh(store: Store, turn: int, problems: int) -> None:
    """A round of a rollout worker: 20 trajectories of each of these problems, in one commit."""
    rows = fresh_rows(starter(), turn, problems)
    store.append("trajectories", rows, producer=f"turn-{turn}", sequence=0)


def append_scored(store: Store, turn: int, problems: int) -> None:
    """The same round, already judged and scored: what a stream can draw."""
    append_fresh(store, turn, problems)
    rows = fresh_rows(starter(), turn, problems).with_columns(outcome=pl.int_range(pl.len()) % 20)
    for table, part in (
        ("verdicts", verdicts_of(rows, *tests_of(store))),
        ("reference_scores", scores_of(rows, 1)),
    ):
        store.append(table, part, producer=f"turn-{turn}", sequence=0)


def label(store: Store, folder: Path, turn: int, problems: int) -> Callable[[], Any]:
    from pipeline.labelling import label

    return lambda: label(store, workers=2).rows


def ingest(store: Store, folder: Path, turn: int, problems: int) -> Callable[[], Any]:
    from pipeline.ingest import ingest

    columns = ("problem_id", "origin", "policy_id", "source_key", "program", "language")
    rows = fresh_rows(starter(), turn, problems).select(columns)
    source = folder / "new" / f"turn-{turn}.jsonl"
    source.parent.mkdir(exist_ok=True)
    source.write_text("".join(json.dumps(row) + "\n" for row in rows.iter_rows(named=True)))
    return lambda: ingest(store, "plain", str(source))[0].accepted


def deduplicate(store: Store, folder: Path, turn: int, problems: int) -> Callable[[], Any]:
    from pipeline.dedup import deduplicate

    return lambda: deduplicate(store).signed


def worker(store: Store, folder: Path, turn: int, problems: int) -> Callable[[], Any]:
    from trainer.policies import PublishedPolicy
    from trainer.rollouts import RolloutWorker, WorkerSettings

    own = RolloutWorker(store, WorkerSettings(run=RUN))
    newest = PublishedPolicy("policy-1", None, RUN, 1_000, None)
    begin = time.process_time()
    own.too_far_ahead(newest)
    print(f"the first look of a worker takes {time.process_time() - begin:.2f} CPU-s", file=sys.stderr)
    append_fresh(store, turn, problems)
    return lambda: own.too_far_ahead(newest)


def advance(store: Store, folder: Path, turn: int, problems: int) -> Callable[[], Any]:
    from trainer.data import Mixture, ScoredTokens, Stream

    stream = Stream(
        store,
        Mixture.model_validate(MIXTURE),
        ScoredTokens(store, REFERENCE),
        reference_policy=None,
        seed=0,
        run_id=RUN,
    )
    begin = time.process_time()
    stream.advance()
    print(f"opening the stream takes {time.process_time() - begin:.2f} CPU-s", file=sys.stderr)
    append_scored(store, turn + 1, problems)
    begin = time.process_time()
    stream.advance()
    print(f"its first move takes {time.process_time() - begin:.2f} CPU-s", file=sys.stderr)
    append_scored(store, turn, problems)
    split = store.read("problems", ["problem_id", "split"])
    rows = fresh_rows(starter(), turn, problems).join(split, on="problem_id")
    never_drawn = rows.filter(pl.col("split") != "train").height

    def work() -> int:
        stream.advance()
        return never_drawn + int((stream.pool("online").policy_step == FRESH_STEP + turn).sum())

    return work


def report(store: Store, folder: Path, turn: int, problems: int) -> Callable[[], Any]:
    from pipeline.evaluation.report import write_report

    run = folder / "run"
    run.mkdir(exist_ok=True)
    (run / "config.json").write_text(json.dumps({"name": "mine", "source": [{"name": "human"}]}))
    (run / "metrics.jsonl").write_text(json.dumps({"step": 0, "loss": 0.0}) + "\n")
    return lambda: str(write_report(store, run, folder / "report"))


def health(store: Store, folder: Path, turn: int, problems: int) -> Callable[[], Any]:
    from flows.work.health import store_health

    return lambda: store_health(store.location)["figures"]


def decontaminate(store: Store, folder: Path, turn: int, problems: int) -> Callable[[], Any]:
    from pipeline.dedup import decontaminate

    return lambda: str(decontaminate(store))[:200]


def publish(store: Store, folder: Path, turn: int, problems: int) -> Callable[[], Any]:
    from pipeline.corpora import Spec, publish

    where = "origin = 'human' and verdict = 'accepted'"
    spec = Spec(f"scale-{turn}", f"select trajectory_id from judged where {where}")
    return lambda: len(publish(store, spec).rows)


def group_by(store: Store, folder: Path, turn: int, problems: int) -> Callable[[], Any]:
    def work() -> int:
        with connect(store) as connection:
            return query(connection, GROUP_BY).height

    return work


def maintain(store: Store, folder: Path, turn: int, problems: int) -> Callable[[], Any]:
    tables = ("trajectories", "verdicts", "program_signatures", "duplicates", "reference_scores", "batches")
    return lambda: [str(store.maintain(table, retention_hours=0)) for table in tables]


def ledger(store: Store, folder: Path, turn: int, problems: int) -> Callable[[], Any]:
    from pipeline.store import check_ledger

    def work() -> dict[str, int]:
        checked = check_ledger(store)
        return {"lost": checked.lost, "doubled": checked.doubled}

    return work


WORK = {
    work.__name__: work
    for work in (
        label, ingest, deduplicate, worker, advance, report, health, decontaminate, publish, group_by,
        maintain, ledger,
    )
}  # fmt: skip


def run_apart(name: str, folder: Path, turn: int, problems: int, limit_s: float = 7_200) -> dict[str, Any]:
    """The figures of one piece of work, done in a new process. Raises CalledProcessError if it fails."""
    command = [sys.executable, "-P", __file__, name, str(folder), str(turn), str(problems)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=limit_s, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    name, folder, turn, problems = sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:])
    work = WORK[name](Store(folder / "store"), folder, turn, problems)
    before, begin = own_cpu_s(), time.perf_counter()
    outcome = work()
    wall = time.perf_counter() - begin
    memory = peak_mb()
    figures = {"work_s": own_cpu_s() - before, "cpu_s": own_cpu_s(), "wall_s": wall, "rss_mb": memory}
    print(json.dumps({name: round(value, 3) for name, value in figures.items()} | {"outcome": outcome}))


def peak_mb() -> float:
    """Largest resident memory of this process, pages of mapped files included. `ru_maxrss` would count what
    the process that started it had.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def own_cpu_s() -> float:
    """CPU seconds of this process, without those of judged programs."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
