"""The stream: weighted mixtures of stored trajectories, batch after batch, replayable from a few logged numbers.

Batch k is a pure function of the seed, k, the weights and the watermark (a version of each table). What moves is only the
step, the count drawn from each source and the watermark: `Stream.state`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
import torch
from pydantic import BaseModel, ConfigDict, Field

from pipeline.rewards import reward as reward_named
from pipeline.sql import connect, query
from pipeline.store import Store
from trainer.soft_value import soft_value

WATERMARK_TABLES = ("problems", "trajectories", "verdicts", "reference_scores", "program_signatures", "duplicates", "corpora")


class Source(BaseModel):
    """One part of a mixture."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str
    where: str = Field(description="SQL predicate on the view `judged`, alias j")
    weight: float | list[tuple[int, float]] = Field(description="share of a batch, or [[from_step, share], ...]")
    corpus: str | None = Field(None, description="corpus_id: only rows of this published corpus")
    unique: Literal["all", "token", "near"] = Field(
        "all", description="one trajectory for each program that is the same without layout and comments (token), or for each"
        " cluster of near-duplicates and verdict (near: one token may part right from wrong)",
    )  # fmt: skip
    window: int | None = Field(None, ge=1, description="only the newest rows, this many; drawn at random, not in turn")
    when_empty: Literal["error", "others"] = Field("error", description="others: its share goes to the other sources")

    def weight_at(self, step: int) -> float:
        if isinstance(self.weight, float | int):
            return float(self.weight)
        return next((share for start, share in reversed(self.weight) if step >= start), 0.0)


