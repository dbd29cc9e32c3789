"""Benchmark beyond one machine: `./run bench beyond [--writers N] [--commits N] [--latency-ms MS]`; the last
line is JSON.

* Real: some writers in three processes append to one table on an S3 server (moto) that answers each request
  after `--latency-ms`, and gives an error in place of the reply to a part of the requests that it has carried
  out. lost and doubled count rows; 0 is expected.
* Model: writers that commit by the same rule (look, write, put if nobody has that version, try again) in
  simulated time. Its two numbers are fitted to real runs: round_trips of a commit to a run of one writer, and
  retry_trips, those between a put that failed and the next look, to a run of all. model_ratio: commits per
  second of a real run of a third of them over those of the model. Then 1,000 writers that commit once a
  minute: commits per second, attempts, wait, and writers that gave up after the 300 attempts of the store.
* Log: a local table with `--commits` commits of as many producers: bytes of a checkpoint per commit, and
  seconds to open the table, from a quarter of them, to all, and on that line to a million.
"""

from __future__ import annotations

import argparse
import heapq
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

HERE = Path(__file__).parent
sys.path[:] = [folder for folder in sys.path if folder != str(HERE)]
sys.path.insert(0, str(HERE.parents[1]))
from pipeline.store import Store  # noqa: E402
from pipeline.store.appending import COMMIT_ATTEMPTS, LONGEST_PAUSE_S  # noqa: E402

SERVER = """
import random, sys, time
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server
latency_s, loss = float(sys.argv[1]), float(sys.argv[2])
inner, draws = DomainDispatcherApplication(create_backend_app), random.Random(0)
def slow(environ, start_response):
    time.sleep(latency_s)
    if "_delta_log" in environ["PATH_INFO"] and draws.random() < loss:
        list(inner(environ, lambda *_: None))
        start_response("503 Slow Down", [("Content-Length", "0")])
        return [b""]
    return inner(environ, start_response)
server = make_server("127.0.0.1", 0, slow, threaded=True)
print("port", server.server_port, flush=True)
server.serve_forever()
"""
WRITER = """
import json, sys, time
from concurrent.futures import ThreadPoolExecutor
sys.path.insert(0, sys.argv[1])
from tests.benchmarks.beyond import write
names = sys.argv[4].split(",")
with ThreadPoolExecutor(len(names)) as threads:
    done = list(threads.map(lambda name: write(json.loads(sys.argv[2]), name, int(sys.argv[3])), names))
print(json.dumps(done))
"""
LOCATION, PROCESSES = "s3://bucket/store", 3


@contextmanager
def object_storage(latency_s: float, loss: float) -> Iterator[dict[str, str]]:
    """Options of a store on an S3 server with that latency and loss."""
    import boto3

    command = [sys.executable, "-c", SERVER, str(latency_s), str(loss)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert server.stdout
        port = next(line.split()[1] for line in server.stdout if line.startswith("port "))
        endpoint = f"http://127.0.0.1:{port}"
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
        boto3.client("s3", endpoint_url=endpoint, **keys).create_bucket(Bucket="bucket")
        yield {
            "aws_endpoint_url": endpoint,
            "aws_access_key_id": "test",
            "aws_secret_access_key": "test",
            "aws_region": "us-east-1",
            "aws_allow_http": "true",
        }
    finally:
        server.kill()
        server.wait()


def row(name: str) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {
                "policy_id": name,
                "folder": ".",
                "fingerprint": "f",
                "details": "{}",
                "created_at": datetime.now(UTC),
            }
        ]
    )


def write(options: dict[str, str], name: str, commits: int) -> tuple[int, float, float]:
    """Commits of one writer that it was told are in, and when it began and ended."""
    store = Store(LOCATION, options)
    store.version("policies")
    begin = time.time()
    added = sum(
        store.append("policies", row(f"{name}-{number}"), producer=name, sequence=number)
        for number in range(commits)
    )
    return added, begin, time.time()


def real_run(options: dict[str, str], writers: int, commits: int, names: str) -> dict[str, float]:
    """Commits per second of some writers, and rows that are lost or doubled."""
    Store(LOCATION, options).append("policies", row(f"{names}-first"), producer=f"{names}-first", sequence=0)
    parts: list[list[str]] = [[] for _ in range(min(PROCESSES, writers))]
    for number in range(writers):
        parts[number % len(parts)].append(f"{names}{number}")
    command = [sys.executable, "-c", WRITER, str(HERE.parents[1]), json.dumps(options), str(commits)]
    processes = [
        subprocess.Popen([*command, ",".join(part)], stdout=subprocess.PIPE, text=True) for part in parts
    ]
    results = [one for process in processes for one in json.loads(process.communicate()[0].splitlines()[-1])]
    seconds = max(end for *_, end in results) - min(begin for _, begin, _ in results)
    ids = Store(LOCATION, options).read("policies", ["policy_id"])["policy_id"]
    own = ids.filter(ids.str.contains(f"^{names}[0-9]+-"))
    acknowledged = sum(added for added, *_ in results)
    return {
        "commits_s": acknowledged / seconds,
        "lost": acknowledged - own.n_unique(),
        "doubled": len(own) - own.n_unique(),
    }


@dataclass(frozen=True)
class Modelled:
    """What the model says of writers that commit to one table."""

    commits_s: float
    attempts: float
    wait_s_p95: float
    gave_up: int


