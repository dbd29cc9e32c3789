"""Token ids of trajectories: read from the scores of a reference, or made by the policy's tokenizer; each
row once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from pipeline.store import Store, StoreError, query
from trainer.policies import Policy, encode

# Where the tokens of a row are: the block, and the first index and the end of prompt and completion in it.
SPANS = {
    "trajectory_id": pl.String(),
    "block": pl.Int32(),
    "prompt_from": pl.Int64(),
    "prompt_to": pl.Int64(),
    "completion_from": pl.Int64(),
    "completion_to": pl.Int64(),
}
_SCORED = """
select trajectory_id, prompt_ids, completion_ids from reference_scores
where reference = $reference and trajectory_id in (select unnest($ids::varchar[]))
"""
_TO_ENCODE = """
select t.trajectory_id, t.problem_id, p.statement, t.program, t.token_ids, q.details
from trajectories t join problems p using (problem_id) left join policies q using (policy_id)
where t.trajectory_id in (select unnest($ids::varchar[]))
order by t.trajectory_id
"""


@dataclass(frozen=True)
class Block:
    """Tokens of the rows of one read, end to end: int32."""

    prompts: np.ndarray
    completions: np.ndarray


class TokenCache(ABC):
    """A cache of token ids. What it holds depends on the past; what `find` returns does not: a row's
    tokens never change.
    """

    reference: str | None = None  # fingerprint of the reference whose scores the rows must have
    longest: int | None = None  # tokens of a row that the model has positions for, where that is not certain

    def __init__(self) -> None:
        self.blocks: dict[int, Block] = {}
        self.rows_read = 0
        self._spans = pl.DataFrame(schema=SPANS)
        self._next = 0

    def follow(self, watermark: dict[str, int]) -> None:  # noqa: B027 (a cache may leave it to `find`)
        """Read what was added up to a watermark, where that is cheaper than reading it when it is asked for."""

    def find(self, connection: Any, trajectory_ids: pl.Series) -> pl.DataFrame:
        """Where the tokens of these rows are, in their order: columns of SPANS. `connection` reads what is
        missing.
        """
        missing = trajectory_ids.filter(~trajectory_ids.is_in(self._spans["trajectory_id"].implode()))
        if len(missing):
            self._add(self._read(connection, missing.to_list()))
        wanted = pl.DataFrame({"trajectory_id": trajectory_ids})
        return wanted.join(self._spans, on="trajectory_id", how="left", maintain_order="left")

    def drop_all_but(self, blocks: set[int]) -> None:
        """Forget the blocks that no source uses any more."""
        unused = self.blocks.keys() - blocks
        if unused:
            for number in unused:
                del self.blocks[number]
            self._spans = self._spans.filter(pl.col("block").is_in(list(self.blocks)))

    @abstractmethod
    def _read(self, connection: Any, trajectory_ids: list[str]) -> pl.DataFrame:
        """Columns trajectory_id, prompt_ids, completion_ids of these rows, in any order."""

    def _add(self, rows: pl.DataFrame) -> None:
        self.rows_read += rows.height
        if rows.is_empty():
            return
        rows = rows.unique(
            "trajectory_id", keep="any", maintain_order=True
        )  # two scorers wrote the same tokens
        rows = rows.filter(~pl.col("trajectory_id").is_in(self._spans["trajectory_id"].implode()))
        prompts, prompt_edges = _flat(rows["prompt_ids"])
        completions, completion_edges = _flat(rows["completion_ids"])
        self.blocks[self._next] = Block(prompts, completions)
        spans = rows.select(
            "trajectory_id",
            block=pl.lit(self._next, dtype=pl.Int32),
            prompt_from=pl.Series(prompt_edges[:-1]),
            prompt_to=pl.Series(prompt_edges[1:]),
            completion_from=pl.Series(completion_edges[:-1]),
            completion_to=pl.Series(completion_edges[1:]),
        )
        self._spans = pl.concat([self._spans, spans])
        self._next += 1


class ScoredTokens(TokenCache):
    """The tokens that were scored under a reference: read from the store once, and later only what is new."""

    def __init__(self, store: Store, reference: str):
        super().__init__()
        self.store, self.reference = store, reference
        self._version: int | None = None  # of the table, up to which the cache was tailed

    def follow(self, watermark: dict[str, int]) -> None:
        version = watermark["reference_scores"]
        if self._version is not None and version > self._version:
            try:
                added, _ = self.store.tail("reference_scores", self._version, until=version)
            except StoreError:  # maintenance deleted files of that time: `find` reads what is asked for
                added = pl.DataFrame(schema={"reference": pl.String()})
            self._add(added.filter(pl.col("reference") == self.reference))
        self._version = version

    def _read(self, connection: Any, trajectory_ids: list[str]) -> pl.DataFrame:
        return query(connection, _SCORED, {"reference": self.reference, "ids": trajectory_ids})


class EncodedTokens(TokenCache):
    """Tokens of rows that need no score: each is put into the policy's own format, as scoring would do it."""

    def __init__(self, policy: Policy):
        super().__init__()
        self._policy = policy
        self._tokenizer = policy.fingerprint()["tokenizer"]
        self.longest = policy.model.config.max_position_embeddings

    def _read(self, connection: Any, trajectory_ids: list[str]) -> pl.DataFrame:
        rows = query(connection, _TO_ENCODE, {"ids": trajectory_ids}).to_dicts()
        encoded = [encode(self._policy, row, self._tokenizer) for row in rows]
        lists = ("prompt_ids", "completion_ids")
        schema = {"trajectory_id": pl.String(), **dict.fromkeys(lists, pl.List(pl.Int32()))}
        return pl.DataFrame([{name: row[name] for name in schema} for row in encoded], schema=schema)


def _flat(lists: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of N lists end to end, and the N + 1 edges between them."""
    lengths = lists.list.len().to_numpy().astype(np.int64)
    edges = np.concatenate([[0], np.cumsum(lengths)])
    return lists.to_arrow().flatten().to_numpy(zero_copy_only=False), edges
