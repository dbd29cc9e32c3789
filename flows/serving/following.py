"""Services that follow the store: a rollout worker, a grader, a reference scorer, each a loop in a process of its own.

They need no server and no queue: what is missing in the store says what there is to do. Each may be killed at any moment and
started again, on one machine or another. A labelling or scoring by a flow and by a follower on one machine take turns.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pipeline.labelling import label
from pipeline.store import Store, StoreError, alone
from sandbox import Pool
from trainer.policies import Policy, Precision, is_finished, score
from trainer.rollouts import Outcome

SHORTEST_WAIT_S, LONGEST_WAIT_S = 0.25, 8.0
STORE_ATTEMPTS = 5  # a store that cannot be reached is asked again, this often in a row

# Tables whose growth may mean work.
SOURCES_OF_WORK = ["problems", "trajectories", "verdicts"]


def follow(work: Callable[[], Outcome], *, wait: Callable[[float], None] = time.sleep) -> Iterator[Outcome]:
    """Do work again and again and yield what came of it, until it says that nothing more will come.

    Idle, it waits twice as long each time, and yields a reason once for as long as it stays the same. A StoreError is passed
    on once it has come STORE_ATTEMPTS times in a row.
    """
    pause, said, failures = SHORTEST_WAIT_S, None, 0
    while True:
        try:
            outcome = work()
            failures = 0
        except StoreError as error:
            failures += 1
            if failures >= STORE_ATTEMPTS:
                raise
            outcome = Outcome(reason=f"{error}; trying again")
        if outcome.rows or outcome.finished or outcome.reason != said:
            yield outcome
        if outcome.finished:
            return
        said = None if outcome.rows else outcome.reason
        if outcome.rows:
            pause = SHORTEST_WAIT_S
        else:
            wait(pause)
            pause = min(2 * pause, LONGEST_WAIT_S)


@dataclass
class Grader:
    """Labels whatever comes; with `until`, up to the end of that run."""

    store: Store
    pool: Pool
    until: str | None = None
    _seen: dict[str, int] | None = None

    def work(self) -> Outcome:
        ended, now = ends(self.store, self.until), self.store.pins(SOURCES_OF_WORK)
        if now == self._seen:
            return Outcome(reason="everything is labelled", finished=ended)
        with alone(self.store.location, "label"):
            found = label(self.store, self.pool)
        self._seen = now
        return Outcome(
            rows=found.rows, reason="everything is labelled", details={"verdicts": dict(found.verdicts)}
        )


@dataclass
class Scorer:
    """Scores whatever was labelled under a reference; with `until`, up to the end of that run."""

    store: Store
    reference: Policy
    max_tokens: int
    folder: Path | None = None  # where the reference lies
    changed: bool = False  # it may hold another policy than was scored from there before
    precision: Precision = "fp32"
    until: str | None = None
    _seen: dict[str, int] | None = None

    def work(self) -> Outcome:
        ended, now = ends(self.store, self.until), self.store.pins(SOURCES_OF_WORK)
        if now == self._seen:
            return Outcome(reason="everything is scored", finished=ended)
        with alone(self.store.location, "score"):
            found = score(
                self.store,
                self.reference,
                max_tokens=self.max_tokens,
                precision=self.precision,
                folder=self.folder,
                changed=self.changed,
            )
        self._seen = now
        details = {"tokens": found.tokens, "too_long": found.too_long}
        return Outcome(rows=found.scored, reason="everything is scored", details=details)


def ends(store: Store, run: str | None) -> bool:
    """Whether the run that is followed is done: what it left behind is still worked off."""
    return run is not None and is_finished(store, run)


def follow_aloud(what: str, work: Callable[[], Outcome]) -> dict:
    """Follow until the end, with a line on standard error for each outcome; returns the totals."""
    rows = rounds = 0
    for outcome in follow(work):
        told = {name: value for name, value in outcome.details.items() if name != "watermark"}
        said = f"{outcome.rows} rows" + (f" {told}" if told else "") if outcome.rows else outcome.reason
        print(f"{datetime.now():%H:%M:%S} {what}: {said}", file=sys.stderr, flush=True)
        rows, rounds = rows + outcome.rows, rounds + bool(outcome.rows)
    return {"rows": rows, "rounds": rounds}
