"""Several processes under torchrun that share one model: FSDP2 and distributed checkpoints, on GPUs (NCCL) or
CPUs (gloo).

Every rank draws the whole global batch, a pure function, cuts it into the same micro-batches and takes every
`world`-th of them, so that any number of ranks trains on the same rows. A checkpoint of any number of ranks
can be resumed on any other.
"""

from __future__ import annotations

import copy
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from pipeline.store import name_folder
from trainer.distributed import checkpoint
from trainer.distributed.base import Learner, Preparation, Ranks, State, ValueLearner
from trainer.distributed.sharded_checkpoint import load_sharded, save_sharded, spread_single
from trainer.policies import (
    CompletionLogprobs,
    Head,
    Policy,
    TokenBatch,
    completion_logprobs,
    load_policy,
    make_way,
    merge_adapter,
    publish_sealed,
    seal,
)

LONGEST_WAIT = timedelta(hours=3)  # of the other ranks for rank 0, while it has fresh samples judged


class _Whole(nn.Module):
    """Backbone and head in one module, because FSDP gathers the parameters of a module when its `forward`
    is called.
    """

    def __init__(self, model: Any):
        super().__init__()
        self.model = model

    def forward(self, batch: TokenBatch, head: Head, entropy_tokens: int) -> CompletionLogprobs:
        return completion_logprobs(self.model, batch, head=head, entropy_tokens=entropy_tokens)


class FsdpLearner(Learner):
    """A policy of which this rank holds a part. `skeleton` is its model before it was sharded, without
    values.
    """

    def __init__(
        self,
        policy: Policy,
        optimiser: torch.optim.Optimizer,
        ranks: FsdpRanks,
        sharded: _Whole,
        skeleton: nn.Module,
        value: ValueLearner | None,
    ):
        self.policy, self.optimiser, self.value = policy, optimiser, value
        self._ranks, self._sharded, self._skeleton = ranks, sharded, skeleton

    def logprobs(self, batch: TokenBatch, head: Head, entropy_tokens: int) -> CompletionLogprobs:
        return self._sharded(batch, head, entropy_tokens)

    def whole(self) -> Policy:
        """A copy of the policy, whole, on every rank's device."""
        return self._gathered(self._ranks.device, keep=True)

    def save_checkpoint(self, run_folder: Path, step: int, state: State) -> None:
        """Each rank writes its own shards; rank 0 adds the rest, renames the folder and drops old
        checkpoints.
        """
        target, first = checkpoint.checkpoint_folder(run_folder, step), self._ranks.rank == 0
        partial = target.with_name(f".{target.name}.partial")
        if first:
            shutil.rmtree(partial, ignore_errors=True)
        dist.barrier()
        save_sharded(partial, self.policy, self.optimiser, self.value, self._ranks.rank, self._ranks.world)
        dist.barrier()
        if first:
            self.policy.model.config.save_pretrained(partial)
            self.policy.tokenizer.save_pretrained(partial)
            self.policy.format.save(partial)
            (partial / checkpoint.SHARDED).write_text(json.dumps(state))
            seal(partial, target.name)
            make_way(target)
            name_folder(partial, target)
            checkpoint.drop_old(run_folder, step)
        dist.barrier()

    def write(self, target: Path) -> None:
        """Gather the policy on rank 0, which merges adapters and writes it like any other."""
        whole = self._gathered(torch.device("cpu"), keep=self._ranks.rank == 0)
        if self._ranks.rank == 0:
            merge_adapter(whole.model)
            publish_sealed(target, whole.save)
        dist.barrier()

    def finish(self, target: Path) -> Policy:
        self.write(target)
        return load_policy(target)

    def _gathered(self, device: torch.device, *, keep: bool) -> Policy:
        """The parameters of all ranks in one model. Every rank takes part; one that does not keep them
        gets no model.
        """
        parameters: dict[str, Tensor] = {}
        for name, parameter in self.policy.model.named_parameters():
            full = parameter.detach()
            full = full.full_tensor() if isinstance(full, DTensor) else full
            if keep:
                parameters[name] = full.to(device, copy=True)
        model = _with_parameters(self._skeleton, lambda name, _: parameters[name]) if keep else None
        return replace(self.policy, model=model)


class FsdpRanks(Ranks):
    """One of several ranks, which the environment variables of torchrun describe."""

    def __init__(self) -> None:
        cuda = torch.cuda.is_available()
        self.device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if cuda else torch.device("cpu")
        if cuda:
            torch.cuda.set_device(self.device)
        dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", timeout=LONGEST_WAIT)
        self.rank, self.world = dist.get_rank(), dist.get_world_size()

    def start(
        self, policy: Policy, preparation: Preparation, resume_from: Path | None
    ) -> tuple[Learner, State]:
        if resume_from is None:
            return self._sharded(policy, preparation), {}
        return self._resume(policy, preparation, resume_from)

    def gather(self, values: dict[int, Any]) -> dict[int, Any]:
        parts: list[dict[int, Any]] = [{} for _ in range(self.world)]
        dist.all_gather_object(parts, values)
        return {index: value for part in parts for index, value in part.items()}

    def agree(self, value: Any) -> Any:
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def close(self) -> None:
        dist.destroy_process_group()

    def _resume(self, policy: Policy, preparation: Preparation, folder: Path) -> tuple[Learner, State]:
        if checkpoint.is_sharded(folder):
            learner = self._sharded(policy, preparation)
            state = load_sharded(
                folder, learner.policy, learner.optimiser, learner.value, self.rank, self.world
            )
            return learner, state
        saved = checkpoint.read_single(folder)
        learner = self._sharded(policy if saved["adapter"] else load_policy(folder), preparation)
        return learner, spread_single(saved, learner.policy, learner.optimiser, learner.value)

    def _sharded(self, policy: Policy, preparation: Preparation) -> FsdpLearner:
        """Prepare a policy and spread its model over the ranks, in place, and its value network."""
        network = preparation.new_value_network(policy)
        preparation.prepare(policy)
        policy.model.to(self.device)
        skeleton = _with_parameters(policy.model, lambda _, p: torch.empty_like(p, device="meta"))
        for layer in policy.model.base_model.layers:
            fully_shard(layer)
        sharded = _Whole(policy.model)
        fully_shard(sharded)
        if network:
            network.to(self.device)
            backbone: Any = network.backbone
            for layer in backbone.layers:
                fully_shard(layer)
            fully_shard(network)
        optimiser, value = preparation.new_optimiser(policy), preparation.new_value_learner(network)
        return FsdpLearner(policy, optimiser, self, sharded, skeleton, value)


def _with_parameters(model: nn.Module, value: Callable[[str, nn.Parameter], Tensor]) -> Any:
    """A copy of a model that has other parameters, tied where they were tied; `value(name, parameter)`
    gives each.
    """
    memo: dict[int, Any] = {
        id(parameter): nn.Parameter(value(name, parameter), requires_grad=parameter.requires_grad)
        for name, parameter in model.named_parameters()
    }
    return copy.deepcopy(model, memo)