def model(
    writers: int,
    latency_s: float,
    trips: int,
    retry: int,
    *,
    interval_s: float = 0.0,
    duration_s: float = 600.0,
    seed: int = 0,
) -> Modelled:
    """Optimistic commits in simulated time. A commit is a look and `trips` - 1 more round trips to its put,
    which succeeds if no other entry has come in since the look. `retry` round trips later it looks again.

    `interval_s`: each writer begins a commit that long after the last one was due; 0: when it has ended.
    """
    draws, version = random.Random(seed), 0
    window_s, retry_s = (trips - 1) * latency_s, retry * latency_s
    # (time, writer, version at its look or -1 before it, attempt, when the commit was due)
    events: list[tuple[float, int, int, int, float]] = []
    for writer in range(writers):
        due = draws.uniform(0, interval_s or latency_s)
        heapq.heappush(events, (due + latency_s, writer, -1, 1, due))
    waits, attempts, gave_up = [], [], 0
    while events[0][0] < duration_s:
        now, writer, looked, tries, due = heapq.heappop(events)
        if looked < 0:
            heapq.heappush(events, (now + window_s, writer, version, tries, due))
            continue
        if looked != version and tries < COMMIT_ATTEMPTS:
            pause = draws.uniform(0, min(0.001 * (tries + 1), LONGEST_PAUSE_S))
            heapq.heappush(events, (now + pause + retry_s, writer, -1, tries + 1, due))
            continue
        if looked == version:
            version += 1
            waits.append(now - due)
            attempts.append(tries)
        else:
            gave_up += 1
        due = max(due + interval_s, now) if interval_s else now
        heapq.heappush(events, (due + latency_s, writer, -1, 1, due))
    waits.sort()
    return Modelled(
        version / duration_s,
        statistics.fmean(attempts) if attempts else 0.0,
        waits[int(0.95 * len(waits))] if waits else 0.0,
        gave_up,
    )


def fitted_retry(writers: int, latency_s: float, trips: int, commits_s: float) -> int:
    """The round trips before a second look with which the model is nearest to a real run."""
    choices = range(1, 20 * trips, 2)
    return min(choices, key=lambda retry: abs(model(writers, latency_s, trips, retry).commits_s - commits_s))


def log_growth(folder: Path, commits: int) -> dict[str, float]:
    """Checkpoints and opening of a table with as many commits, each of a producer of its own."""
    store, sizes, opening = Store(folder / "store"), {}, {}
    for number in range(commits):
        store.append("policies", row(str(number)), producer=f"producer-{number}", sequence=0)
        if number + 1 in (commits // 4, commits):
            store.maintain("policies", retention_hours=0)
            newest = max((folder / "store/policies/_delta_log").glob("*.checkpoint.parquet"))
            sizes[number + 1] = newest.stat().st_size
            times = []
            for _ in range(5):
                begin = time.perf_counter()
                Store(store.location).version("policies")
                times.append(time.perf_counter() - begin)
            opening[number + 1] = min(times)
    few, many = sorted(sizes)
    per_commit = (sizes[many] - sizes[few]) / (many - few)
    open_per_commit = (opening[many] - opening[few]) / (many - few)
    return {
        "checkpoint_bytes_per_commit": round(per_commit, 1),
        "checkpoint_mb_at_1m": round((sizes[many] + per_commit * (1_000_000 - many)) / 1e6, 1),
        "open_ms": round(1000 * opening[many], 1),
        "open_s_at_1m": round(opening[many] + open_per_commit * (1_000_000 - many), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--writers", type=int, default=9, help="of the real run")
    parser.add_argument("--per-writer", type=int, default=5, help="commits of each of them")
    parser.add_argument("--commits", type=int, default=2_000, help="of the local table")
    parser.add_argument("--latency-ms", type=float, default=50)
    parser.add_argument("--loss", type=float, default=0.02, help="share of replies that are lost")
    options = parser.parse_args()
    latency_s = options.latency_ms / 1000
    with object_storage(latency_s, options.loss) as storage:
        alone = real_run(storage, 1, 8, "alone")
        together = real_run(storage, options.writers, options.per_writer, "many")
        some = real_run(storage, max(2, options.writers // 3), options.per_writer, "some")
    trips = max(2, round(1 / alone["commits_s"] / latency_s))
    retry = fitted_retry(options.writers, latency_s, trips, together["commits_s"])
    predicted = model(max(2, options.writers // 3), latency_s, trips, retry)
    thousand = model(1_000, latency_s, trips, retry, interval_s=60)
    figures = {
        "round_trips": trips,
        "retry_trips": retry,
        "alone_commits_s": round(alone["commits_s"], 2),
        "real_commits_s": round(together["commits_s"], 2),
        "model_ratio": round(some["commits_s"] / predicted.commits_s, 2),
        "lost": sum(one["lost"] for one in (alone, together, some)),
        "doubled": sum(one["doubled"] for one in (alone, together, some)),
        "writers_1000_asked_commits_s": round(1_000 / 60, 1),
        "writers_1000_commits_s": round(thousand.commits_s, 2),
        "writers_1000_attempts": round(thousand.attempts, 1),
        "writers_1000_wait_s_p95": round(thousand.wait_s_p95, 1),
        "writers_1000_gave_up": thousand.gave_up,
    }
    for count in (10, 100):
        figures[f"writers_{count}_commits_s"] = round(
            model(count, latency_s, trips, retry, interval_s=60).commits_s, 2
        )
    with tempfile.TemporaryDirectory(prefix="spo-bench-beyond-", dir="/var/tmp") as folder:
        print(json.dumps(figures | log_growth(Path(folder), options.commits)))


if __name__ == "__main__":
    main()
