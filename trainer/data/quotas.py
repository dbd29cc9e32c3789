"""How many rows of a batch each source gives: integers whose mean over many batches is the source's share."""

from __future__ import annotations

import numpy as np

GOLDEN_RATIO = 0.6180339887498949  # its multiples modulo 1 are spread evenly, whatever the number of steps
ROUNDING = 1e-6


def row_quotas(weights: np.ndarray, batch_sequences: int, step: int) -> list[int]:
    """Rows per source, from weights [sources] of any sum above 0; they add up to `batch_sequences`.

    Systematic sampling: cumulated shares, shifted by a phase that depends on the step and cut to integers. A
    source gets its share rounded down or up, and over many steps no source is ahead of its share by more than
    a few rows.
    """
    exact = np.cumsum(weights / weights.sum()) * batch_sequences
    phase = (step * GOLDEN_RATIO) % 1.0
    edges = np.floor(exact + phase).astype(int)
    # Sums of shares miss the whole by a rounding error, which must not give a row to a source without a
    # weight.
    edges[exact > batch_sequences - ROUNDING] = batch_sequences
    return np.diff(np.concatenate([[0], edges])).tolist()