class Mixture(BaseModel):
    """What a batch is made of."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    batch_sequences: int = Field(32, ge=1)
    reward: str = Field("binary", description="reward function, see pipeline/rewards.py")
    source: list[Source] = Field(min_length=1)


@dataclass(frozen=True)
class Row:
    """One training example: all that SPO needs of a trajectory."""

    trajectory_id: str
    problem_id: str
    source: str
    prompt_ids: list[int]
    completion_ids: list[int]
    reference_logprob: float  # nats, summed over the completion
    behaviour_logprob: float  # the same under the policy that sampled it; NaN where unknown
    reward: float
    soft_value: float


class StreamError(ValueError):
    """A mixture that cannot be drawn from; the message names the source and what it lacks."""


class Stream:
    """Draws batches from a store at a watermark that `advance` moves."""

    def __init__(self, store: Store, mixture: Mixture, *, reference: str, reference_policy: str, beta: float, seed: int):
        self.store, self.mixture, self.beta, self.seed = store, mixture, beta, seed
        self.reference, self.reference_policy = reference, reference_policy
        self.watermark: dict[str, int] = {}
        self.drawn = {source.name: 0 for source in mixture.source}
        self._pools: dict[str, pl.DataFrame] = {}
        self._values: dict[str, float] = {}
        self.without_value: dict[str, int] = {}

    def advance(self, watermark: dict[str, int] | None = None) -> dict[str, int]:
        """Move to a watermark, or to what the store holds now; returns it, to be logged."""
        self.watermark = watermark or self.store.pins(list(WATERMARK_TABLES))
        with connect(self.store, self.watermark) as connection:
            self._values = problem_values(connection, self.reference_policy, self.mixture.reward, self.beta)
            for source in self.mixture.source:
                rows = query(connection, pool_sql(source, self.mixture.reward), {"reference": self.reference})
                known = rows.filter(pl.col("problem_id").is_in(list(self._values)))
                self.without_value[source.name] = rows.height - known.height
                self._pools[source.name] = known.tail(source.window) if source.window else known
        return self.watermark

    def sizes(self) -> dict[str, int]:
        return {name: pool.height for name, pool in self._pools.items()}

    def batch(self, step: int) -> list[Row]:
        """The rows of this step. Steps are drawn in order; the counts so far are part of the state."""
        rows = []
        for source, count in zip(self.mixture.source, self.quotas(step), strict=True):
            pool = self._pools[source.name]
            for index in self.indices(source, pool.height, count, step):
                rows.append(self.row(source.name, pool.row(index, named=True)))
            self.drawn[source.name] += count
        return rows

    def quotas(self, step: int) -> list[int]:
        """Rows each source gives to this batch. Rounding follows the step, so that shares hold over many batches."""
        weights = np.array([self.live_weight(source, step) for source in self.mixture.source])
        if not weights.sum() > 0:
            raise StreamError(f"step {step}: no source has both rows and a weight; see `spo train --dry-run`")
        exact = np.cumsum(weights / weights.sum()) * self.mixture.batch_sequences
        # A shared offset a step makes the rounding unbiased: systematic sampling with a golden-ratio phase.
        phase = (step * 0.6180339887498949) % 1.0
        edges = np.floor(exact + phase).astype(int)
        # Sums of shares miss the whole by a rounding error, which must not give a row to a source without a weight.
        edges[exact > self.mixture.batch_sequences - 1e-6] = self.mixture.batch_sequences
        return np.diff(np.concatenate([[0], edges])).tolist()

    def live_weight(self, source: Source, step: int) -> float:
        weight = source.weight_at(step)
        if weight > 0 and self._pools[source.name].is_empty():
            if source.when_empty == "error":
                lacks = "no rows with a reward, a reference score and a soft value"
                raise StreamError(f"source {source.name} has {lacks}: {source.where}")
            return 0.0
        return weight

    def indices(self, source: Source, size: int, count: int, step: int) -> list[int]:
        """Places in the pool: in turn through a shuffle for each epoch, or at random for a window that moves."""
        if source.window:
            return generator(self.seed, source.name, "step", step).choice(size, count, replace=count > size).tolist()
        places = np.arange(self.drawn[source.name], self.drawn[source.name] + count)
        epochs = set((places // size).tolist()) if count else set()
        orders = {epoch: generator(self.seed, source.name, "epoch", epoch).permutation(size) for epoch in epochs}
        return [int(orders[int(place // size)][place % size]) for place in places]

    def row(self, source: str, found: dict) -> Row:
        return Row(
            trajectory_id=found["trajectory_id"],
            problem_id=found["problem_id"],
            source=source,
            prompt_ids=found["prompt_ids"],
            completion_ids=found["completion_ids"],
            reference_logprob=found["logprob_sum"],
            behaviour_logprob=float("nan") if found["behaviour_logprob"] is None else found["behaviour_logprob"],
            reward=found["reward"],
            soft_value=self._values[found["problem_id"]],
        )

    @property
    def state(self) -> dict:
        return {"drawn": dict(self.drawn), "watermark": dict(self.watermark)}

    def restore(self, state: dict) -> None:
        self.drawn = dict(state["drawn"])
        self.advance(state["watermark"])


def pool_sql(source: Source, reward: str) -> str:
    corpus = f"and j.trajectory_id in (select unnest(rows) from corpora where corpus_id = '{source.corpus}')"
    return f"""
        select j.trajectory_id, j.problem_id, s.prompt_ids, s.completion_ids, s.logprob_sum, j.behaviour_logprob,
               reward_{reward}(j.verdict, j.passed, j.total) as reward
        from judged j join reference_scores s on s.trajectory_id = j.trajectory_id and s.reference = $reference
        {UNIQUE_BY[source.unique].join}
        where j.split = 'train' and reward_{reward}(j.verdict, j.passed, j.total) is not null and ({source.where})
        {corpus if source.corpus else ""}
        {UNIQUE_BY[source.unique].qualify}
        order by coalesce(j.policy_step, 0), j.trajectory_id
    """


@dataclass(frozen=True)
class Unique:
    """SQL that keeps one row of each group; a row that deduplication has not seen yet is a group of its own."""

    join: str = ""
    qualify: str = ""


FIRST_OF = "qualify row_number() over (partition by {} order by j.trajectory_id) = 1"
UNIQUE_BY = {
    "all": Unique(),
    "token": Unique(
        "left join program_signatures g on g.trajectory_id = j.trajectory_id",
        FIRST_OF.format("j.problem_id, coalesce(g.token_hash, j.trajectory_id)"),
    ),
    "near": Unique(
        "left join clusters c on c.trajectory_id = j.trajectory_id",
        FIRST_OF.format("coalesce(c.cluster_id, j.trajectory_id), j.verdict"),
    ),
}


def problem_values(connection, reference_policy: str, reward: str, beta: float) -> dict[str, float]:
    """Q0 of every problem with judged samples of the reference policy at temperature 1 and top_p 1."""
    found = query(
        connection,
        f"""
        select problem_id, list(reward_{reward}(verdict, passed, total)) as rewards from judged
        where policy_id = $policy and temperature = 1 and top_p = 1 and reward_{reward}(verdict, passed, total) is not null
        group by problem_id order by problem_id
        """,
        {"policy": reference_policy},
    )
    if found.is_empty():
        return {}
    samples: list[list[float]] = found["rewards"].to_list()
    longest = max(map(len, samples))
    rewards = torch.zeros(found.height, longest, dtype=torch.float64)
    counted = torch.zeros(found.height, longest, dtype=torch.bool)
    for i, values in enumerate(samples):
        rewards[i, : len(values)], counted[i, : len(values)] = torch.tensor(sorted(values), dtype=torch.float64), True
    scale = reward_named(reward)
    estimates = soft_value(rewards, counted, beta, floor=scale.lowest, ceiling=scale.highest)
    return dict(zip(found["problem_id"], estimates.tolist(), strict=True))


def generator(seed: int, *names: object) -> np.random.Generator:
    """A generator of its own for each name: no draw depends on how many were made elsewhere."""
    key = hashlib.blake2b("/".join(map(str, (seed, *names))).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key, "big")))
