"""The candidates of a source: rows that fulfil its condition, before window, age limits and one-of-each, as
sorted arrays into which changed rows are merged.
"""

from __future__ import annotations

import hashlib
import sys
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, fields
from itertools import starmap
from typing import Any

import numpy as np
import polars as pl

from trainer.data.mixture import Source
from trainer.data.selection import ReferenceRewards

NO_TIME = np.iinfo(np.int64).min
NO_BLOCK = -1


@dataclass(frozen=True)
class Candidates:
    """N rows, in the order of their policy's step and then of their id. Of the columns, `spans` and `lengths`
    are filled in as tokens are read; all others are final.
    """

    step: np.ndarray  # [N] of the policy that sampled it, 0 where it has none: the order
    trajectory_ids: np.ndarray  # [N] of str
    problem_ids: np.ndarray  # [N] of str, one object per problem
    verdicts: np.ndarray  # [N] of str, one object per verdict
    policies: np.ndarray  # [N] number of its policy, see `SuccessRates`; -1 where mu is unknown
    reference_logprob: np.ndarray  # [N] nats; NaN where unknown
    behaviour_logprob: np.ndarray  # [N] nats; NaN where unknown
    reward: np.ndarray  # [N]
    policy_step: np.ndarray  # [N] as `step`, 0 also for rows of other runs
    own_step: np.ndarray  # [N] the same where this run sampled it, NaN elsewhere
    created_at: np.ndarray  # [N] microseconds, NO_TIME where unknown
    retained: np.ndarray  # [N] bool: a correct row that stays whatever its age
    all_tests_ran: np.ndarray  # [N] bool
    problem_indices: np.ndarray  # [N] index into the reference rewards, -1 where there are none
    groups: np.ndarray  # [N] hash of what rows of a group have in common; 0 where a source takes all
    is_first: np.ndarray  # [N] bool: the one of its group
    spans: np.ndarray  # [N, 5] block, and where prompt and completion begin and end in it; block -1: not read
    lengths: np.ndarray  # [N] tokens, prompt and completion; -1: not read

    def __len__(self) -> int:
        return len(self.step)

    def replaced(self, gone: Mapping[str, int], rows: Candidates) -> Candidates:
        """Without the trajectories `gone`, by id with their step (those that are not there are ignored), and
        with `rows`, none of which is among the remaining.
        """
        places = [place for place in starmap(self._find, gone.items()) if place is not None]
        if not places and not len(rows):
            return self
        kept = self._with(lambda name: np.delete(getattr(self, name), places, axis=0)) if places else self
        touched = np.concatenate([self.groups[places], rows.groups])
        at = np.array(list(map(kept._place, rows.trajectory_ids, rows.step.tolist())), dtype=np.int64)
        merged = kept._with(lambda name: _inserted(getattr(kept, name), at, getattr(rows, name)))
        return merged._regrouped(np.unique(touched)) if touched.any() else merged

    def without_blocks(self, blocks: set[int]) -> None:
        """Forget where the tokens of these blocks are."""
        if blocks:
            self.spans[np.isin(self.spans[:, 0], list(blocks)), 0] = NO_BLOCK

    def _with(self, column: Any) -> Candidates:
        return Candidates(**{field.name: column(field.name) for field in fields(self)})

    def _place(self, trajectory_id: str, step: int) -> int:
        """Where a row is, or belongs."""
        low, high = (int(np.searchsorted(self.step, step, side=side)) for side in ("left", "right"))  # type: ignore[call-overload]
        return bisect_left(self.trajectory_ids, trajectory_id, low, high)

    def _find(self, trajectory_id: str, step: int) -> int | None:
        place = self._place(trajectory_id, step)
        there = place < len(self) and self.trajectory_ids[place] == trajectory_id
        return place if there else None

    def _regrouped(self, touched: np.ndarray) -> Candidates:
        """With the first row of each of these groups found again: uint64, ascending."""
        places = np.minimum(np.searchsorted(touched, self.groups), max(0, len(touched) - 1))
        members = np.flatnonzero(touched[places] == self.groups) if len(touched) else places[:0]
        self.is_first[members] = first_of_groups(self.groups[members], self.trajectory_ids[members])
        return self


