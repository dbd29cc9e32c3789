"""Groups: several rows of one problem, for objectives that compare the rows of a group."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ProblemGroups:
    """The rows of a pool by problem: those of problem i are `members[starts[i] : starts[i] + counts[i]]`."""

    members: np.ndarray  # [M] indices into the pool
    starts: np.ndarray  # [P]
    counts: np.ndarray  # [P], at least the size of a group each

    def __len__(self) -> int:
        return len(self.counts)

    def draw(self, problems: np.ndarray, size: int, generator: np.random.Generator) -> np.ndarray:
        """`size` different rows of each problem, end to end: [len(problems) * size] indices into the pool."""
        rows = [
            self.members[self.starts[p] + generator.choice(self.counts[p], size, replace=False)]
            for p in problems.tolist()
        ]
        return np.concatenate(rows) if rows else np.zeros(0, dtype=np.int64)


def groups_of(problem_codes: np.ndarray, candidates: np.ndarray, size: int) -> ProblemGroups:
    """The problems of which at least `size` candidates are in the pool, in the order of their codes.

    `problem_codes` int64 [N], equal for rows of one problem; `candidates` int64 [M], indices of rows.
    """
    codes = problem_codes[candidates]
    order = np.argsort(codes, kind="stable")
    _, starts, counts = np.unique(codes[order], return_index=True, return_counts=True)
    enough = counts >= size
    return ProblemGroups(candidates[order], starts[enough], counts[enough])
