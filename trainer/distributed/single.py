"""Training in one process: nothing is shared, gathered or agreed on."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from trainer.distributed import checkpoint
from trainer.distributed.base import Learner, Preparation, Ranks, State, ValueLearner
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
    publish_sealed,
)


class SingleLearner(Learner):
    """A policy that is whole in this process."""

    def __init__(self, policy: Policy, optimiser: torch.optim.Optimizer, value: ValueLearner | None = None):
        self.policy, self.optimiser, self.value = policy, optimiser, value

    def logprobs(self, batch: TokenBatch, head: Head, entropy_tokens: int) -> CompletionLogprobs:
        return completion_logprobs(self.policy.model, batch, head=head, entropy_tokens=entropy_tokens)

    def save_checkpoint(self, run_folder: Path, step: int, state: State) -> None:
        def write(target: Path) -> None:
            checkpoint.write_single(target, self.policy, self.optimiser, self.value, state)

        publish_sealed(checkpoint.checkpoint_folder(run_folder, step), write)
        checkpoint.drop_old(run_folder, step)

    def write(self, target: Path) -> None:
        merged = self.policy
        if adapter_state(merged.model):
            merged = replace(merged, model=copy.deepcopy(merged.model))
            merge_adapter(merged.model)
        publish_sealed(target, merged.save)

    def finish(self, target: Path) -> Policy:
        merge_adapter(self.policy.model)
        publish_sealed(target, self.policy.save)
        return self.policy


class SingleProcess(Ranks):
    """The only rank."""

    rank = 0
    world = 1

    def start(
        self, policy: Policy, preparation: Preparation, resume_from: Path | None
    ) -> tuple[Learner, State]:
        if resume_from is None:
            return _prepared(policy, preparation), {}
        return _resume(policy, preparation, resume_from)

    def gather(self, values: dict[int, Any]) -> dict[int, Any]:
        return values

    def agree(self, value: Any) -> Any:
        return value

    def close(self) -> None:
        pass


def _prepared(policy: Policy, preparation: Preparation) -> SingleLearner:
    network = preparation.new_value_network(policy)
    preparation.prepare(policy)
    optimiser = preparation.new_optimiser(policy)
    return SingleLearner(policy, optimiser, preparation.new_value_learner(network))


def _resume(policy: Policy, preparation: Preparation, folder: Path) -> tuple[Learner, State]:
    """`policy` is the run's start, to which an adapter is applied again."""
    if checkpoint.is_sharded(folder):
        # Imports torch.distributed, which a single process has no other use for.
        from trainer.distributed.sharded_checkpoint import load_sharded

        learner = _prepared(policy, preparation)
        return learner, load_sharded(folder, policy, learner.optimiser, learner.value, rank=0, world=1)
    saved = checkpoint.read_single(folder)
    if not saved["adapter"]:
        device = policy.device
        policy = load_policy(folder)
        policy.model.to(device)
    learner = _prepared(policy, preparation)
    load_adapter(policy.model, saved["adapter"])
    learner.optimiser.load_state_dict(saved["optimiser"])
    if learner.value:
        learner.value.network.load_state_dict(saved["value"]["network"])
        learner.value.optimiser.load_state_dict(saved["value"]["optimiser"])
    return learner, checkpoint.saved_state(saved)


SINGLE = SingleProcess()
