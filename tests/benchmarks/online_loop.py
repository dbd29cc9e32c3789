"""The loop that runs by itself: trainer, rollout worker, grader, scorer, scheduled ingestion and Prefect's
server as separate processes on the starter set, one of them killed at random every minute; against
offline-only training of as many steps.

    ./run bench online_loop                                  # some eight minutes
    ./run bench online_loop --minutes 30 --out data/bench    # the long run, with three times the evaluation

In the long run both sides train on human programs of a quarter of the problems, in the short one on those of
all. Writes `online_loop.json`, `.txt` and `.svg` into the folder of `--out`, and ends with one JSON line.
Each run begins from nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import hashlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

# Several processes share the cores: threads inside each would only wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import httpx
import polars as pl

from flows.runtime.starting import api_url
from pipeline.ingest.ingestion import ingest
from pipeline.labelling.labeller import label
from pipeline.store.ledger import check_ledger
from pipeline.store.sql import connect, query
from pipeline.store.store import Store
from sandbox import Pool
from trainer.evaluation.evaluator import Evaluation, evaluate
from trainer.policies.policy import load_policy, new_policy
from trainer.policies.publishing import find_policy, publish_policy
from trainer.policies.reference import score
from trainer.policies.sealed import numbered, step_number
from trainer.policies.warm_start_rows import SolvedRows
from trainer.policies.warmstart import warm_start
from trainer.rollouts.generation import Provenance, SamplingSettings, rollout

STARTER = Path(__file__).parents[2] / "data" / "starter"
MAX_NEW_TOKENS = 128
ENDING_S = 30.0


def answers(api: str) -> bool:
    """Whether Prefect's server is up, whoever's it is."""
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(f"{api}/health", timeout=2).is_success
    return False


@dataclass(frozen=True)
class Sizes:
    """How much is sampled and evaluated; a long run affords more."""

    known_problems: int = 662  # training problems whose programs are there, or will come
    train_problems: int = 150  # of the 662, that are sampled for Q0 and online
    reference_samples: int = 4
    test_problems: int = 40
    points: int = 1  # evaluated policies on the way, beside the last
    warm_start_steps: int = 300
    publish_every: int = 20  # steps; each policy is kept for the evaluation, a few MB
    arrivals: int = 4  # parts in which the held-back programs arrive
    rate: float = 3e-4  # learning rate, constant
    # First hexadecimal digit below which human programs of a problem are trained on: 4: a quarter, g: all.
    taught: str = "g"


# ---- what there is before the loop begins


def prepare(folder: Path, sizes: Sizes) -> Store:
    """The starter set without a quarter of its programs, a warm-started reference, its samples, labels and
    scores.
    """
    split_starter(folder, sizes)
    store = Store(folder / "store")
    ingest(store, "plain", str(folder / "first"))
    with Pool() as pool:
        label(store, pool)
        policy = reference_policy(store, folder, sizes)
        rollout(
            store,
            policy,
            problems(store, "train", sizes.train_problems),
            SamplingSettings(samples_per_problem=sizes.reference_samples, max_new_tokens=MAX_NEW_TOKENS),
            Provenance(name="reference-samples", policy_id="reference", origin="earlier_training"),
            seed=0,
        )
        label(store, pool)
    score(store, policy, max_tokens=768)
    return store


def split_starter(folder: Path, sizes: Sizes) -> None:
    """`first/`: problems and a few programs of each; `held/part-N.jsonl`: one more of each, as they will
    arrive.
    """
    (folder / "first").mkdir(parents=True)
    (folder / "held").mkdir()
    (folder / "inbox").mkdir()
    shutil.copy(STARTER / "problems.jsonl.gz", folder / "first")
    train = [row["problem_id"] for row in map(json.loads, lines_of("problems")) if row["split"] == "train"]
    known = set(train[: sizes.known_problems])
    seen: Counter[tuple[str, bool]] = Counter()
    first, held = [], []
    for line in lines_of("solutions"):
        row = json.loads(line)
        right = row["claimed_verdict"] == "accepted"
        place = seen[row["problem_id"], right]
        seen[row["problem_id"], right] += 1
        if row["problem_id"] in known and place < (2 if right else 1):
            first.append(line)
        elif row["problem_id"] in known and right and place == 2:
            held.append(line)
    (folder / "first" / "solutions.jsonl").write_text("".join(first))
    for part in range(sizes.arrivals):
        (folder / "held" / f"part-{part}.jsonl").write_text("".join(held[part :: sizes.arrivals]))


def lines_of(name: str) -> list[str]:
    """Lines of a file of the starter set, in an order by hash: its own goes family by family."""
    lines = gzip.decompress((STARTER / f"{name}.jsonl.gz").read_bytes()).decode().splitlines(keepends=True)
    return sorted(lines, key=lambda line: hashlib.blake2b(line.encode(), digest_size=8).digest())


def reference_policy(store: Store, folder: Path, sizes: Sizes):
    rows = SolvedRows("split = 'train' and source = 'starter'", "j.origin = 'human'", share=0.5)
    policy = new_policy(rows.texts(store), layers=3, width=128, seed=0)
    warm_start(policy, rows.pairs(store), seed=0, steps=sizes.warm_start_steps, batch_tokens=2048)
    policy.save(folder / "reference")
    publish_policy(store, policy, folder / "reference", policy_id="reference")
    return policy


def problems(store: Store, split: str, count: int) -> pl.DataFrame:
    with connect(store) as connection:
        return query(
            connection,
            f"select problem_id, statement, split from problems where split = '{split}'"
            f" order by md5(problem_id) limit {count}",
        )


def some_problems(split: str, count: int) -> str:
    chosen = f"select problem_id from problems where split = '{split}' order by md5(problem_id) limit {count}"
    return f"problem_id in ({chosen})"


# In a long run both sides learn from the human programs of a quarter of the problems only: with those of all
# there is little left to find out. (The reference learned its first language from all, as by pretraining.)
TAUGHT = "j.origin = 'human' and md5('taught ' || j.problem_id) < '{}'"
CONFIG = """
run = "{folder}/{name}"
store = "{folder}/store"
reference = "{folder}/reference"
reference_policy = "reference"
[objective]
name = "spo"
beta = 0.1
[training]
steps = {steps}
checkpoint_every = 10
publish_every = {publish}
publish_keep = 1000000
[optimiser]
learning_rate = {rate}
schedule = "constant"
warmup_steps = 10
[mixture]
batch_sequences = 32
follow_every = 5
[[source]]
name = "human, right"
where = "{taught} and j.verdict = 'accepted'"
weight = 0.55
unique = "token"
[[source]]
name = "human, wrong"
where = "{taught} and j.verdict <> 'accepted'"
weight = 0.15
unique = "token"
[[source]]
name = "reference"
where = "j.policy_id = 'reference'"
weight = 0.3
"""
# Fresh rows drawn as they come are failures for the most part, which teach little; in SPO the shares are
# free.
FRESH = """
[[source]]
name = "fresh, right"
where = "j.origin = 'online' and j.run_id = 'online' and j.verdict = 'accepted'"
weight = 0.7
window = 1024
when_empty = "others"
[[source]]
name = "fresh, wrong"
where = "j.origin = 'online' and j.run_id = 'online' and j.verdict <> 'accepted'"
weight = 0.3
window = 1024
when_empty = "others"
"""


def write_config(folder: Path, name: str, steps: int, sizes: Sizes, more: str = "") -> Path:
    path = folder / f"{name}.toml"
    given = {"steps": steps, "rate": sizes.rate, "publish": sizes.publish_every}
    path.write_text(
        CONFIG.format(folder=folder, name=name, taught=TAUGHT.format(sizes.taught), **given) + more
    )
    return path


# ---- the processes and the hand that kills them


@dataclass
class Service:
    """A command that runs for as long as the loop does, and is started again whenever it ends."""

    name: str
    command: list[str]
    needs: str | None = None  # address of Prefect's server, which must answer first
    process: subprocess.Popen | None = None
    starts: int = 0
    failures: int = 0  # ends that nobody asked for


@dataclass
class Loop:
    """Services in processes of their own; used as a context, none outlives it."""

    folder: Path
    kill_every_s: float
    seed: int = 0
    services: list[Service] = field(default_factory=list)
    kills: Counter[str] = field(default_factory=Counter)
    events: list[dict[str, Any]] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)

    def __enter__(self) -> Loop:
        return self

    def __exit__(self, *_: object) -> None:
        for service in self.services:
            if service.process and service.process.poll() is None:
                os.killpg(service.process.pid, signal.SIGTERM)
        deadline = time.monotonic() + ENDING_S
        for service in self.services:
            if service.process:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    service.process.wait(max(0.0, deadline - time.monotonic()))
                end_group(service.process)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    def note(self, what: str, **more: Any) -> None:
        self.events.append({"at_s": round(self.seconds, 1), "what": what, **more})
        print(f"{self.seconds:7.1f} s  {what} {more or ''}", file=sys.stderr, flush=True)

    def start(self, service: Service) -> None:
        log = open(self.folder / "logs" / f"{service.name}.log", "a")  # noqa: SIM115 (the process keeps it)
        service.process = subprocess.Popen(
            [sys.executable, "-m", "flows", *service.command],
            stdout=log,
            stderr=log,
            env=surroundings(self.folder) | ({"PREFECT_API_URL": service.needs} if service.needs else {}),
            start_new_session=True,
        )
        log.close()
        service.starts += 1

    def run(self, seconds: float, tick: Any) -> None:
        """Keep all services alive for so long, kill one at random every `kill_every_s`, and call `tick` in
        between.
        """
        draw, next_kill = random.Random(self.seed), self.seconds + self.kill_every_s
        end = self.seconds + seconds
        while self.seconds < end:
            for service in self.services:
                if service.process is None or service.process.poll() is not None:
                    if service.process is not None and service.process.returncode != -signal.SIGKILL:
                        service.failures += 1
                        self.note(f"{service.name} ended by itself", code=service.process.returncode)
                    service.process = None
                    if service.needs is None or answers(service.needs):
                        self.start(service)
            tick()
            if self.seconds >= next_kill:
                victim = draw.choice(self.services)
                if victim.process and victim.process.poll() is None:
                    end_group(victim.process)
                    self.kills[victim.name] += 1
                    self.note(f"killed {victim.name}")
                next_kill += self.kill_every_s
            time.sleep(0.2)


def end_group(process: subprocess.Popen) -> None:
    """Kill a process and what it started, as a machine that loses power would."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def surroundings(folder: Path) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return own | {
        "SPO_DATA_DIR": str(folder),
        "OMP_NUM_THREADS": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


