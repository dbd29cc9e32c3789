"""The rows of one source as flat arrays: a batch is cut out of them without a Python step for each token."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl


@dataclass(frozen=True)
class Ragged:
    """N lists of numbers side by side: `values` [sum of lengths], list i between `edges` [N + 1]."""

    values: np.ndarray
    edges: np.ndarray

    @classmethod
    def of(cls, lists: pl.Series) -> Ragged:
        lengths = lists.list.len().to_numpy().astype(np.int64)
        return cls(lists.to_arrow().flatten().to_numpy(zero_copy_only=False), np.concatenate([[0], np.cumsum(lengths)]))


@dataclass(frozen=True)
class Pool:
    """N rows that a source may give, oldest policy step first."""

    trajectory_ids: pl.Series
    problem_ids: pl.Series
    prompts: Ragged
    completions: Ragged
    lengths: np.ndarray  # [N] tokens, prompt and completion
    logprob: np.ndarray  # [N] log pi_ref(y|x), nats
    behaviour: np.ndarray  # [N] log mu(y|x), nats; NaN where unknown
    reward: np.ndarray  # [N]
    verdicts: pl.Series
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
    *,
    window: int | None,
    max_age_hours: float | None,
    keep_correct: float,
    best: float,
) -> Pool:
    """Apply window and age limit to the rows of a source; a share of its best-rewarded rows, chosen by hash, is kept beyond."""
    known = rows.filter(pl.col("problem_id").is_in(list(problems)))
    missing = rows.height - known.height
    lost = rows["problem_id"].n_unique() - known["problem_id"].n_unique()
    known = known.with_columns(kept=kept_by_hash(known, keep_correct, best))
    stays = pl.Series(np.arange(known.height) >= known.height - (window or known.height))
    if max_age_hours and known.height:
        newest: Any = known["created_at"].max()
        stays &= (known["created_at"] >= newest - timedelta(hours=max_age_hours)).fill_null(False)
    chosen = known.filter(stays | known["kept"])
    prompts, completions = Ragged.of(chosen["prompt_ids"]), Ragged.of(chosen["completion_ids"])
    return Pool(
        trajectory_ids=chosen["trajectory_id"], problem_ids=chosen["problem_id"], prompts=prompts, completions=completions,
        lengths=np.diff(prompts.edges) + np.diff(completions.edges), logprob=chosen["logprob_sum"].to_numpy(),
        behaviour=chosen["behaviour_logprob"].cast(pl.Float64).fill_null(float("nan")).to_numpy(),
        reward=chosen["reward"].to_numpy(), verdicts=chosen["verdict"], policy_step=chosen["policy_step"].to_numpy(),
        problem_place=np.array([problems[p] for p in chosen["problem_id"]], dtype=np.int64), kept=chosen["kept"].to_numpy(),
        rows_ever=known.height, without_value=missing, problems_without_value=lost,
    )  # fmt: skip


def kept_by_hash(rows: pl.DataFrame, share: float, best: float) -> pl.Series:
    """Which best-rewarded rows belong to the share that is kept; the same rows whatever else is in the pool."""
    if not share:
        return pl.Series("kept", np.zeros(rows.height, dtype=bool))
    limit = share * 2**32
    hashes = [int.from_bytes(hashlib.blake2b(i.encode(), digest_size=4).digest(), "big") for i in rows["trajectory_id"]]
    return pl.Series("kept", (np.array(hashes, dtype=np.uint64) < limit) & (rows["reward"].to_numpy() >= best))


def batch_rows(pool: Pool, indices: np.ndarray, values: np.ndarray) -> Iterator[dict[str, Any]]:
    """The rows at these places, with Q0 from `values` [problems]; token ids are views, not copies."""
    columns = zip(
        pool.trajectory_ids.gather(indices).to_list(), pool.problem_ids.gather(indices).to_list(),
        pool.prompts.edges[indices].tolist(), pool.prompts.edges[indices + 1].tolist(),
        pool.completions.edges[indices].tolist(), pool.completions.edges[indices + 1].tolist(),
        pool.logprob[indices].tolist(), pool.behaviour[indices].tolist(), pool.reward[indices].tolist(),
        values[pool.problem_place[indices]].tolist(), pool.verdicts.gather(indices).to_list(), strict=True,
    )  # fmt: skip
    for trajectory, problem, p0, p1, c0, c1, logprob, behaviour, reward, value, verdict in columns:
        yield {
            "trajectory_id": trajectory, "problem_id": problem, "prompt_ids": pool.prompts.values[p0:p1],
            "completion_ids": pool.completions.values[c0:c1], "reference_logprob": logprob, "behaviour_logprob": behaviour,
            "reward": reward, "soft_value": value, "verdict": verdict,
        }  # fmt: skip
