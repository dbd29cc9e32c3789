"""Token ids of trajectories: read from the scores of a reference, or made by the policy's tokenizer; each
row once.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from pipeline.store import Store, StoreError, query
from trainer.policies import Policy, encode, read_problems, with_problems

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
select s.trajectory_id, s.prompt_ids, s.completion_ids, s.logprobs as reference_logprobs,
    case when t.token_ids = s.completion_ids then t.token_logprobs end as behaviour_logprobs
from reference_scores s join trajectories t on t.trajectory_id = s.trajectory_id
where s.reference = $reference and s.trajectory_id in (select unnest($ids::varchar[]))
"""
_SCORED_TOKENS_ONLY = """
select trajectory_id, prompt_ids, completion_ids from reference_scores
where reference = $reference and trajectory_id in (select unnest($ids::varchar[]))
"""
_TO_ENCODE = """
select t.trajectory_id, t.problem_id, p.statement, t.program, t.completion, t.finish_reason, t.token_ids,
    t.token_logprobs, q.details
from trajectories t join problems p using (problem_id) left join policies q using (policy_id)
where t.trajectory_id in (select unnest($ids::varchar[]))
order by t.trajectory_id
"""


@dataclass(frozen=True)
class Block:
    """Tokens of the rows of one read, end to end: int32. With the log-probability of each token of the
    completions under the reference and under the policy that sampled it, where they are asked for: fp32, NaN
    where unknown.
    """

    prompts: np.ndarray
    completions: np.ndarray
    reference_logprobs: np.ndarray | None = None
    behaviour_logprobs: np.ndarray | None = None


class TokenCache(ABC):
    """A cache of token ids. What it holds depends on the past; what `find` returns does not: a row's
    tokens never change. `logprobs`: also of tokens, see `Block`.
    """

    reference: str | None = None  # fingerprint of the reference whose scores the rows must have
    longest: int | None = None  # tokens of a row that the model has positions for, where that is not certain

    def __init__(self, *, logprobs: bool = False) -> None:
        self.logprobs = logprobs
        self.blocks: dict[int, Block] = {}
        self.rows_read = 0
        self._spans = pl.DataFrame(schema=SPANS)
        self._next = 0

    def follow(self, watermark: dict[str, int]) -> None:  # noqa: B027 (a cache may leave it to `find`)
        """Read what was added up to a watermark, where that is cheaper than reading it when asked for."""

    def find(self, connect: Callable[[], Any], trajectory_ids: pl.Series) -> pl.DataFrame:
        """Where the tokens of these rows are, in their order: columns of SPANS. What is missing is read over
        the connection that `connect` gives.
        """
        missing = trajectory_ids.filter(~trajectory_ids.is_in(self._spans["trajectory_id"].implode()))
        if len(missing):
            self._add(self._read(connect(), missing.to_list()))
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
        """Columns trajectory_id, prompt_ids, completion_ids of these rows, in any order; with `logprobs` also
        reference_logprobs and behaviour_logprobs, null where unknown.
        """

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
        self.blocks[self._next] = Block(
            prompts,
            completions,
            *(
                _flat_logprobs(rows, f"{name}_logprobs")
                for name in ("reference", "behaviour")
                if self.logprobs
            ),
        )
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

    def __init__(self, store: Store, reference: str, *, logprobs: bool = False):
        super().__init__(logprobs=logprobs)
        self.store, self.reference = store, reference
        self._version: int | None = None  # of the table, up to which the cache was tailed

    def follow(self, watermark: dict[str, int]) -> None:
        if self.logprobs:
            return  # those of the behaviour are in another table
        version = watermark["reference_scores"]
        if self._version is not None and version > self._version:
            try:
                added, _ = self.store.tail("reference_scores", self._version, until=version)
            except StoreError:  # maintenance deleted files of that time: `find` reads what is asked for
                added = pl.DataFrame(schema={"reference": pl.String()})
            self._add(added.filter(pl.col("reference") == self.reference))
        self._version = version

    def _read(self, connection: Any, trajectory_ids: list[str]) -> pl.DataFrame:
        wanted = _SCORED if self.logprobs else _SCORED_TOKENS_ONLY
        return query(connection, wanted, {"reference": self.reference, "ids": trajectory_ids})


class EncodedTokens(TokenCache):
    """Tokens of rows that need no score: each is put into the policy's own format, as scoring would do it."""

    def __init__(self, policy: Policy, *, logprobs: bool = False):
        super().__init__(logprobs=logprobs)
        self._policy = policy
        self._tokenizer = policy.fingerprint()["tokenizer"]
        self.longest = policy.model.config.max_position_embeddings

    def _read(self, connection: Any, trajectory_ids: list[str]) -> pl.DataFrame:
        rows = query(connection, _TO_ENCODE, {"ids": trajectory_ids}).to_dicts()
        asked = read_problems(connection, [row["problem_id"] for row in rows])
        encoded = [encode(self._policy, row, self._tokenizer) for row in with_problems(rows, asked)]
        lists = ("prompt_ids", "completion_ids")
        schema = {"trajectory_id": pl.String(), **dict.fromkeys(lists, pl.List(pl.Int32()))}
        tokens = pl.DataFrame([{name: row[name] for name in schema} for row in encoded], schema=schema)
        if not self.logprobs:
            return tokens
        of_behaviour = [
            row["token_logprobs"] if row["token_ids"] == own["completion_ids"] else None
            for row, own in zip(rows, encoded, strict=True)
        ]
        floats = pl.List(pl.Float32())
        return tokens.with_columns(
            pl.lit(None, dtype=floats).alias("reference_logprobs"),
            pl.Series("behaviour_logprobs", of_behaviour, dtype=floats),
        )


def _flat_logprobs(rows: pl.DataFrame, name: str) -> np.ndarray:
    """The log-probabilities of N completions end to end, NaN for those that have not one for each token."""
    tokens, known = pl.col("completion_ids").list.len(), pl.col(name)
    unknown = pl.lit(math.nan, dtype=pl.Float32).repeat_by(tokens)
    complete = rows.select(pl.when(known.list.len() == tokens).then(known).otherwise(unknown).alias(name))
    return _flat(complete[name])[0]


def _flat(lists: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of N lists end to end, and the N + 1 edges between them."""
    lengths = lists.list.len().to_numpy().astype(np.int64)
    edges = np.concatenate([[0], np.cumsum(lengths)])
    return lists.to_arrow().flatten().to_numpy(zero_copy_only=False), edges
