"""Services that follow the store: a rollout worker, a grader, a reference scorer, each a loop in its own
process.

They need no server and no queue: the rows that the store does not have yet are the work. Each service may be
killed at any moment and started again, on any machine. On one machine, a flow and a service that do the same
work take turns.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from flows.display.terminal import echo
from pipeline.labelling import label
from pipeline.store import Store, StoreError, exclusive
from sandbox import Pool
from trainer.policies import Policy, Precision, is_finished, score
from trainer.rollouts import Outcome

SHORTEST_WAIT_S, LONGEST_WAIT_S = 0.25, 8.0
STORE_ATTEMPTS = 5  # consecutive failures after which an unreachable store is an error

# Tables whose growth may create work.
_SOURCES_OF_WORK = ["problems", "trajectories", "verdicts"]


def follow(work: Callable[[], Outcome], *, wait: Callable[[float], None] = time.sleep) -> Iterator[Outcome]:
    """Call `work` until it is finished, and yield its outcomes.

    While there is nothing to do, the pauses double, and a reason is yielded only when it changes. A
    StoreError is raised after STORE_ATTEMPTS consecutive failures.
    """
    pause, last_reason, failures = SHORTEST_WAIT_S, None, 0
    while True:
        try:
            outcome = work()
            failures = 0
        except StoreError as error:
            failures += 1
            if failures >= STORE_ATTEMPTS:
                raise
            outcome = Outcome(reason=f"{error}; trying again")
        if outcome.rows or outcome.finished or outcome.reason != last_reason:
            yield outcome
        if outcome.finished:
            return
        last_reason = None if outcome.rows else outcome.reason
        if outcome.rows:
            pause = SHORTEST_WAIT_S
        else:
            wait(pause)
            pause = min(2 * pause, LONGEST_WAIT_S)


@dataclass
class Grader:
    """Labels new rows; with `until`, until that run ends."""

    store: Store
    pool: Pool
    until: str | None = None
    all_tests: bool = False  # also after the first failure
    _seen: dict[str, int] | None = None

    def work(self) -> Outcome:
        ended, now = _has_ended(self.store, self.until), self.store.pins(_SOURCES_OF_WORK)
        if now == self._seen:
            return Outcome(reason="everything is labelled", finished=ended)
        with exclusive(self.store.location, "label"):
            labelled = label(self.store, self.pool, all_tests=self.all_tests)
        self._seen = now
        return Outcome(
            rows=labelled.rows,
            reason="everything is labelled",
            details={"verdicts": dict(labelled.verdicts)},
        )


@dataclass
class Scorer:
    """Scores labelled rows under a reference policy; with `until`, until that run ends."""

    store: Store
    reference: Policy
    max_tokens: int
    folder: Path | None = None  # of the reference
    changed: bool = False  # the folder may hold another policy than before
    precision: Precision = "fp32"
    until: str | None = None
    _seen: dict[str, int] | None = None

    def work(self) -> Outcome:
        ended, now = _has_ended(self.store, self.until), self.store.pins(_SOURCES_OF_WORK)
        if now == self._seen:
            return Outcome(reason="everything is scored", finished=ended)
        with exclusive(self.store.location, "score"):
            scored = score(
                self.store,
                self.reference,
                max_tokens=self.max_tokens,
                precision=self.precision,
                folder=self.folder,
                changed=self.changed,
            )
        self._seen = now
        details = {"tokens": scored.tokens, "too_long": scored.too_long}
        return Outcome(rows=scored.scored, reason="everything is scored", details=details)


def _has_ended(store: Store, run: str | None) -> bool:
    """Whether the run that is followed is finished; its remaining rows are still processed."""
    return run is not None and is_finished(store, run)


def follow_and_report(what: str, work: Callable[[], Outcome]) -> dict:
    """Follow until the end, and print one line per outcome on standard error. Returns the totals."""
    rows = rounds = 0
    for outcome in follow(work):
        details = {name: value for name, value in outcome.details.items() if name != "watermark"}
        line = f"{outcome.rows} rows" + (f" {details}" if details else "") if outcome.rows else outcome.reason
        echo(f"{datetime.now():%H:%M:%S} {what}: {line}", err=True)
        rows, rounds = rows + outcome.rows, rounds + bool(outcome.rows)
    return {"rows": rows, "rounds": rounds}
