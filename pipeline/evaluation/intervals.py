"""Means over problems and seeds with bootstrap intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

RESAMPLES_AT_ONCE = 100  # bounds the memory to this many times the number of problems


@dataclass(frozen=True)
class Estimate:
    """A mean over problems and seeds with its confidence interval.

    `problems` counts the problems behind it, `left_out` those that were evaluated but do not allow the
    estimate.
    """

    mean: float
    low: float
    high: float
    problems: int
    left_out: int = 0
    seeds: int = 1

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


def over_problems(
    values: ArrayLike,
    *,
    minus: ArrayLike | None = None,
    left_out: int = 0,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Estimate:
    """Mean of `values` [problems] or [seeds, problems], with a percentile bootstrap interval (Efron 1979).

    With `minus` (same problems, seeds of its own) it is the mean of the paired differences `values - minus`.
    Each resample draws problems with replacement, the same ones for both sides, so that easy and hard
    problems cancel. Samples are not drawn: those of one problem are not independent. Each resample also draws
    the seeds of each side, independently of the problems (Owen 2007, "The pigeonhole bootstrap"). Of S seeds
    it draws S - 1: drawing S would make the variance over seeds too small by the factor (S - 1) / S, one half
    for two seeds (Rao and Wu 1988). With one seed the interval covers problems alone, with two or three it is
    coarse. The same `seed` gives the same interval. Raises ValueError if there is no problem.
    """
    sides = [_as_matrix(values)] + ([] if minus is None else [_as_matrix(minus)])
    problems = sides[0].shape[1]
    if not problems:
        raise ValueError("no problem has enough samples for this estimate")
    if any(side.shape[1] != problems for side in sides):
        raise ValueError("a paired difference needs the same problems on both sides")
    generator = np.random.default_rng(seed)
    batches = range(0, resamples, RESAMPLES_AT_ONCE)
    means = np.concatenate([_resample(sides, RESAMPLES_AT_ONCE, generator) for _ in batches])
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(means, [tail, 1.0 - tail])
    mean = _difference([side.mean(axis=0) for side in sides]).mean()
    return Estimate(float(mean), float(low), float(high), problems, left_out, seeds=len(sides[0]))


def _as_matrix(values: ArrayLike) -> NDArray[np.float64]:
    """Values as [seeds, problems]."""
    return np.atleast_2d(np.asarray(values, dtype=np.float64))


def _resample(
    sides: list[NDArray[np.float64]], count: int, generator: np.random.Generator
) -> NDArray[np.float64]:
    """Means of `count` resamples: of the first side, minus those of the second one if there is one."""
    problems = sides[0].shape[1]
    indices = generator.integers(0, problems, (count, problems))
    return _difference([_side_means(side, indices, generator) for side in sides])


def _side_means(
    side: NDArray[np.float64], indices: NDArray[np.int64], generator: np.random.Generator
) -> NDArray[np.float64]:
    """Mean of each resample over the resampled problems [resamples, problems] and over resampled seeds."""
    means = np.stack([row[indices].mean(axis=1) for row in side], axis=1)
    count, seeds = means.shape
    if seeds == 1:
        return means[:, 0]
    return np.take_along_axis(means, generator.integers(0, seeds, (count, seeds - 1)), axis=1).mean(axis=1)


def _difference(sides: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """The first side, minus the second one if there is one."""
    return sides[0] if len(sides) == 1 else sides[0] - sides[1]
