"""Unbiased pass@k: the chance that at least one of k samples solves a problem, from n >= k samples of which c
are correct.

    pass@k = 1 - C(n - c, k) / C(n, k) = 1 - prod_{i=0}^{k-1} (n - c - i) / (n - i)

Chen et al. 2021, "Evaluating Large Language Models Trained on Code", arXiv 2107.03374, section 2.1. The
plug-in estimate 1 - (1 - c/n)^k is biased low. This module has the estimator of one problem, in Python and as
a macro for SQL; means over problems and seeds are in `pipeline/evaluation/aggregate.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.later import later

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray
else:
    np = later("numpy")

# pass_at(samples, correct, k): NULL where k > samples or a count is missing. The absolute error is about k *
# 1e-16.
MACRO = """
CREATE OR REPLACE MACRO pass_at(samples, correct, k) AS
    CASE WHEN samples IS NULL OR correct IS NULL OR correct > samples OR k > samples OR k < 1 THEN NULL
         WHEN samples - correct < k THEN 1.0::DOUBLE
         ELSE 1.0::DOUBLE - list_product(list_transform(
             range(0, k::BIGINT), lambda i: (samples - correct - i)::DOUBLE / (samples - i))) END
"""


def pass_at_k(samples: ArrayLike, correct: ArrayLike, k: int) -> NDArray[np.float64]:
    """Unbiased pass@k of each problem; `samples` and `correct` broadcast to the result's shape.

    The product runs in log space (log1p, expm1): no binomial is computed, and small values keep their digits.
    Raises ValueError for k < 1, for k > samples (there is no unbiased estimate) and for counts outside 0 <=
    correct <= samples.
    """
    n, c = np.broadcast_arrays(np.asarray(samples, dtype=np.float64), np.asarray(correct, dtype=np.float64))
    if k < 1:
        raise ValueError(f"pass@k needs k >= 1, got {k}")
    if n.size and n.min() < k:
        raise ValueError(
            f"pass@{k} needs {k} samples per problem, one has {int(n.min())}; leave it out, or draw more"
        )
    if np.any(c < 0) or np.any(c > n):
        raise ValueError("pass@k needs 0 <= correct <= samples")
    log_all_fail = np.zeros(n.shape)
    for i in range(k):
        # Once k exceeds the wrong samples the ratio is 1, log1p(-1) = -inf, and the result is exactly 1.
        with np.errstate(divide="ignore"):
            log_all_fail = log_all_fail + np.log1p(-np.minimum(c / (n - i), 1.0))
    return 0.0 - np.expm1(log_all_fail)
