"""The stream: weighted mixtures of stored trajectories, batch after batch, replayable from a few logged numbers.

Batch k is a pure function of the seed, k, the weights and the watermark (a version of each table). What moves is only the
step, the count drawn from each source, the tokens it is still owed and the watermark: `Stream.state`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field

from pipeline.store import reward as reward_named
from pipeline.store import connect, query
from pipeline.store import Store
from trainer.data.row_pool import Pool, Row, batch_rows, make_pool
from trainer.objectives import estimate_soft_value
from trainer.data.tokens import Tokens

WATERMARK_TABLES = ("problems", "trajectories", "verdicts", "reference_scores", "program_signatures", "duplicates", "corpora")


class Source(BaseModel):
    """One part of a mixture."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str
    where: str = Field("true", description="SQL predicate on the view `judged`, alias j")
    weight: float | list[tuple[int, float]] = Field(description="share of a batch, or [[from_step, share], ...]")
    corpus: str | None = Field(None, description="corpus_id: only rows of this published corpus")
    reward: str | None = Field(None, description="reward function of this source; null: the mixture's")
    unique: Literal["all", "token", "near"] = Field(
        "all", description="one trajectory for each program that is the same without layout and comments (token), or for each"
        " cluster of near-duplicates and verdict (near: one token may part right from wrong)",
    )
    window: int | None = Field(None, ge=1, description="only the newest rows, this many; drawn at random, not in turn")
    keep_correct: float = Field(0.0, ge=0, le=1, description="share of the best-rewarded rows kept beyond window and age limits")
    max_age_steps: int | None = Field(None, ge=0, description="only rows sampled by a policy of the last steps, this many")
    max_age_hours: float | None = Field(None, gt=0, description="only rows that are this much older than the newest, at most")
    uses: float | None = Field(None, gt=0, description="mean uses of a row; then the source is empty until fresh rows come")
    when_empty: Literal["error", "others"] = Field("error", description="others: its share goes to the other sources")

    def weight_at(self, step: int) -> float:
        if isinstance(self.weight, float | int):
            return float(self.weight)
        return next((share for start, share in reversed(self.weight) if step >= start), 0.0)

    @property
    def moves(self) -> bool:
        """Whether rows leave as others come, so that drawing in turn has no meaning."""
        return bool(self.window or self.max_age_steps is not None or self.max_age_hours)