SCHEDULE = """
store = "{folder}/store"
[[ingest]]
name = "inbox"
adapter = "plain"
source = "{folder}/inbox"
interval_s = {every:.0f}
"""


def services(folder: Path, config: Path, sizes: Sizes, every_s: float, port: int) -> list[Service]:
    store = ["--store", str(folder / "store")]
    schedule = folder / "schedule.toml"
    schedule.write_text(SCHEDULE.format(folder=folder, every=every_s))
    return [
        Service("server", ["up", "--port", str(port)]),
        Service("scheduler", ["serve", str(schedule)], needs=api_url(port)),
        Service("trainer", ["train", str(config)]),
        Service(
            "worker",
            [
                "rollout",
                "online",
                "--follow",
                "--problems",
                some_problems("train", sizes.train_problems),
                "--count",
                "32",
                "--samples",
                "4",
                "--max-new-tokens",
                str(MAX_NEW_TOKENS),
                "--max-per-policy",
                "256",
                "--max-waiting",
                "512",
                *store,
            ],
        ),
        Service("grader", ["label", "--follow", "--workers", "1", *store]),
        Service("scorer", ["score", str(folder / "reference"), "--follow", "--max-tokens", "768", *store]),
    ]


@dataclass
class Arrivals:
    """Held-back programs that come into the inbox one part at a time, for the scheduled ingestion to find."""

    loop: Loop
    every_s: float
    _next_s: float = 0.0

    def tick(self) -> None:
        if self.loop.seconds >= self._next_s:
            self._next_s = self.loop.seconds + self.every_s
            self.move(1)

    def move(self, count: int | None = None) -> None:
        for part in sorted((self.loop.folder / "held").glob("part-*.jsonl"))[:count]:
            part.rename(self.loop.folder / "inbox" / part.name)
            self.loop.note(f"{part.name} arrived")

    def finish(self) -> None:
        """Bring the rest in."""
        self.move()
        ingest(Store(self.loop.folder / "store"), "plain", str(self.loop.folder / "inbox"))


