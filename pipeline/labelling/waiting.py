"""How many rollouts of a run have no verdict yet, followed in memory: after the first look, the cost depends
on what was added.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import polars as pl

from pipeline.store import Store, StoreError

PORTION_ROWS = 500_000
ONLINE = pl.col("origin") == "online"


class WaitingRows:
    """The fresh samples of one run, for one process: `samples` counts them by policy, `waiting` those that
    have no verdict, judge errors included. 8 bytes per verdict at the first look, and per waiting row later.
    """

    def __init__(self, store: Store, run: str):
        self.store = store
        self.samples: Counter[str] = Counter()
        self._own = ONLINE & (pl.col("run_id") == run)
        self._waiting: set[int] = set()
        self._versions: dict[str, int] | None = None

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def update(self) -> None:
        """Look at what the store has now."""
        # A verdict comes after its trajectory, so the trajectories that are read have those of the verdicts.
        now = {name: self.store.version(name) for name in ("verdicts", "trajectories")}
        if now == self._versions:
            return
        try:
            before = self._versions
            if before is None:
                raise StoreError("the first look")
            parts = {name: self._added(name, before[name], now[name]) for name in now}
        except StoreError:  # also where maintenance has deleted files of that time
            self._start(now)
        else:
            self._count(parts["trajectories"])
            self._waiting.difference_update(hashes(parts["verdicts"]["trajectory_id"]).tolist())
        self._versions = now

    def _added(self, name: str, after: int, until: int) -> pl.DataFrame:
        columns = COLUMNS[name]
        if after == until:
            return self.store.snapshot(name, until).table.empty.select(columns)
        if self.store.index_folder is None:
            return self.store.tail(name, after, until)[0].select(columns)
        return self.store.added(name, after, until).read(columns)

    def _count(self, rows: pl.DataFrame) -> None:
        own = rows.filter(self._own)
        self.samples.update(own["policy_id"].to_list())
        self._waiting.update(hashes(own["trajectory_id"]).tolist())

    def _start(self, now: dict[str, int]) -> None:
        self.samples.clear()
        self._waiting.clear()
        judged = np.unique(np.concatenate([
            np.zeros(0, np.uint64),
            *(hashes(part["trajectory_id"]) for part in self._portions("verdicts", now)),
        ]))  # fmt: skip
        for part in self._portions("trajectories", now):
            own = part.filter(self._own)
            self.samples.update(own["policy_id"].to_list())
            names = hashes(own["trajectory_id"])
            self._waiting.update(names[~np.isin(names, judged, kind="sort")].tolist())

    def _portions(self, name: str, now: dict[str, int]) -> Iterator[pl.DataFrame]:
        rows = self.store.snapshot(name, now[name]).scan().select(COLUMNS[name])
        yield from rows.collect_batches(chunk_size=PORTION_ROWS)


COLUMNS = {"trajectories": ["trajectory_id", "policy_id", "run_id", "origin"], "verdicts": ["trajectory_id"]}


def hashes(names: pl.Series) -> np.ndarray:
    """64-bit hashes that hold within this process: [names]."""
    return names.hash().to_numpy()
