"""kill -9 at random moments on two writers and a compactor, while a reader looks. For a test, a soak test
and the benchmark.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from pipeline.store.store import Store

WORKER = Path(__file__).with_name("store_worker.py")
ROWS = 20


@dataclass(frozen=True)
class Outcome:
    """Commits lost or half visible and rows doubled, as the reader saw them and as the store is at the
    end; all should be 0.
    """

    kills: int
    commits: int
    lost: int
    doubled: int
    half: int
    tail_differs: int


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, str(WORKER), *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    out, err = process.communicate(timeout=600)
    if process.returncode:
        raise RuntimeError(err)
    return out.splitlines()


def kill_at_random(process, draw):
    """Kill a process once it works: some lines and some milliseconds later. True if it was still alive."""
    for _ in range(draw.randint(1, 3)):
        if not process.stdout.readline():
            break
    time.sleep(draw.random() * 0.06)
    alive = process.poll() is None
    if alive:
        os.kill(process.pid, signal.SIGKILL)
    _, err = process.communicate()
    if not alive and process.returncode:
        raise RuntimeError(err)
    return alive


def run(store: Store, kills: int, *, seed: int) -> Outcome:
    """Kill until `kills` have hit; each writer commits about three times between two kills. Then look at
    what is there.
    """
    draw = random.Random(seed)
    roles = {f"writer-{i}": ("write", store.location, f"writer-{i}", 10**9, ROWS) for i in range(2)}
    roles["compactor"] = ("compact", store.location)
    reader = start("read", store.location, ROWS)
    running = {name: start(*role) for name, role in roles.items()}
    hits = 0
    try:
        while hits < kills:
            name = draw.choice(list(roles))
            hits += kill_at_random(running[name], draw)
            running[name] = start(*roles[name])
    finally:
        for process in running.values():
            process.kill()
            process.communicate()
        seen = json.loads(finish(reader)[-1])
    return judge(store, hits, seen)


def judge(store: Store, hits: int, seen: dict) -> Outcome:
    """Compare what the reader saw with what each writer's commits say must be there."""
    ids = Store(store.location).read("trajectories", ["trajectory_id"])["trajectory_id"].to_list()
    committed = {name: store.last_sequence("trajectories", name) + 1 for name in ("writer-0", "writer-1")}
    expected = {
        f"{name}/{s}/{i}" for name, count in committed.items() for s in range(count) for i in range(ROWS)
    }
    return Outcome(
        kills=hits,
        commits=sum(committed.values()),
        lost=seen["lost"] + len(expected - set(ids)),
        doubled=seen["doubled"] + len(ids) - len(set(ids)) + len(set(ids) - expected),
        half=seen["half"],
        tail_differs=seen["tail_differs"],
    )
