"""Statistics over the rows of a group, which are samples for one prompt."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from trainer.objectives.base import Batch


@dataclass(frozen=True)
class Groups:
    """The groups of N rows."""

    index: Int[Tensor, " N"]  # group of each row, numbered from 0
    size: Float[Tensor, " N"]  # rows in the group of each row

    def mean(self, values: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
        """Mean over the group of each row, itself included."""
        sums = values.new_zeros(len(values)).index_add(0, self.index, values)
        return sums[self.index] / self.size

    def largest(self, values: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
        """Largest value in the group of each row."""
        start = values.new_full((len(values),), -torch.inf)
        return start.scatter_reduce(0, self.index, values, "amax")[self.index]


def groups_of(batch: Batch) -> Groups:
    """The groups of a batch. Raises ValueError for a row without one."""
    if batch.group is None or bool((batch.group < 0).any()):
        raise ValueError("this objective compares rows of one problem: set group on each source")
    _, index, counts = torch.unique(batch.group, return_inverse=True, return_counts=True)
    return Groups(index, counts[index].to(batch.reward.dtype))
