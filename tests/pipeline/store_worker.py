"""Processes on a store, to be killed at any moment: `store_worker.py
write|next|compact|read LOCATION [PRODUCER ...]`.

A writer goes on from its last commit. Row i of commit s of producer p has the id `p/s/i`, so that a lost,
doubled or half-visible commit shows in the ids alone. Each process prints a line after each commit,
compaction or look; a reader stops at the end of its standard input and reports what it saw wrong.
"""

import json
import select
import sys
import time
from collections import Counter
from datetime import UTC, datetime

import polars as pl

from pipeline.store.store import Store, StoreError


def batch(producer: str, sequence: int, rows: int) -> pl.DataFrame:
    ids = [f"{producer}/{sequence}/{i}" for i in range(rows)]
    constants = {
        "problem_id": "src/a",
        "origin": "online" if sequence % 2 else "human",
        "policy_id": producer,
        "program": "print(1)" * 20,
        "extraction": "whole",
        "language": "python3",
        "batch_id": producer,
        "source_file": "worker",
        "source_line": 1,
    }
    frame = pl.DataFrame({"trajectory_id": ids, "source_key": ids, "created_at": [datetime.now(UTC)] * rows})
    return frame.with_columns(pl.lit(value).alias(name) for name, value in constants.items())


def commits_in(ids: list[str]) -> Counter:
    """Rows seen of each commit."""
    return Counter(identity.rsplit("/", 1)[0] for identity in ids)


def write(location: str, producer: str, commits: str, rows: str) -> None:
    store = Store(location)
    for sequence in range(store.last_sequence("trajectories", producer) + 1, int(commits)):
        added = store.append(
            "trajectories", batch(producer, sequence, int(rows)), producer=producer, sequence=sequence
        )
        print(sequence, int(added), flush=True)


def append_next(location: str, producer: str, who: str, commits: str, rows: str) -> None:
    """Append under a producer that another process uses too; row i of the commit s of `who` is `who/s/i`."""
    store = Store(location)
    for number in range(int(commits)):
        try:
            store.append_next("trajectories", batch(who, number, int(rows)), producer=producer)
            print(who, number, "added", flush=True)
        except StoreError as error:
            if "another process appended" not in str(error):
                raise
            print(who, number, "refused", flush=True)


def compact(location: str) -> None:
    store = Store(location)
    while True:
        store.maintain("trajectories")
        print("compacted", flush=True)
        time.sleep(0.2)


def read(location: str, rows: str) -> None:
    """Look at snapshots and follow the tail: a commit must show whole, once, and never go again."""
    store, reached, before = Store(location), -1, Counter()
    followed: Counter = Counter()
    actual = {"looks": 0, "lost": 0, "doubled": 0, "half": 0, "tail_differs": 0}
    finished = False
    while not finished:
        finished = bool(select.select([sys.stdin], [], [], 0)[0])
        ids = store.read("trajectories", ["trajectory_id"])["trajectory_id"].to_list()
        seen = commits_in(ids)
        actual["looks"] += 1
        actual["lost"] += len(set(before) - set(seen))
        actual["doubled"] += len(ids) - len(set(ids))
        actual["half"] += sum(count != int(rows) for count in seen.values())
        new, reached = store.tail("trajectories", reached)
        followed += commits_in(new["trajectory_id"].to_list())
        before = seen
        time.sleep(0.05)
    actual["tail_differs"] = sum(((followed - seen) + (seen - followed)).values())
    print(json.dumps(actual), flush=True)


if __name__ == "__main__":
    {"write": write, "next": append_next, "compact": compact, "read": read}[sys.argv[1]](*sys.argv[2:])
