"""Tokens of scored trajectories under one reference: read from the store once, and then only what is new."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from pipeline.store import query
from pipeline.store import Store, StoreError

READ = """
select trajectory_id, prompt_ids, completion_ids from reference_scores
where reference = $reference and trajectory_id in (select unnest($ids::varchar[]))
"""
PLACES = {
    "trajectory_id": pl.String(), "block": pl.Int32(), "prompt_from": pl.Int64(), "prompt_to": pl.Int64(),
    "completion_from": pl.Int64(), "completion_to": pl.Int64(),
}


@dataclass(frozen=True)
class Block:
    """Tokens of the rows that one read brought, end to end: int32."""

    prompts: np.ndarray
    completions: np.ndarray


class Tokens:
    """A cache of token ids. What is in it depends on the past; what `find` gives does not, for stored scores never change."""

    def __init__(self, store: Store, reference: str):
        self.store, self.reference = store, reference
        self.version: int | None = None  # of the table, up to which the cache was tailed
        self.blocks: dict[int, Block] = {}
        self.rows_read = 0
        self._places = pl.DataFrame(schema=PLACES)
        self._next = 0

    def follow(self, version: int) -> None:
        """Take up the rows that were scored since the version before, and no others."""
        if self.version is not None and version > self.version:
            try:
                added, _ = self.store.tail("reference_scores", self.version, until=version)
            except StoreError:  # maintenance deleted files of that time: `find` will read what is asked for
                added = pl.DataFrame(schema={"reference": pl.String()})
            self._add(added.filter(pl.col("reference") == self.reference))
        self.version = version

    def find(self, connection: Any, trajectory_ids: pl.Series) -> pl.DataFrame:
        """Where the tokens of these rows lie, in their order: columns of PLACES. `connection` reads what the cache lacks."""
        missing = trajectory_ids.filter(~trajectory_ids.is_in(self._places["trajectory_id"].implode()))
        if len(missing):
            self._add(query(connection, READ, {"reference": self.reference, "ids": missing.to_list()}))
        wanted = pl.DataFrame({"trajectory_id": trajectory_ids})
        return wanted.join(self._places, on="trajectory_id", how="left", maintain_order="left")

    def drop_all_but(self, blocks: set[int]) -> None:
        """Forget what no pool uses any more, a block at a time."""
        unused = self.blocks.keys() - blocks
        if unused:
            for number in unused:
                del self.blocks[number]
            self._places = self._places.filter(pl.col("block").is_in(list(self.blocks)))

    def _add(self, rows: pl.DataFrame) -> None:
        """A row that two scorers wrote at the same time has the same tokens twice."""
        self.rows_read += rows.height
        if rows.is_empty():
            return
        rows = rows.unique("trajectory_id", keep="any", maintain_order=True)
        rows = rows.filter(~pl.col("trajectory_id").is_in(self._places["trajectory_id"].implode()))
        (prompts, prompt_edges), (completions, completion_edges) = flat(rows["prompt_ids"]), flat(rows["completion_ids"])
        self.blocks[self._next] = Block(prompts, completions)
        places = rows.select(
            "trajectory_id", block=pl.lit(self._next, dtype=pl.Int32),
            prompt_from=pl.Series(prompt_edges[:-1]), prompt_to=pl.Series(prompt_edges[1:]),
            completion_from=pl.Series(completion_edges[:-1]), completion_to=pl.Series(completion_edges[1:]),
        )
        self._places = pl.concat([self._places, places])
        self._next += 1


def flat(lists: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of N lists end to end, and the N + 1 edges between them."""
    lengths = lists.list.len().to_numpy().astype(np.int64)
    return lists.to_arrow().flatten().to_numpy(zero_copy_only=False), np.concatenate([[0], np.cumsum(lengths)])
