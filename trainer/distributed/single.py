"""Training in one process: nothing is shared, gathered or agreed on."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from pipeline.store import publish_folder
from trainer.distributed import checkpoint
from trainer.distributed.base import Learner, Preparation, Ranks, State
from trainer.policies import (
    CompletionLogprobs,
    Head,
    Policy,
    TokenBatch,
    adapter_state,
    completion_logprobs,
    load_adapter,
    load_policy,
    merge_adapter,
)


class SingleLearner(Learner):
    """A policy that is whole in this process."""

    def __init__(self, policy: Policy, optimiser: torch.optim.Optimizer):
        self.policy, self.optimiser = policy, optimiser

    def logprobs(self, batch: TokenBatch, head: Head, entropy_tokens: int) -> CompletionLogprobs:
        return completion_logprobs(self.policy.model, batch, head=head, entropy_tokens=entropy_tokens)

    def save_checkpoint(self, run_folder: Path, step: int, state: State) -> None:
        def write(target: Path) -> None:
            checkpoint.write_single(target, self.policy, self.optimiser, state)

        publish_folder(checkpoint.folder_of(run_folder, step), write)
        checkpoint.drop_old(run_folder)

    def write(self, target: Path) -> None:
        merged = self.policy
        if adapter_state(merged.model):
            merged = replace(merged, model=copy.deepcopy(merged.model))
            merge_adapter(merged.model)
        publish_folder(target, merged.save)

    def finish(self, target: Path) -> Policy:
        merge_adapter(self.policy.model)
        publish_folder(target, self.policy.save)
        return self.policy


class SingleProcess(Ranks):
    """The only rank."""

    rank = 0
    world = 1

    def start(
        self, policy: Policy, preparation: Preparation, resume_from: Path | None
    ) -> tuple[Learner, State]:
        if resume_from is None:
            preparation.prepare(policy)
            return SingleLearner(policy, preparation.new_optimiser(policy)), {}
        return _resume(policy, preparation, resume_from)

    def gather(self, values: dict[int, Any]) -> dict[int, Any]:
        return values

    def agree(self, value: Any) -> Any:
        return value

    def close(self) -> None:
        pass


def _resume(policy: Policy, preparation: Preparation, folder: Path) -> tuple[Learner, State]:
    """`policy` is the run's start, to which an adapter is applied again."""
    if checkpoint.is_sharded(folder):
        # Imports torch.distributed, which a single process has no other use for.
        from trainer.distributed.sharded_checkpoint import load_sharded

        preparation.prepare(policy)
        optimiser = preparation.new_optimiser(policy)
        return SingleLearner(policy, optimiser), load_sharded(folder, policy, optimiser, rank=0, world=1)
    saved = checkpoint.read_single(folder)
    if not saved["adapter"]:
        device = policy.device
        policy = load_policy(folder)
        policy.model.to(device)
    preparation.prepare(policy)
    optimiser = preparation.new_optimiser(policy)
    load_adapter(policy.model, saved["adapter"])
    optimiser.load_state_dict(saved["optimiser"])
    return SingleLearner(policy, optimiser), checkpoint.state_of(saved)


SINGLE = SingleProcess()