class Mixture(BaseModel):
    """What a batch is made of."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    batch_sequences: int = Field(32, ge=1)
    batch_tokens_global: int | None = Field(
        None, ge=1, description="tokens a batch in place of batch_sequences; shares are then shares of tokens"
    )
    reward: str = Field("binary", description="reward function, see pipeline/store/rewards.py")
    smoothing: float = Field(0.5, ge=0, description="pseudo-samples at either end of the reward in Q0; 0: the plain estimate")
    value_floor: float | None = Field(None, description="reward of the failing pseudo-sample; null: the reward function's lowest")
    follow_every: int | None = Field(None, ge=1, description="steps between looks at what others have added to the store")
    source: list[Source] = Field(min_length=1)

    def reward_of(self, source: Source) -> str:
        return source.reward or self.reward


class StreamError(ValueError):
    """A mixture that cannot be drawn from; the message names the source and what it lacks."""


class Stream:
    """Draws batches from a store at a watermark that `advance` moves."""

    def __init__(self, store: Store, mixture: Mixture, *, reference: str, reference_policy: str, beta: float, seed: int):
        self.store, self.mixture, self.beta, self.seed = store, mixture, beta, seed
        self.reference, self.reference_policy = reference, reference_policy
        self.watermark: dict[str, int] = {}
        self.drawn = {source.name: 0 for source in mixture.source}
        self.owed = {source.name: 0.0 for source in mixture.source}  # tokens, where batches are cut by tokens
        self.weights: dict[str, float] = {}  # set while the run goes on, in place of the mixture's
        self._tokens = Tokens(store, reference)
        self._pools: dict[str, Pool] = {}
        self._rewards: dict[str, ReferenceRewards] = {}
        self._values: dict[str, np.ndarray] = {}
        self._orders: dict[str, tuple[Any, np.ndarray]] = {}

    def advance(self, watermark: dict[str, int] | None = None) -> dict[str, int]:
        """Move to a watermark, or to what the store holds now; returns it, to be logged.

        Which rows belong to a source is asked anew each time, for a predicate may look at anything; their tokens, nearly all
        of the bytes, are read once: of later watermarks only what is new.
        """
        watermark = watermark or self.latest()
        if self._tokens.reference != self.reference:
            self._tokens = Tokens(self.store, self.reference)
        elif watermark == self.watermark and self._pools:
            self.set_beta(self.beta)
            return watermark
        tokens = self._tokens
        tokens.follow(watermark["reference_scores"])
        with connect(self.store, watermark) as connection:
            for reward in dict.fromkeys(map(self.mixture.reward_of, self.mixture.source)):
                self._rewards[reward] = reference_rewards(connection, self.reference_policy, reward)
            for source in self.mixture.source:
                reward = self.mixture.reward_of(source)
                rows = query(connection, pool_sql(source, reward), {"reference": self.reference})
                self._pools[source.name] = make_pool(
                    rows.unique("trajectory_id", keep="first", maintain_order=True), self._rewards[reward].problems,
                    lambda ids: tokens.find(connection, ids), tokens.blocks,
                    window=source.window, max_age_hours=source.max_age_hours, keep_correct=source.keep_correct,
                    best=reward_named(reward).highest,
                )
        tokens.drop_all_but({int(number) for pool in self._pools.values() for number in np.unique(pool.places[:, 0])})
        self.watermark = watermark
        self.set_beta(self.beta)
        return self.watermark

    def latest(self) -> dict[str, int]:
        """The versions the tables are at now."""
        return self.store.pins(list(WATERMARK_TABLES))

    def set_beta(self, beta: float) -> None:
        """Another temperature: Q0 of every problem is computed anew from the stored rewards."""
        self.beta = beta
        for name, stored in self._rewards.items():
            self._values[name] = stored.values(beta, self.mixture.smoothing, self.mixture.value_floor)

    def sizes(self) -> dict[str, int]:
        return {name: len(pool) for name, pool in self._pools.items()}

    def pool(self, name: str) -> Pool:
        return self._pools[name]

    @property
    def rows_read(self) -> int:
        """Rows whose tokens were read from the store so far."""
        return self._tokens.rows_read

    @property
    def without_value(self) -> dict[str, int]:
        """Rows of each source that are left out because no reference sample of their problem has a verdict."""
        return {name: pool.without_value for name, pool in self._pools.items()}

    def knows_behaviour(self) -> bool:
        """Whether any row's behaviour log-probability is known, without which neither KL nor importance can be estimated."""
        return any(bool(np.isfinite(pool.behaviour).any()) for pool in self._pools.values())

    def batch(self, step: int) -> list[Row]:
        """The rows of this step. Steps are drawn in order; the counts so far are part of the state."""
        if self.mixture.batch_tokens_global:
            return self.token_batch(step, self.mixture.batch_tokens_global)
        rows: list[Row] = []
        for source, count in zip(self.mixture.source, self.quotas(step), strict=True):
            rows += self.take(source, self.indices(source, count, step))
            self.drawn[source.name] += count
        return rows

    def token_batch(self, step: int, budget: int) -> list[Row]:
        """Each source gives rows while they fit what it is owed; the rest is carried on, so that shares of tokens hold."""
        weights = self.live_weights(step)
        rows: list[Row] = []
        for source, share in zip(self.mixture.source, weights / weights.sum(), strict=True):
            if share == 0:
                continue
            owed = self.owed[source.name] + share * budget
            lengths = self._pools[source.name].lengths
            candidates = self.indices(source, int(owed // max(1, lengths.min())), step)
            fits = int(np.searchsorted(np.cumsum(lengths[candidates]), owed, side="right"))
            rows += self.take(source, candidates[:fits])
            self.owed[source.name] = owed - float(lengths[candidates[:fits]].sum())
            self.drawn[source.name] += fits
        if not rows:
            longest = max(int(pool.lengths.max()) for pool in self._pools.values() if len(pool))
            raise StreamError(f"step {step}: no row fits batch_tokens_global = {budget}; the longest has {longest} tokens")
        return rows

    def take(self, source: Source, indices: np.ndarray) -> list[Row]:
        values = self._values[self.mixture.reward_of(source)]
        return batch_rows(self._pools[source.name], indices, values, source.name)

    def quotas(self, step: int) -> list[int]:
        """Rows each source gives to this batch. Rounding follows the step, so that shares hold over many batches."""
        weights = self.live_weights(step)
        exact = np.cumsum(weights / weights.sum()) * self.mixture.batch_sequences
        # A shared offset a step makes the rounding unbiased: systematic sampling with a golden-ratio phase.
        phase = (step * 0.6180339887498949) % 1.0
        edges = np.floor(exact + phase).astype(int)
        # Sums of shares miss the whole by a rounding error, which must not give a row to a source without a weight.
        edges[exact > self.mixture.batch_sequences - 1e-6] = self.mixture.batch_sequences
        return np.diff(np.concatenate([[0], edges])).tolist()

    def live_weights(self, step: int) -> np.ndarray:
        weights = np.array([self.live_weight(source, step) for source in self.mixture.source])
        if not weights.sum() > 0:
            raise StreamError(f"step {step}: no source has both rows and a weight; see `spo train --dry-run`")
        return weights

    def live_weight(self, source: Source, step: int) -> float:
        weight = self.weights.get(source.name, source.weight_at(step))
        if weight > 0 and (lacks := self.lacks(source, step)):
            if source.when_empty == "error":
                mend = "wait for fresh ones, change its limits, or set when_empty = 'others'"
                raise StreamError(f"step {step}: source {source.name} has {lacks} ({source.where}); {mend}")
            return 0.0
        return weight

    def lacks(self, source: Source, step: int) -> str:
        """What keeps a source from being drawn at a step; empty if nothing does."""
        pool = self._pools[source.name]
        if not len(pool):
            return "no rows with a reward, a reference score and a soft value"
        if len(self.recent(source, step)) == 0:
            return f"no rows of the last {source.max_age_steps} steps"
        if source.uses and self.drawn[source.name] >= source.uses * pool.rows_ever:
            return f"given each of its rows {source.uses:g} times in the mean"
        return ""

    def recent(self, source: Source, step: int) -> range | np.ndarray:
        """Places in the pool that are young enough for a step, and the correct ones that are kept beyond."""
        pool = self._pools[source.name]
        if source.max_age_steps is None:
            return range(len(pool))
        return np.flatnonzero((pool.policy_step >= step - source.max_age_steps) | pool.kept)

    def effective_weights(self, step: int) -> dict[str, float]:
        """What was asked of each source at a step, before empty ones are left out."""
        return {source.name: self.weights.get(source.name, source.weight_at(step)) for source in self.mixture.source}

    def indices(self, source: Source, count: int, step: int) -> np.ndarray:
        """Places in the pool: in turn through a shuffle for each epoch, or at random where rows leave as others come."""
        if not count:
            return np.zeros(0, dtype=np.int64)
        if source.moves:
            places, draws = self.recent(source, step), generator(self.seed, source.name, "step", step)
            drawn = draws.choice(len(places), count, replace=count > len(places))
            return drawn if isinstance(places, range) else places[drawn]
        size = len(self._pools[source.name])
        places = np.arange(self.drawn[source.name], self.drawn[source.name] + count)
        found = np.empty(count, dtype=np.int64)
        for epoch in np.unique(places // size).tolist():
            here = places // size == epoch
            found[here] = self.order(source.name, int(epoch), size)[places[here] % size]
        return found

    def order(self, name: str, epoch: int, size: int) -> np.ndarray:
        """The shuffle of an epoch, kept until the next one is asked for."""
        if name not in self._orders or self._orders[name][0] != (epoch, size):
            self._orders[name] = ((epoch, size), generator(self.seed, name, "epoch", epoch).permutation(size))
        return self._orders[name][1]

    @property
    def state(self) -> dict:
        return {
            "drawn": dict(self.drawn), "watermark": dict(self.watermark), "owed": dict(self.owed), "weights": dict(self.weights),
        }

    def restore(self, state: dict) -> None:
        self.drawn, self.owed, self.weights = dict(state["drawn"]), dict(state["owed"]), dict(state["weights"])
        self.advance(state["watermark"])


@dataclass(frozen=True)
class ReferenceRewards:
    """Rewards of the reference policy's samples, raw, as Q0 needs them whatever the temperature."""

    problems: dict[str, int]  # problem_id -> place
    rewards: torch.Tensor  # [P, K] fp64
    counted: torch.Tensor  # [P, K] bool
    lowest: float
    highest: float

    def values(self, beta: float, smoothing: float, floor: float | None) -> np.ndarray:
        """Q0 of each problem: [P] fp64."""
        if not self.problems:
            return np.zeros(0)
        low = self.lowest if floor is None else floor
        return estimate_soft_value(self.rewards, self.counted, beta, smoothing=smoothing, floor=low, ceiling=self.highest).numpy()


def pool_sql(source: Source, reward: str) -> str:
    corpus = f"and j.trajectory_id in (select unnest(rows) from corpora where corpus_id = '{source.corpus}')"
    return f"""
        select j.trajectory_id, j.problem_id, s.logprob_sum, j.behaviour_logprob,
               j.verdict, reward_{reward}(j.verdict, j.passed, j.total) as reward,
               coalesce(j.policy_step, 0)::bigint as policy_step, j.created_at
        from judged j join reference_scores s on s.trajectory_id = j.trajectory_id and s.reference = $reference
        {UNIQUE_BY[source.unique].join}
        where j.split = 'train' and reward_{reward}(j.verdict, j.passed, j.total) is not null and ({source.where})
        {corpus if source.corpus else ""}
        {UNIQUE_BY[source.unique].qualify}
        order by coalesce(j.policy_step, 0), j.trajectory_id, s.scored_at, s.logprob_sum
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


def reference_rewards(connection: Any, reference_policy: str, reward: str) -> ReferenceRewards:
    """Rewards of every problem's judged samples of the reference policy at temperature 1 and top_p 1."""
    found = query(
        connection,
        f"""
        select problem_id, list(reward_{reward}(verdict, passed, total)) as rewards from judged
        where policy_id = $policy and temperature = 1 and top_p = 1 and reward_{reward}(verdict, passed, total) is not null
        group by problem_id order by problem_id
        """,
        {"policy": reference_policy},
    )
    samples: list[list[float]] = found["rewards"].to_list() if found.height else []
    longest = max(map(len, samples), default=0)
    rewards = torch.zeros(len(samples), longest, dtype=torch.float64)
    counted = torch.zeros(len(samples), longest, dtype=torch.bool)
    for i, values in enumerate(samples):
        rewards[i, : len(values)], counted[i, : len(values)] = torch.tensor(sorted(values), dtype=torch.float64), True
    places = {problem: i for i, problem in enumerate(found["problem_id"].to_list())} if samples else {}
    scale = reward_named(reward)
    return ReferenceRewards(places, rewards, counted, scale.lowest, scale.highest)


def generator(seed: int, *names: object) -> np.random.Generator:
    """A generator of its own for each name: no draw depends on how many were made elsewhere."""
    key = hashlib.blake2b("/".join(map(str, (seed, *names))).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key, "big")))
