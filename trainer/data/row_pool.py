"""The rows of one source as flat arrays: a batch is cut out of them without a Python step for each token."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from trainer.data.tokens import Block


class Row(NamedTuple):
    """One training example: all that SPO needs of a trajectory. A tuple, for a stream makes a hundred thousand a second."""

    trajectory_id: str
    problem_id: str
    source: str
    prompt_ids: Sequence[int] | np.ndarray
    completion_ids: Sequence[int] | np.ndarray
    reference_logprob: float  # nats, summed over the completion
    behaviour_logprob: float  # the same under the policy that sampled it; NaN where unknown
    reward: float
    soft_value: float
    verdict: str = ""

    @property
    def tokens(self) -> int:
        return len(self.prompt_ids) + len(self.completion_ids)


@dataclass(frozen=True)
class Pool:
    """N rows that a source may give, oldest policy step first."""

    trajectory_ids: np.ndarray  # [N] of str: what a batch takes of them costs a hundredth of what a polars gather does
    problem_ids: np.ndarray  # [N] of str, shared by the rows of a problem
    blocks: dict[int, Block]  # tokens, shared by the pools of a stream
    places: np.ndarray  # [N, 5] block, and from where to where prompt and completion lie in it
    lengths: np.ndarray  # [N] tokens, prompt and completion
    logprob: np.ndarray  # [N] log pi_ref(y|x), nats
    behaviour: np.ndarray  # [N] log mu(y|x), nats; NaN where unknown
    reward: np.ndarray  # [N]
    verdicts: np.ndarray  # [N] of str, shared
    policy_step: np.ndarray  # [N] step of the policy that sampled it, 0 where it has none
    problem_place: np.ndarray  # [N] place of the problem among those with a soft value
    kept: np.ndarray  # [N] bool: a correct row that stays whatever its age
    rows_ever: int  # rows at this watermark before window and age limits
    without_value: int  # rows left out: their problem has no soft value
    problems_without_value: int

    def __len__(self) -> int:
        return len(self.lengths)


def make_pool(
    rows: pl.DataFrame,
    problems: dict[str, int],
    find: Callable[[pl.Series], pl.DataFrame],
    blocks: dict[int, Block],
    *,
    window: int | None,
    max_age_hours: float | None,
    keep_correct: float,
    best: float,
) -> Pool:
    """Apply window and age limit to the rows of a source; a share of its best-rewarded rows, chosen by hash, is kept beyond.

    `find` says for the rows that stay where in `blocks` their tokens lie (`trainer.data.tokens.Tokens.find`).
    """
    numbered = pl.DataFrame({"problem_id": list(problems), "problem_place": range(len(problems))})
    numbered = numbered.cast({"problem_id": pl.String, "problem_place": pl.Int64})
    known = rows.join(numbered, on="problem_id", maintain_order="left")
    missing = rows.height - known.height
    lost = rows["problem_id"].n_unique() - known["problem_id"].n_unique()
    known = known.with_columns(kept=kept_by_hash(known, keep_correct, best))
    stays = pl.Series(np.arange(known.height) >= known.height - (window or known.height))
    if max_age_hours and known.height:
        newest: Any = known["created_at"].max()
        stays &= (known["created_at"] >= newest - timedelta(hours=max_age_hours)).fill_null(False)
    chosen = known.filter(stays | known["kept"])
    places = find(chosen["trajectory_id"]).drop("trajectory_id").to_numpy()
    return Pool(
        trajectory_ids=chosen["trajectory_id"].to_numpy(), problem_ids=shared(chosen["problem_id"]), blocks=blocks, places=places,
        lengths=places[:, 2] - places[:, 1] + places[:, 4] - places[:, 3], logprob=chosen["logprob_sum"].to_numpy(),
        behaviour=chosen["behaviour_logprob"].cast(pl.Float64).fill_null(float("nan")).to_numpy(),
        reward=chosen["reward"].to_numpy(), verdicts=shared(chosen["verdict"]), policy_step=chosen["policy_step"].to_numpy(),
        problem_place=chosen["problem_place"].to_numpy(), kept=chosen["kept"].to_numpy(),
        rows_ever=known.height, without_value=missing, problems_without_value=lost,
    )


def shared(names: pl.Series) -> np.ndarray:
    """Strings as an array of objects, equal ones the same object: [N]."""
    distinct = names.unique().sort()
    codes = names.replace_strict(distinct, pl.Series(range(len(distinct)), dtype=pl.Int64), return_dtype=pl.Int64)
    return distinct.to_numpy()[codes.to_numpy().astype(np.int64)]  # of no rows it would be an array of nothing, not of integers


def kept_by_hash(rows: pl.DataFrame, share: float, best: float) -> pl.Series:
    """Which best-rewarded rows belong to the share that is kept; the same rows whatever else is in the pool."""
    kept = rows["reward"].to_numpy() >= best if share else np.zeros(rows.height, dtype=bool)
    places, limit = np.flatnonzero(kept), share * 2**32
    kept[places] = [in_hash(i) < limit for i in rows["trajectory_id"].gather(places)]
    return pl.Series("kept", kept)


def in_hash(trajectory_id: str) -> int:
    return int.from_bytes(hashlib.blake2b(trajectory_id.encode(), digest_size=4).digest(), "big")


def batch_rows(pool: Pool, indices: np.ndarray, values: np.ndarray, source: str) -> list[Row]:
    """The rows at these places, with Q0 from `values` [problems]; token ids are views, not copies."""
    columns = zip(
        pool.trajectory_ids[indices].tolist(), pool.problem_ids[indices].tolist(),
        pool.places[indices].tolist(), pool.logprob[indices].tolist(), pool.behaviour[indices].tolist(),
        pool.reward[indices].tolist(), values[pool.problem_place[indices]].tolist(), pool.verdicts[indices].tolist(),
        strict=True,
    )
    blocks, rows = pool.blocks, []
    for trajectory, problem, (number, p0, p1, c0, c1), logprob, behaviour, reward, value, verdict in columns:
        block = blocks[number]
        prompt, completion = block.prompts[p0:p1], block.completions[c0:c1]
        rows.append(Row(trajectory, problem, source, prompt, completion, logprob, behaviour, reward, value, verdict))
    return rows
