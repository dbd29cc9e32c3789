"""The rows of one source as flat arrays: a batch is cut out of them without a Python step per token."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from trainer.data.mixture import Source
from trainer.data.selection import ReferenceRewards
from trainer.data.selection_weights import UNWEIGHTED, SelectionWeights, SourceDraws, source_draws
from trainer.data.tokens import Block

NO_REWARDS = np.zeros(0)


class Row(NamedTuple):
    """One training example. A tuple, because a stream makes a hundred thousand per second."""

    trajectory_id: str
    problem_id: str
    source: str
    prompt_ids: Sequence[int] | np.ndarray
    completion_ids: Sequence[int] | np.ndarray
    reference_logprob: float  # log pi_ref(y|x), nats, summed over the completion; NaN where unknown
    behaviour_logprob: float  # the same under the policy that sampled it; NaN where unknown
    reward: float
    verdict: str = ""
    reference_rewards: np.ndarray = NO_REWARDS  # [K] of the reference policy's samples of the problem
    reward_range: tuple[float, float] = (-1.0, 0.0)  # lowest and highest value of the reward function
    group: int = -1  # number of its group in the batch; -1: a single row
    selection_weight: float = 1.0  # mu(verdict) / share(verdict), see selection_weights.py
    own_step: float = math.nan  # step of this run whose policy sampled it; NaN for all other rows
    # The same as above of each token of the completion, NaN where unknown; None unless they were asked for.
    reference_token_logprobs: np.ndarray | None = None
    behaviour_token_logprobs: np.ndarray | None = None

    @property
    def tokens(self) -> int:
        return len(self.prompt_ids) + len(self.completion_ids)

    @property
    def success(self) -> bool:
        """Whether the program was accepted; of a row without a verdict, whether its reward is 0 or more."""
        return self.verdict == "accepted" if self.verdict else self.reward >= 0


def rows_digest(rows: Sequence[Row]) -> str:
    """Digest of the rows of a batch and of their order, 16 hexadecimal digits; the log of a run has it."""
    ids = " ".join(row.trajectory_id for row in rows)
    return hashlib.blake2b(ids.encode(), digest_size=8).hexdigest()


@dataclass(frozen=True)
class RowPool:
    """N rows that a source may give, oldest policy step first."""

    trajectory_ids: np.ndarray  # [N] of str: indexing these is far faster than a polars gather
    problem_ids: np.ndarray  # [N] of str, one object per problem
    blocks: dict[int, Block]  # tokens, shared by the pools of a stream
    spans: np.ndarray  # [N, 5] block, and where prompt and completion begin and end in it
    lengths: np.ndarray  # [N] tokens, prompt and completion
    reference_logprob: np.ndarray  # [N] log pi_ref(y|x), nats; NaN where unknown
    behaviour_logprob: np.ndarray  # [N] log mu(y|x), nats; NaN where unknown
    reward: np.ndarray  # [N]
    reward_range: tuple[float, float]
    verdicts: np.ndarray  # [N] of str, one object per verdict
    policy_step: np.ndarray  # [N] step of the policy that sampled it, 0 where it has none
    own_step: np.ndarray  # [N] the same where this run sampled it, NaN elsewhere
    success_rate: np.ndarray  # [N] of the policy that sampled it, NaN where mu is unknown
    reference_rewards: list[np.ndarray]  # [K] for each problem; empty if no row needs them
    problem_indices: np.ndarray  # [N] index into `reference_rewards`
    retained: np.ndarray  # [N] bool: a correct row that stays whatever its age
    rows_ever: int  # rows at this watermark before window and age limits
    problems_without_rewards: int  # left out, because no sample of the reference has a verdict
    too_long: int  # rows left out

    def __len__(self) -> int:
        return len(self.lengths)

    @cached_property
    def draws(self) -> SourceDraws:
        """What a source that gives each of these rows adds to a mixture in which it has all of the weight."""
        return source_draws(1.0, self.verdicts == "accepted", self.success_rate)

    @cached_property
    def mean_length(self) -> float:
        """Tokens of a row, on average."""
        return float(self.lengths.mean())

    @cached_property
    def problem_codes(self) -> np.ndarray:
        """A number of each row's problem, in the order of their ids: int64 [N]."""
        return np.unique(self.problem_ids.astype(str), return_inverse=True)[1]

    def rows(self, indices: np.ndarray, source: str, weights: SelectionWeights = UNWEIGHTED) -> list[Row]:
        """The rows at these indices; token ids are views, not copies."""
        columns = zip(
            self.trajectory_ids[indices].tolist(),
            self.problem_ids[indices].tolist(),
            self.spans[indices].tolist(),
            self.reference_logprob[indices].tolist(),
            self.behaviour_logprob[indices].tolist(),
            self.reward[indices].tolist(),
            self.verdicts[indices].tolist(),
            self._rewards_of(indices),
            self.own_step[indices].tolist(),
            strict=True,
        )
        blocks, rows, limits = self.blocks, [], self.reward_range
        for trajectory, problem, (
            number,
            p0,
            p1,
            c0,
            c1,
        ), reference, behaviour, reward, verdict, rewards, own_step in columns:
            block = blocks[number]
            row = Row(
                trajectory,
                problem,
                source,
                block.prompts[p0:p1],
                block.completions[c0:c1],
                reference,
                behaviour,
                reward,
                verdict,
                rewards,
                limits,
                -1,
                weights.success if verdict == "accepted" else weights.failure,
                own_step,
            )
            if block.behaviour_logprobs is not None and block.reference_logprobs is not None:
                row = row._replace(
                    reference_token_logprobs=block.reference_logprobs[c0:c1],
                    behaviour_token_logprobs=block.behaviour_logprobs[c0:c1],
                )
            rows.append(row)
        return rows

    def _rewards_of(self, indices: np.ndarray) -> list[np.ndarray]:
        if not self.reference_rewards:
            return [NO_REWARDS] * len(indices)
        rewards = self.reference_rewards
        return [rewards[index] for index in self.problem_indices[indices].tolist()]


