"""Token batches: sequences of different lengths in rows of tokens, padded on the right or packed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

Tokens = Sequence[int] | np.ndarray


@dataclass(frozen=True)
class TokenBatch:
    """N sequences, prompt then completion, in R rows of L tokens: one per row and padded on the right, or
    packed.

    Causal attention never reads padding on the right. `position_ids` separate packed sequences: they start at
    0 for each. Given these and no mask, transformers attends only within a sequence (a mask of ones would mix
    them silently).
    """

    token_ids: Int[Tensor, "R L"]
    prompt_lengths: Int[Tensor, " N"]  # tokens
    lengths: Int[Tensor, " N"]  # tokens, prompt and completion
    row: Int[Tensor, " N"]  # the row that holds each sequence
    start: Int[Tensor, " N"]  # its first column there
    position_ids: Int[Tensor, "R L"] | None = None  # for packed rows

    @property
    def tokens(self) -> int:
        return int(self.lengths.sum())

    def to(self, device: torch.device) -> TokenBatch:
        return TokenBatch(
            self.token_ids.to(device),
            self.prompt_lengths.to(device),
            self.lengths.to(device),
            self.row.to(device),
            self.start.to(device),
            None if self.position_ids is None else self.position_ids.to(device),
        )

    def predicting(self) -> tuple[Int[Tensor, " C"], Int[Tensor, " C"], Int[Tensor, " C"]]:
        """Sequence, row and column of the positions that predict a completion token, in sequence order."""
        completion_lengths = self.lengths - self.prompt_lengths
        sequence = torch.repeat_interleave(
            torch.arange(len(self.lengths), device=self.lengths.device), completion_lengths
        )
        before = completion_lengths.cumsum(0) - completion_lengths
        offset = torch.arange(len(sequence), device=sequence.device) - before[sequence]
        return sequence, self.row[sequence], (self.start + self.prompt_lengths - 1)[sequence] + offset


def token_batch(prompts: Sequence[Tokens], completions: Sequence[Tokens]) -> TokenBatch:
    """Put N prompts and completions side by side: token_ids [N, longest], zeros as padding."""
    count = len(prompts)
    positions = [(i, 0) for i in range(count)]
    width = max(len(p) + len(c) for p, c in zip(prompts, completions, strict=True))
    return _fill(prompts, completions, positions, (count, width), packed=False)


def packed_batch(prompts: Sequence[Tokens], completions: Sequence[Tokens], row_tokens: int) -> TokenBatch:
    """Pack N sequences end to end into rows of `row_tokens`; a longer sequence widens all rows to its own
    length.
    """
    lengths = [len(p) + len(c) for p, c in zip(prompts, completions, strict=True)]
    positions, width = [(0, 0)] * len(lengths), 0
    rows = pack_rows(lengths, row_tokens)
    for row, members in enumerate(rows):
        column = 0
        for i in members:
            positions[i] = (row, column)
            column += lengths[i]
        width = max(width, column)
    return _fill(prompts, completions, positions, (len(rows), width), packed=True)


def pack_rows(lengths: Sequence[int], row_tokens: int) -> list[list[int]]:
    """Indices that share a row: first-fit, longest first. Packing only the members of some of the rows
    gives the same rows.
    """
    width, shortest, first = max(row_tokens, *lengths), min(lengths), 0
    rows: list[list[int]] = []
    used: list[int] = []
    for length, i in sorted((-length, i) for i, length in enumerate(lengths)):
        while first < len(used) and used[first] + shortest > width:
            first += 1  # full rows are not searched again
        for row in range(first, len(used)):
            if used[row] - length <= width:
                break
        else:
            row = len(used)
            used.append(0)
            rows.append([])
        rows[row].append(i)
        used[row] -= length
    return rows


def pack_groups(lengths: Sequence[int], row_tokens: int, batch_tokens: int) -> list[list[int]]:
    """Cut indices into groups of packed rows of at most `batch_tokens` together; a group has at least one
    row.
    """
    rows = pack_rows(lengths, row_tokens)
    rows_per_group = max(1, batch_tokens // max(row_tokens, *lengths))
    starts = range(0, len(rows), rows_per_group)
    return [[i for row in rows[start : start + rows_per_group] for i in row] for start in starts]


def length_buckets(lengths: Sequence[int], batch_tokens: int) -> list[list[int]]:
    """Cut indices into groups of similar length whose padded size is at most `batch_tokens`, or that have
    one member.
    """
    groups: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
        # Sorted by length: the new member is the longest of its group.
        if groups and (len(groups[-1]) + 1) * lengths[index] <= batch_tokens:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


def whole_group_batches(groups: Sequence[int], lengths: Sequence[int], batch_tokens: int) -> list[list[int]]:
    """Cut indices into batches that have every group whole, and whose padded size is at most `batch_tokens`
    or that have one group. `groups` has the number of each index's group; -1 is a group of its own.
    """
    units: dict[tuple[int, int], list[int]] = {}
    for index, group in enumerate(groups):
        units.setdefault((group, index if group < 0 else 0), []).append(index)

    def width(members: list[int]) -> int:
        return max(lengths[i] for i in members)

    batches: list[list[int]] = []
    for members in sorted(units.values(), key=lambda members: (width(members), members)):
        # Sorted by length: the new unit has the longest row of its batch.
        if batches and (len(batches[-1]) + len(members)) * width(members) <= batch_tokens:
            batches[-1] += members
        else:
            batches.append(list(members))
    return batches


def sum_by_sequence(
    values: Float[Tensor, " C"], sequence: Int[Tensor, " C"], count: int
) -> Float[Tensor, " {count}"]:
    """Sum values of tokens into one number per sequence: [count] from [C]."""
    return values.new_zeros(count).index_add(0, sequence, values)


def _fill(
    prompts: Sequence[Tokens],
    completions: Sequence[Tokens],
    positions: list[tuple[int, int]],
    shape: tuple[int, int],
    packed: bool,
) -> TokenBatch:
    """Write each sequence into its (row, first column) of a tensor of this shape."""
    prompt_lengths, completion_lengths = (
        np.array([len(part) for part in parts]) for parts in (prompts, completions)
    )
    lengths, (rows, starts) = prompt_lengths + completion_lengths, np.array(positions).T
    within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    target = np.repeat(rows * shape[1] + starts, lengths) + within
    flat = np.concatenate(
        [part for pair in zip(prompts, completions, strict=True) for part in pair],
        dtype=np.int64,
        casting="unsafe",
    )
    token_ids = np.zeros(shape, dtype=np.int64)
    token_ids.reshape(-1)[target] = flat
    position_ids = None
    if packed:  # padding at the end of a row is a sequence of its own, which nothing reads
        ends = np.zeros(shape[0], dtype=np.int64)
        np.maximum.at(ends, rows, starts + lengths)
        position_ids = np.arange(shape[1]) - ends[:, None]
        position_ids.reshape(-1)[target] = within
    return TokenBatch(
        torch.from_numpy(token_ids),
        torch.from_numpy(prompt_lengths),
        torch.from_numpy(lengths),
        torch.from_numpy(rows.copy()),
        torch.from_numpy(starts.copy()),
        None if position_ids is None else torch.from_numpy(position_ids),
    )
