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

from trainer.data.candidates import NO_BLOCK, NO_TIME, Candidates
from trainer.data.mixture import Source
from trainer.data.selection import ReferenceRewards
from trainer.data.selection_weights import (
    UNWEIGHTED,
    SelectionWeights,
    SourceDraws,
    SuccessRates,
    source_draws,
)
from trainer.data.tokens import Block, TokenCache

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
    without_rewards: np.ndarray  # of str: problem of each row left out, as no reference sample has a verdict
    too_long: int  # rows left out

    def __len__(self) -> int:
        return len(self.lengths)

    @cached_property
    def draws(self) -> SourceDraws:
        """What a source that gives each of these rows adds to a mixture in which it has all of the weight."""
        return source_draws(1.0, self.verdicts == "accepted", self.success_rate)

    @cached_property
    def problems_without_rewards(self) -> int:
        """Problems whose rows are left out, because no sample of the reference has a verdict."""
        return len(set(self.without_rewards.tolist()))

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
    rows: Candidates,
    source: Source,
    reward_range: tuple[float, float],
    rewards: ReferenceRewards | None,
    rates: SuccessRates,
    tokens: TokenCache,
    connect: Callable[[], Any],
    longest: int | None = None,
) -> RowPool:
    """Apply what a source says of one-of-each, window and age to its candidates; a share of the best-rewarded
    rows is retained beyond these.

    With `rewards`, rows of problems that have none are left out; so are rows of more than `longest` tokens.
    """
    known = np.flatnonzero(rows.is_first & (rows.problem_indices >= 0))
    times = rows.created_at[known]
    young = _newest(times, source.window)
    if source.max_age_hours and len(known):
        limit = times.max() - timedelta(hours=source.max_age_hours) // timedelta(microseconds=1)
        young &= (times >= limit) & (times != NO_TIME)
    chosen = known[young | rows.retained[known]]
    fits = _read_tokens(rows, chosen, tokens, connect, longest)
    chosen = chosen[fits]
    return RowPool(
        trajectory_ids=rows.trajectory_ids[chosen],
        problem_ids=rows.problem_ids[chosen],
        blocks=tokens.blocks,
        spans=rows.spans[chosen],
        lengths=rows.lengths[chosen],
        reference_logprob=rows.reference_logprob[chosen],
        behaviour_logprob=rows.behaviour_logprob[chosen],
        reward=rows.reward[chosen],
        reward_range=reward_range,
        verdicts=rows.verdicts[chosen],
        policy_step=rows.policy_step[chosen],
        own_step=rows.own_step[chosen],
        success_rate=rates.rates(rows.policies[chosen]),
        reference_rewards=rewards.rewards if rewards else [],
        problem_indices=rows.problem_indices[chosen],
        retained=rows.retained[chosen],
        rows_ever=len(known) - int((~fits).sum()),
        without_rewards=rows.problem_ids[rows.is_first & (rows.problem_indices < 0)],
        too_long=int((~fits).sum()),
    )


def _read_tokens(
    rows: Candidates, chosen: np.ndarray, tokens: TokenCache, connect: Callable[[], Any], longest: int | None
) -> np.ndarray:
    """Note where the tokens of these rows are, reading those that were not; bool [chosen]: which have at most
    `longest`.
    """
    unread = chosen[rows.lengths[chosen] < 0]
    _note_spans(rows, unread, tokens, connect)
    fits = rows.lengths[chosen] <= longest if longest else np.ones(len(chosen), dtype=bool)
    forgotten = chosen[fits & (rows.spans[chosen, 0] == NO_BLOCK)]
    _note_spans(rows, forgotten, tokens, connect)
    return fits


def _note_spans(rows: Candidates, places: np.ndarray, tokens: TokenCache, connect: Callable[[], Any]) -> None:
    if not len(places):
        return
    ids = pl.Series("trajectory_id", rows.trajectory_ids[places], dtype=pl.String)
    spans = tokens.find(connect, ids).drop("trajectory_id").to_numpy()
    rows.spans[places] = spans
    rows.lengths[places] = spans[:, 2] - spans[:, 1] + spans[:, 4] - spans[:, 3]


def _newest(created_at: np.ndarray, count: int | None) -> np.ndarray:
    """Which rows are the `count` newest by time: steps of two runs cannot be compared. Rows without a time
    are the oldest; of equal ones the last are the newest. bool [N]
    """
    if count is None or count >= len(created_at):
        return np.ones(len(created_at), dtype=bool)
    oldest = np.partition(created_at, len(created_at) - count)[len(created_at) - count]
    newest = created_at > oldest
    newest[np.flatnonzero(created_at == oldest)[int(newest.sum()) - count :]] = True
    return newest
