"""Where training runs: one process, or one of several that share a model. This file is the single process.

Several processes under torchrun: `trainer/distributed/sharded.py`, which has the same methods.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from trainer.distributed import checkpoint
from trainer.policies import EntropyProbe, Head, Policy, TokenBatch, adapter_state, completion_logprobs


class Ranks:
    """One process: nothing is shared, gathered or agreed on."""

    rank = 0
    world = 1

    def share(self, groups: int) -> Iterator[tuple[int, bool]]:
        """The micro-batches of this rank, as many as any other rank's: (place, whether its rows are this rank's to count)."""
        for turn in range(-(-groups // self.world)):
            place = turn * self.world + self.rank
            yield (place, True) if place < groups else (0, False)

    def gather(self, found: dict[int, Any]) -> dict[int, Any]:
        return found

    def agree(self, value: Any) -> Any:
        """Rank 0's value, on every rank."""
        return value

    def close(self) -> None:
        """End what joins the ranks."""

    def number(self, value: Any) -> float:
        return float(value)

    def shard(self, policy: Policy) -> None:
        """Spread the model over the ranks, in place."""

    def forward(
        self, policy: Policy, head: Head, probe: EntropyProbe | None = None
    ) -> Callable[[TokenBatch], tuple[torch.Tensor, torch.Tensor]]:
        return lambda batch: completion_logprobs(policy.model, batch, head=head, probe=probe)

    def whole(self, policy: Policy) -> Policy:
        """The policy as it is now, not sharded."""
        return policy

    def save_checkpoint(self, *arguments: Any) -> None:
        checkpoint.save_checkpoint(*arguments)

    def load_checkpoint(
        self, folder: Path, policy: Policy, made_ready: Callable[[Policy], torch.optim.Optimizer]
    ) -> tuple[Policy, torch.optim.Optimizer, dict[str, Any]]:
        if (folder / checkpoint.SHARDED).exists():
            from trainer.distributed.sharded import (
                load_sharded,
            )  # torch.distributed, which a single process has no other use for

            return load_sharded(folder, policy, made_ready)
        return checkpoint.load_checkpoint(folder, policy, made_ready)

    def truncate_log(self, folder: Path, steps: int) -> dict[int, dict[str, Any]]:
        return checkpoint.truncate_log(folder / checkpoint.LOG, steps)

    def write(self, policy: Policy, target: Path, merge: Callable[[Any], None]) -> None:
        """Write the policy as it is now, whole, adapters merged, and leave it as it is."""
        merged = policy
        if adapter_state(policy.model):
            merged = replace(policy, model=copy.deepcopy(policy.model))
            merge(merged.model)
        checkpoint.publish_atomically(target, merged.save)

    def finish(self, policy: Policy, folder: Path, merge: Callable[[Any], None]) -> Policy:
        """Write the final policy whole."""
        merge(policy.model)
        checkpoint.publish_atomically(folder / "final", policy.save)
        return policy


SINGLE = Ranks()
