"""Where training runs: what one process and several that share a model have in common.

`Ranks` is how processes talk, `Learner` the policy in training on this rank. `single.py` is one process,
`fsdp.py` one of several under torchrun; neither knows the other, and the loop knows these two classes alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from trainer.policies import CompletionLogprobs, Head, Policy, TokenBatch, ValueNetwork

State = dict[str, Any]


@dataclass(frozen=True)
class ValueLearner:
    """A value network in training, with its optimiser."""

    network: ValueNetwork
    optimiser: torch.optim.Optimizer
    rate_factor: float  # its learning rate, in units of the policy's
    clip_norm: float

    def update(self) -> float:
        """One optimiser step on the gradients so far, clipped; returns their norm before clipping."""
        return clipped_step(self.network.parameters(), self.optimiser, self.clip_norm)


@dataclass(frozen=True)
class Preparation:
    """What is done to a policy before it is trained: a value network is copied from it where there is to be
    one, `prepare` changes its model in place, then the optimisers are made.
    """

    prepare: Callable[[Policy], None]
    new_optimiser: Callable[[Policy], torch.optim.Optimizer]
    new_value_network: Callable[[Policy], ValueNetwork | None] = lambda policy: None
    new_value_learner: Callable[[ValueNetwork | None], ValueLearner | None] = lambda network: None


class Learner(ABC):
    """The policy in training, with its optimiser. With several ranks every rank calls each method at the
    same time.
    """

    policy: Policy
    optimiser: torch.optim.Optimizer
    value: ValueLearner | None

    @abstractmethod
    def logprobs(self, batch: TokenBatch, head: Head, entropy_tokens: int) -> CompletionLogprobs:
        """A forward pass, with gradient: log-probabilities of completion tokens, and some entropies."""

    def update(self, clip_norm: float) -> float:
        """One optimiser step on the gradients so far, clipped; returns their norm before clipping."""
        return clipped_step(self.policy.model.parameters(), self.optimiser, clip_norm)

    def whole(self) -> Policy:
        """The policy as it is now, not sharded. Not a copy where nothing is sharded."""
        return self.policy

    @abstractmethod
    def save_checkpoint(self, run_folder: Path, step: int, state: State) -> None:
        """Write `checkpoint-<step>/` with policy, optimiser and `state` (JSON), and drop all but the
        newest two.
        """

    @abstractmethod
    def write(self, target: Path) -> None:
        """Write the policy as it is now, whole, adapters merged. The policy in training does not change."""

    @abstractmethod
    def finish(self, target: Path) -> Policy:
        """Write the final policy, whole, adapters merged, and return it. Training ends with this."""


def clipped_step(
    parameters: Iterable[nn.Parameter], optimiser: torch.optim.Optimizer, clip_norm: float
) -> float:
    """One optimiser step on the gradients so far; returns their norm, of all ranks, before clipping."""
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    norm = torch.nn.utils.clip_grad_norm_(trained, clip_norm)
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    return float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)  # FSDP's is spread over ranks


class Ranks(ABC):
    """This process among those that train one policy."""

    rank: int
    world: int

    @abstractmethod
    def start(
        self, policy: Policy, preparation: Preparation, resume_from: Path | None
    ) -> tuple[Learner, State]:
        """Make a policy ready for training, at its start or where a checkpoint of any number of ranks left
        it.

        Returns the `state` that was saved with the checkpoint, or an empty one.
        """

    @abstractmethod
    def gather(self, values: dict[int, Any]) -> dict[int, Any]:
        """The entries of all ranks, on every rank."""

    @abstractmethod
    def agree(self, value: Any) -> Any:
        """Rank 0's value, on every rank."""

    @abstractmethod
    def close(self) -> None:
        """End what connects the ranks."""

    def share(self, groups: int) -> Iterator[tuple[int, bool]]:
        """The micro-batches of this rank, the same number on every rank: (index, whether it counts here).

        A micro-batch that does not count is computed to keep the ranks together, and weighs nothing.
        """
        for turn in range(-(-groups // self.world)):
            index = turn * self.world + self.rank
            yield (index, True) if index < groups else (0, False)