def candidates_of(
    rows: pl.DataFrame,
    source: Source,
    best_reward: float,
    policies: np.ndarray,
    rewards: ReferenceRewards | None,
) -> Candidates:
    """The rows of `select_rows`, in its order. `policies`: the number of each row's policy, int64 [N].
    Without `rewards` no row needs any.
    """
    number = rows.height
    ids = rows["trajectory_id"].to_numpy()
    groups = _groups(rows, source)
    return Candidates(
        step=rows["step"].to_numpy(),
        trajectory_ids=ids,
        problem_ids=_shared(rows["problem_id"]),
        verdicts=_shared(rows["verdict"]),
        policies=policies,
        reference_logprob=_numbers(rows["reference_logprob"]),
        behaviour_logprob=_numbers(rows["behaviour_logprob"]),
        reward=rows["reward"].to_numpy(),
        policy_step=rows["policy_step"].to_numpy(),
        own_step=_numbers(rows["own_step"]),
        created_at=rows["created_at"].dt.epoch("us").fill_null(NO_TIME).to_numpy(),
        retained=_retained(rows, source.keep_correct, best_reward),
        all_tests_ran=rows["all_tests_run"].fill_null(False).to_numpy(),
        problem_indices=_problem_indices(rows["problem_id"], rewards),
        groups=groups,
        is_first=np.ones(number, dtype=bool) if source.unique == "all" else first_of_groups(groups, ids),
        spans=np.full((number, 5), NO_BLOCK, dtype=np.int64),
        lengths=np.full(number, -1, dtype=np.int64),
    )


def first_of_groups(groups: np.ndarray, trajectory_ids: np.ndarray) -> np.ndarray:
    """Which rows have the smallest id of their group: bool [N]."""
    rows = pl.DataFrame({"group": groups, "id": pl.Series(trajectory_ids, dtype=pl.String)})
    first = rows.with_row_index("place").sort("id").unique("group", keep="first")["place"].to_numpy()
    is_first = np.zeros(len(groups), dtype=bool)
    is_first[first] = True
    return is_first


def _groups(rows: pl.DataFrame, source: Source) -> np.ndarray:
    if source.unique == "all":
        return np.zeros(rows.height, dtype=np.uint64)
    columns = ["group_key", "verdict", *(["problem_id"] if source.unique == "token" else [])]
    return rows.select(pl.struct(columns).hash()).to_series().to_numpy()


def _inserted(array: np.ndarray, places: np.ndarray, values: np.ndarray) -> np.ndarray:
    if len(places) and places[0] == len(array):  # the usual case: new rows are of the newest steps
        return np.concatenate([array, values])
    return np.insert(array, places, values, axis=0)


def _problem_indices(problem_ids: pl.Series, rewards: ReferenceRewards | None) -> np.ndarray:
    if rewards is None:
        return np.zeros(len(problem_ids), dtype=np.int64)
    names = list(rewards.indices)
    known = pl.Series(list(rewards.indices.values()), dtype=pl.Int64)
    indices = problem_ids.replace_strict(
        pl.Series(names, dtype=pl.String), known, default=-1, return_dtype=pl.Int64
    )
    return indices.to_numpy()


def _numbers(column: pl.Series) -> np.ndarray:
    """NaN in place of null: [N] fp64."""
    return column.cast(pl.Float64).fill_null(float("nan")).to_numpy()


def _shared(names: pl.Series) -> np.ndarray:
    """Strings as an array of objects, equal ones the same object: [N]."""
    distinct = names.unique().sort()
    codes = names.replace_strict(
        distinct, pl.Series(range(len(distinct)), dtype=pl.Int64), return_dtype=pl.Int64
    )
    objects = np.array([sys.intern(name) for name in distinct.to_list()], dtype=object)
    # Without rows the codes would be an array of objects, which does not index.
    return objects[codes.to_numpy().astype(np.int64)]


def _retained(rows: pl.DataFrame, share: float, best: float) -> np.ndarray:
    """Which best-rewarded rows belong to the share that is retained; the same rows whatever else is in the
    pool.
    """
    retained = rows["reward"].to_numpy() >= best if share else np.zeros(rows.height, dtype=bool)
    indices, limit = np.flatnonzero(retained), share * 2**32
    retained[indices] = [_hash_of(i) < limit for i in rows["trajectory_id"].gather(indices)]
    return retained


def _hash_of(trajectory_id: str) -> int:
    """A number below 2**32."""
    return int.from_bytes(hashlib.blake2b(trajectory_id.encode(), digest_size=4).digest(), "big")