def ingestions_fired(server: str) -> int | None:
    """How many scheduled ingestions succeeded, by Prefect's server; None if it does not answer."""
    wanted = {
        "flows": {"name": {"any_": ["ingest"]}},
        "flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}},
    }
    with contextlib.suppress(httpx.HTTPError):
        return httpx.post(f"{server}/flow_runs/count", json=wanted, timeout=20).raise_for_status().json()
    return None


# ---- the whole


def loop(
    minutes: float = 3.0,
    kill_every_s: float = 60.0,
    folder: Path | None = None,
    *,
    sizes: Sizes | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Run the loop for so many minutes, then offline-only training of as many steps, and evaluate both;
    the figures, flat.
    """
    results = run(minutes, kill_every_s, folder, sizes=sizes or Sizes(), seed=seed)
    return {name: value for name, value in results.items() if not isinstance(value, list | dict)}


def run(
    minutes: float, kill_every_s: float, folder: Path | None, *, sizes: Sizes, seed: int
) -> dict[str, Any]:
    """The same with curves and events, in a folder that is kept, or in one that is not."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="online-loop-", ignore_cleanup_errors=True) as made:
        place = Path(folder or made).resolve()
        (place / "logs").mkdir(parents=True)
        return run_loop(place, minutes, kill_every_s, sizes, seed)


def run_loop(place: Path, minutes: float, kill_every_s: float, sizes: Sizes, seed: int) -> dict[str, Any]:
    begun = time.monotonic()
    store = prepare(place, sizes)
    config = write_config(place, "online", 10_000_000, sizes, FRESH)
    with Loop(place, kill_every_s, seed) as running:
        running.note("prepared", seconds=round(time.monotonic() - begun, 1))
        port, every_s = free_port(), max(20.0, 60.0 * minutes / (sizes.arrivals + 2))
        running.services = services(place, config, sizes, every_s, port)
        arrivals = Arrivals(running, every_s)
        running.run(60.0 * minutes, arrivals.tick)
        fired = ingestions_fired(api_url(port))
        running.note("stopping")
    arrivals.finish()
    running.note("stopped")
    with Pool() as pool:
        label(store, pool)
    score(store, load_policy(place / "reference"), max_tokens=768)
    results = check_ledger(store)
    steps = [step_number(path) for path in numbered(place / "online", "policy")]
    if not steps:
        raise SystemExit(f"the trainer published nothing in {minutes} minutes; see {place}/logs")
    running.note("offline-only training", steps=steps[-1])
    train_offline(place, steps[-1], sizes)
    running.note("evaluating")
    curve = list(evaluations(store, chosen_steps(steps, sizes.points), sizes.test_problems))
    running.note("done")
    return {
        "minutes": minutes,
        "kills": sum(running.kills.values()),
        "kills_of": dict(running.kills),
        "ended_by_themselves": {
            service.name: service.failures for service in running.services if service.failures
        },
        "starts": {service.name: service.starts for service in running.services},
        "ingestions": fired,
        "steps": steps[-1],
        **figures(store, place),
        "rows_lost": results.lost,
        "rows_doubled": results.doubled,
        "judge_errors_as_rewards": results.judge_errors_as_rewards,
        "ledger": results.details,
        "pass1_start": curve[0]["pass@1"],
        "pass10_start": curve[0]["pass@10"],
        **{
            f"{name}_{run}": last(curve, run)[key]
            for run in ("offline", "online")
            for name, key in (("pass1", "pass@1"), ("pass10", "pass@10"), ("distinct", "distinct correct"))
        },
        "curve": curve,
        "events": running.events,
        "seconds": round(time.monotonic() - begun, 1),
    }


def train_offline(place: Path, steps: int, sizes: Sizes) -> None:
    """As many steps on the same store without the source `fresh`. Its last policy is the final one."""
    config = write_config(place, "offline", steps, sizes)
    with open(place / "logs" / "offline.log", "a") as log:
        command = [sys.executable, "-m", "flows", "train", str(config)]
        if subprocess.run(command, stdout=log, stderr=log, env=surroundings(place)).returncode:
            raise SystemExit(f"offline training failed; see {log.name}")


def chosen_steps(steps: list[int], points: int) -> list[int]:
    """Some steps on the way, evenly, and the last."""
    positions = {round((number + 1) * (len(steps) - 1) / (points + 1)) for number in range(points)}
    return sorted({steps[place] for place in positions} | {steps[-1]})


def evaluations(store: Store, steps: list[int], test_problems: int) -> Iterator[dict[str, Any]]:
    held_out = problems(store, "test", test_problems)
    settings = SamplingSettings(samples_per_problem=20, max_new_tokens=MAX_NEW_TOKENS)
    with Pool() as pool:

        def row(run: str, step: int, policy_id: str) -> dict[str, Any]:
            results = find_policy(store, policy_id)
            return {
                "run": run,
                "step": step,
                **shown(evaluate(store, pool, results.load(), policy_id, held_out, settings)),
            }

        yield row("start", 0, "reference")
        for step in steps:
            yield row("online", step, f"online@{step}")
            yield row("offline", step, "offline" if step == steps[-1] else f"offline@{step}")


def shown(evaluation: Evaluation) -> dict[str, Any]:
    assert evaluation.pass_at_10
    return {
        "pass@1": round(evaluation.pass_at_1.mean, 4),
        "pass@1 interval": [round(evaluation.pass_at_1.low, 3), round(evaluation.pass_at_1.high, 3)],
        "pass@10": round(evaluation.pass_at_10.mean, 4),
        "pass@10 interval": [round(evaluation.pass_at_10.low, 3), round(evaluation.pass_at_10.high, 3)],
        "distinct correct": round(evaluation.distinct_correct, 3),
        "judge errors": evaluation.judge_errors,
    }


def last(curve: list[dict[str, Any]], run: str) -> dict[str, Any]:
    return [row for row in curve if row["run"] == run][-1]


def figures(store: Store, place: Path) -> dict[str, Any]:
    """What the loop moved."""
    with connect(store) as connection:
        counts = query(
            connection,
            "select count(*) as rollouts, count(distinct batch_id) as rounds,"
            " count(distinct policy_id) as policies_sampled"
            " from trajectories where origin = 'online' and run_id = 'online'",
        ).row(0, named=True)
        errors = query(connection, "select count(*) filter (verdict = 'judge_error') as n from verdicts")[
            "n"
        ][0]
    lines = [json.loads(line) for line in (place / "online" / "metrics.jsonl").read_text().splitlines()]
    fresh = [
        sum(of["rows"] for name, of in line["sources"].items() if name.startswith("fresh")) for line in lines
    ]
    return {
        **counts,
        "judge_errors": errors,
        "fresh_rows_trained_on": sum(fresh),
        "first_step_with_fresh": next(
            (line["step"] for line, rows in zip(lines, fresh, strict=True) if rows), None
        ),
    }


# ---- what is left of it


def table(results: dict[str, Any]) -> str:
    head = ("run", "step", "pass@1", "interval", "pass@10", "interval", "distinct")
    rows = [
        (
            row["run"],
            row["step"],
            f"{row['pass@1']:.3f}",
            "{:.3f}..{:.3f}".format(*row["pass@1 interval"]),
            f"{row['pass@10']:.3f}",
            "{:.3f}..{:.3f}".format(*row["pass@10 interval"]),
            f"{row['distinct correct']:.2f}",
        )
        for row in results["curve"]
    ]
    lines = [
        f"{results['minutes']:g} minutes, {results['steps']} steps, {results['rollouts']} rollouts"
        f" in {results['rounds']} rounds of {results['policies_sampled']} policies,"
        f" {results['ingestions']} scheduled ingestions, {results['kills']} kills"
        f" {results['kills_of']}",
        f"lost {results['rows_lost']}, doubled {results['rows_doubled']},"
        f" judge errors {results['judge_errors']}, of these as"
        f" rewards {results['judge_errors_as_rewards']}",
        "",
    ]
    return "\n".join(lines + ["".join(f"{cell!s:<16}" for cell in row).rstrip() for row in (head, *rows)])


def plot(results: dict[str, Any], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(10, 4), sharex=True)
    for axis, name in zip(axes, ("pass@1", "pass@10"), strict=True):
        for run, colour in (("online", "tab:blue"), ("offline", "tab:orange")):
            rows = [row for row in results["curve"] if row["run"] in ("start", run)]
            steps, low, high = (
                [row["step"] for row in rows],
                *zip(*(row[f"{name} interval"] for row in rows), strict=True),
            )
            axis.plot(steps, [row[name] for row in rows], marker="o", color=colour, label=f"{run}")
            axis.fill_between(steps, low, high, color=colour, alpha=0.15, linewidth=0)
        axis.set(title=f"{name}, held-out starter problems", xlabel="gradient steps", ylim=(0, None))
        axis.legend()
    figure.suptitle(
        f"online loop of {results['minutes']:g} minutes with {results['kills']} kills;"
        " bands: 95 % over problems"
    )
    figure.tight_layout()
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--minutes",
        type=float,
        default=3.0,
        help="of the loop itself; preparation and evaluation come on top",
    )
    parser.add_argument("--kill-every", type=float, default=60.0, help="seconds between kills")
    parser.add_argument("--rate", type=float, default=Sizes.rate, help="learning rate, constant")
    parser.add_argument("--seed", type=int, default=0, help="of the kills")
    parser.add_argument(
        "--out", type=Path, default=Path("data/bench/online_loop"), help="folder for table, figures and plot"
    )
    parser.add_argument(
        "--keep", action="store_true", help="keep store, runs and logs, in the folder `work` beside them"
    )
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    work = given.out / f"work-{time.strftime('%H%M%S')}" if given.keep else None
    long = given.minutes >= 15
    sizes = (
        Sizes(
            train_problems=662,
            reference_samples=6,
            test_problems=100,
            points=5,
            arrivals=12,
            publish_every=50,
            taught="4",
        )
        if long
        else Sizes()
    )
    results = run(
        given.minutes, given.kill_every, work, sizes=replace(sizes, rate=given.rate), seed=given.seed
    )
    (given.out / "online_loop.json").write_text(json.dumps(results, indent=1))
    (given.out / "online_loop.txt").write_text(table(results) + "\n")
    plot(results, given.out / "online_loop.svg")
    print(table(results))
    print(
        json.dumps({name: value for name, value in results.items() if name not in ("curve", "events")}),
        flush=True,
    )


if __name__ == "__main__":
    main()