def make_pool(
    rows: pl.DataFrame,
    source: Source,
    reward_range: tuple[float, float],
    rewards: ReferenceRewards | None,
    find: Callable[[pl.Series], pl.DataFrame],
    blocks: dict[int, Block],
    longest: int | None = None,
) -> RowPool:
    """Apply a source's window and age limit to its rows; a share of its best-rewarded rows, chosen by hash,
    is retained.

    With `rewards`, rows of problems that have none are left out; so are rows of more than `longest` tokens.
    `find` says where in `blocks` the tokens of a row are (`trainer.data.tokens.TokenCache.find`).
    """
    known = _with_rewards(rows, rewards)
    left_out = rows["problem_id"].n_unique() - known["problem_id"].n_unique()
    known = known.with_columns(retained=_retained(known, source.keep_correct, reward_range[1]))
    young = _newest(known["created_at"], source.window)
    if source.max_age_hours and known.height:
        newest: Any = known["created_at"].max()
        limit = newest - timedelta(hours=source.max_age_hours)
        young &= (known["created_at"] >= limit).fill_null(False)
    chosen = known.filter(young | known["retained"])
    spans = find(chosen["trajectory_id"]).drop("trajectory_id").to_numpy()
    lengths = spans[:, 2] - spans[:, 1] + spans[:, 4] - spans[:, 3]
    fits = lengths <= longest if longest else np.ones(len(lengths), dtype=bool)
    chosen, spans, lengths = chosen.filter(fits), spans[fits], lengths[fits]
    return RowPool(
        trajectory_ids=chosen["trajectory_id"].to_numpy(),
        problem_ids=_shared(chosen["problem_id"]),
        blocks=blocks,
        spans=spans,
        lengths=lengths,
        reference_logprob=_numbers(chosen["reference_logprob"]),
        behaviour_logprob=_numbers(chosen["behaviour_logprob"]),
        reward=chosen["reward"].to_numpy(),
        reward_range=reward_range,
        verdicts=_shared(chosen["verdict"]),
        policy_step=chosen["policy_step"].to_numpy(),
        own_step=_numbers(chosen["own_step"]),
        success_rate=_numbers(chosen["success_rate"]),
        reference_rewards=rewards.rewards if rewards else [],
        problem_indices=chosen["problem_index"].to_numpy(),
        retained=chosen["retained"].to_numpy(),
        rows_ever=known.height - int((~fits).sum()),
        problems_without_rewards=left_out,
        too_long=int((~fits).sum()),
    )


def _newest(created_at: pl.Series, count: int | None) -> pl.Series:
    """Which rows are the `count` newest by time: steps of two runs cannot be compared. Rows without a time
    are the oldest; of equal ones the last are the newest.
    """
    if count is None:
        return pl.Series(np.ones(len(created_at), dtype=bool))
    place = created_at.arg_sort(nulls_last=False).tail(count)
    newest = np.zeros(len(created_at), dtype=bool)
    newest[place.to_numpy()] = True
    return pl.Series(newest)


def _with_rewards(rows: pl.DataFrame, rewards: ReferenceRewards | None) -> pl.DataFrame:
    """The rows whose problem has reference rewards, with their `problem_index`; all rows where none are
    needed.
    """
    if rewards is None:
        return rows.with_columns(problem_index=pl.lit(0, dtype=pl.Int64))
    indices = rewards.indices
    numbered = pl.DataFrame(
        {"problem_id": list(indices), "problem_index": list(indices.values())},
        schema={"problem_id": pl.String, "problem_index": pl.Int64},
    )
    return rows.join(numbered, on="problem_id", maintain_order="left")


def _numbers(column: pl.Series) -> np.ndarray:
    """NaN in place of null: [N] fp64."""
    return column.cast(pl.Float64).fill_null(float("nan")).to_numpy()


def _shared(names: pl.Series) -> np.ndarray:
    """Strings as an array of objects, equal ones the same object: [N]."""
    distinct = names.unique().sort()
    codes = names.replace_strict(
        distinct, pl.Series(range(len(distinct)), dtype=pl.Int64), return_dtype=pl.Int64
    )
    # Without rows the codes would be an array of objects, which does not index.
    return distinct.to_numpy()[codes.to_numpy().astype(np.int64)]


def _retained(rows: pl.DataFrame, share: float, best: float) -> pl.Series:
    """Which best-rewarded rows belong to the share that is retained; the same rows whatever else is in the
    pool.
    """
    retained = rows["reward"].to_numpy() >= best if share else np.zeros(rows.height, dtype=bool)
    indices, limit = np.flatnonzero(retained), share * 2**32
    retained[indices] = [_hash_of(i) < limit for i in rows["trajectory_id"].gather(indices)]
    return pl.Series("retained", retained)


def _hash_of(trajectory_id: str) -> int:
    """A number below 2**32."""
    return int.from_bytes(hashlib.blake2b(trajectory_id.encode(), digest_size=4).digest(), "big")
