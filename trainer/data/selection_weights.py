"""Weights that undo a selection by verdict.

Rows that a source draws by verdict, say 70 % correct ones, are no sample of the policy that wrote them:
KL(pi || pi_ref) and importance weights that are estimated on them are biased. A row whose behaviour
log-probability is known therefore gets the weight mu(verdict) / share(verdict): how often its policy
succeeds (or fails) over all of its judged samples, and how often the mixture draws a success (or a failure).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from pipeline.store import query

SMALL_MASS = 0.05  # of an outcome that no row has: without it an estimate is still a good one

SUCCESSES = """
select policy_id, count(*) filter (verdict = 'accepted') as successes, count(*) as samples
from judged
where behaviour_logprob is not null and split = 'train' and reward_binary is not null
group by policy_id
"""


class SelectionWeights(NamedTuple):
    """Weights of successes and of failures; NaN where no estimate is possible, because the rows lack a
    frequent outcome.
    """

    success: float = 1.0
    failure: float = 1.0


UNWEIGHTED = SelectionWeights()


class SourceDraws(NamedTuple):
    """Rows of known behaviour that a source draws from: their share of a batch, the share of successes among
    them, and the mean success rate of the policies that wrote them.
    """

    share: float
    success: float
    success_rate: float


@dataclass(frozen=True)
class SuccessRates:
    """How often each policy succeeds, over all judged samples of training problems whose log-probability is
    known. `numbers`: of the policies, by id; policies join it and none leaves, so that a number stays.
    """

    numbers: dict[str, int]
    successes: np.ndarray  # [P] or fewer: of the policies that had samples
    samples: np.ndarray

    @classmethod
    def of(cls, connection: Any) -> SuccessRates:
        return cls({}, np.zeros(0), np.zeros(0)).changed(query(connection, SUCCESSES), 1)

    def changed(self, counts: pl.DataFrame, sign: int) -> SuccessRates:
        """With more or (sign -1) fewer samples, from rows of SUCCESSES."""
        policies = self.numbers_of(counts["policy_id"])
        successes, samples = (
            np.concatenate([old, np.zeros(len(self.numbers) - len(old))])
            for old in (self.successes, self.samples)
        )
        known = policies >= 0
        np.add.at(successes, policies[known], sign * counts["successes"].to_numpy()[known])
        np.add.at(samples, policies[known], sign * counts["samples"].to_numpy()[known])
        return SuccessRates(self.numbers, successes, samples)

    def numbers_of(self, policy_ids: pl.Series) -> np.ndarray:
        """The numbers of policies, int64 [N]; -1 for null."""
        distinct = policy_ids.unique().drop_nulls().sort()
        numbers = [self.numbers.setdefault(name, len(self.numbers)) for name in distinct.to_list()]
        replaced = policy_ids.replace_strict(
            distinct, pl.Series(numbers, dtype=pl.Int64), default=-1, return_dtype=pl.Int64
        )
        return replaced.to_numpy().astype(np.int64)

    def rates(self, policies: np.ndarray) -> np.ndarray:
        """The success rate of the policy of each of these numbers: [N], NaN for -1 and without samples."""
        size = max(len(self.numbers), 1)
        rates = np.full(size + 1, math.nan)  # the last one is that of -1
        sampled = np.flatnonzero(self.samples)
        rates[sampled] = self.successes[sampled] / self.samples[sampled]
        return rates[policies]


def source_draws(share: float, success: np.ndarray, success_rate: np.ndarray) -> SourceDraws:
    """What a source adds to the draws, from its rows: [N] bool, and [N] success rate of the policy of each,
    NaN where mu is unknown.
    """
    known = np.isfinite(success_rate)
    if not known.any() or not share:
        return SourceDraws(0.0, 0.0, 0.0)
    return SourceDraws(
        share * float(known.mean()), float(success[known].mean()), float(success_rate[known].mean())
    )


def selection_weights(sources: Iterable[SourceDraws]) -> SelectionWeights:
    """The weights for a mixture of sources. Without rows of known behaviour they are 1."""
    parts = [part for part in sources if part.share]
    total = sum(part.share for part in parts)
    if not total:
        return SelectionWeights()
    share = sum(part.share * part.success for part in parts) / total
    rate = sum(part.share * part.success_rate for part in parts) / total
    missing = rate if share == 0 else 1 - rate if share == 1 else 0.0
    if missing > SMALL_MASS:
        return SelectionWeights(math.nan, math.nan)
    if missing or math.isclose(share, rate, abs_tol=1e-9):
        return SelectionWeights()
    return SelectionWeights(rate / share if share else 1.0, (1 - rate) / (1 - share) if share < 1 else 1.0)
