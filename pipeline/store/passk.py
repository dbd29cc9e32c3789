"""Unbiased pass@k: the chance that at least one of k samples solves a problem, from n >= k samples with c correct ones.

    pass@k = 1 - C(n - c, k) / C(n, k) = 1 - prod_{i=0}^{k-1} (n - c - i) / (n - i)

Chen et al. 2021, "Evaluating Large Language Models Trained on Code", arXiv 2107.03374, section 2.1. The plug-in 1 - (1 - c/n)^k
is biased low. The product runs in log space (log1p, expm1): no binomial is formed, and small values keep their digits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

# pass_at(samples, correct, k): NULL where k > samples or a count is missing. Relative to 1, exact to about k * 1e-16.
MACRO = """
CREATE OR REPLACE MACRO pass_at(samples, correct, k) AS
    CASE WHEN samples IS NULL OR correct IS NULL OR correct > samples OR k > samples OR k < 1 THEN NULL
         WHEN samples - correct < k THEN 1.0::DOUBLE
         ELSE 1.0::DOUBLE - list_product(list_transform(
             range(0, k::BIGINT), lambda i: (samples - correct - i)::DOUBLE / (samples - i))) END
"""


def pass_at_k(samples: ArrayLike, correct: ArrayLike, k: int) -> NDArray[np.float64]:
    """Unbiased pass@k of each problem; `samples` and `correct` broadcast to the result's shape.

    Raises ValueError for k < 1, for k > samples (there is no unbiased estimate: leave the problem out, or draw more), and for
    counts outside 0 <= correct <= samples.
    """
    n, c = np.broadcast_arrays(np.asarray(samples, dtype=np.float64), np.asarray(correct, dtype=np.float64))
    if k < 1:
        raise ValueError(f"pass@k needs k >= 1, got {k}")
    if n.size and n.min() < k:
        raise ValueError(f"pass@{k} needs {k} samples a problem, one has {int(n.min())}")
    if np.any(c < 0) or np.any(c > n):
        raise ValueError("pass@k needs 0 <= correct <= samples")
    log_all_fail = np.zeros(n.shape)
    for i in range(k):
        # Once k exceeds the wrong samples the ratio is 1, log1p(-1) = -inf, and the result exactly 1.
        with np.errstate(divide="ignore"):
            log_all_fail = log_all_fail + np.log1p(-np.minimum(c / (n - i), 1.0))
    return 0.0 - np.expm1(log_all_fail)


@dataclass(frozen=True)
class Estimate:
    """Mean over problems with a confidence interval for other problems of the same kind."""

    mean: float
    low: float
    high: float
    problems: int

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


def over_problems(
    values: ArrayLike, *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Estimate:
    """Mean of per-problem values with a percentile bootstrap interval over problems (Efron 1979); same seed, same interval.

    Problems, not samples, are drawn: samples of one problem are not independent. Raises ValueError without any problem.
    """
    values = np.asarray(values, dtype=np.float64).ravel()
    if not values.size:
        raise ValueError("no problem has enough samples for this estimate")
    draw = np.random.default_rng(seed)
    means = [values[draw.integers(0, values.size, values.size)].mean() for _ in range(resamples)]
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(means, [tail, 1.0 - tail])
    return Estimate(float(values.mean()), float(low), float(high), values.size)


def estimate(
    samples: ArrayLike,
    correct: ArrayLike,
    k: int,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Estimate:
    """pass@k over problems, from each problem's counts, with its interval. Raises as `pass_at_k` and `over_problems` do."""
    return over_problems(
        pass_at_k(samples, correct, k), confidence=confidence, resamples=resamples, seed=seed
    )
