"""Several processes under torchrun that share one model: FSDP2 and distributed checkpoints, on GPUs (NCCL) or CPUs (gloo).

Every rank draws the whole global batch, a pure function, cuts it into the same micro-batches and takes every `world`-th of
them, so that any number of ranks trains on the same rows. A checkpoint of any number of ranks can be resumed on any other:
bit-equal on as many, within rounding on others, whose sums run in another order. With adapters it holds the adapters alone.
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
import torch.distributed.checkpoint as dcp
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from pipeline.store import name_folder
from trainer.data import Stream
from trainer.distributed import checkpoint
from trainer.distributed.moments import load_moments, part_for, save_moments, spread_moments
from trainer.distributed.ranks import Ranks
from trainer.policies import (
    EntropyProbe,
    Head,
    Policy,
    TokenBatch,
    adapter_state,
    completion_logprobs,
    load_policy,
)

LONGEST_WAIT = timedelta(hours=3)  # of the others for rank 0 while it has fresh samples judged


class Whole(nn.Module):
    """Backbone and head in one module, for FSDP gathers the parameters a module owns when its `forward` is called."""

    def __init__(self, model: Any):
        super().__init__()
        self.model = model

    def forward(
        self, batch: TokenBatch, head: Head, probe: EntropyProbe | None = None
    ) -> tuple[Tensor, Tensor]:
        return completion_logprobs(self.model, batch, head=head, probe=probe)


class Sharded(Ranks):
    """One of several ranks."""

    def __init__(self, rank: int, world: int, device: torch.device):
        self.rank, self.world, self.device = rank, world, device
        self.sharded: Whole | None = None
        self.skeleton: nn.Module | None = (
            None  # the model as it was before it was sharded, its parameters without values
        )

    @classmethod
    def from_environment(cls) -> Sharded:
        """Join the group that torchrun's environment variables describe."""
        cuda = torch.cuda.is_available()
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if cuda else torch.device("cpu")
        if cuda:
            torch.cuda.set_device(device)
        dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", timeout=LONGEST_WAIT)
        return cls(dist.get_rank(), dist.get_world_size(), device)

    def close(self) -> None:
        dist.destroy_process_group()

    def gather(self, found: dict[int, Any]) -> dict[int, Any]:
        parts: list[dict[int, Any]] = [{} for _ in range(self.world)]
        dist.all_gather_object(parts, found)
        return {place: values for part in parts for place, values in part.items()}

    def agree(self, value: Any) -> Any:
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def number(self, value: Any) -> float:
        return float(value.full_tensor() if isinstance(value, DTensor) else value)

    def shard(self, policy: Policy) -> None:
        policy.model.to(self.device)
        self.skeleton = with_parameters(
            policy.model, lambda _, parameter: torch.empty_like(parameter, device="meta")
        )
        for layer in policy.model.base_model.layers:
            fully_shard(layer)
        self.sharded = Whole(policy.model)
        fully_shard(self.sharded)

    def forward(
        self, policy: Policy, head: Head, probe: EntropyProbe | None = None
    ) -> Callable[[TokenBatch], tuple[Tensor, Tensor]]:
        sharded = self.sharded
        assert sharded is not None, "shard() comes first"
        return lambda batch: sharded(batch, head, probe)

    def whole(self, policy: Policy) -> Policy:
        """A copy of the sharded policy as it is now, whole, on every rank's device."""
        return self.gathered(policy, self.device, keep=True)

    def gathered(self, policy: Policy, device: torch.device, *, keep: bool) -> Policy:
        """The parameters of all ranks in one model. Every rank takes part; one that does not keep them gets none."""
        assert self.skeleton is not None, "shard() comes first"
        found: dict[str, Tensor] = {}
        for name, parameter in policy.model.named_parameters():
            full = parameter.detach()
            full = full.full_tensor() if isinstance(full, DTensor) else full
            if keep:
                found[name] = full.to(device, copy=True)
        return replace(
            policy, model=with_parameters(self.skeleton, lambda name, _: found[name]) if keep else None
        )

    def save_checkpoint(
        self,
        policy: Policy,
        optimiser: torch.optim.Optimizer,
        stream: Stream,
        folder: Path,
        step: int,
        more: dict[str, Any],
    ) -> None:
        """Each rank writes its own shards; rank 0 adds the rest, renames the folder and drops old checkpoints."""
        target, partial = folder / f"checkpoint-{step}", folder / f".checkpoint-{step}.partial"
        if self.rank == 0:
            shutil.rmtree(partial, ignore_errors=True)
        dist.barrier()
        dcp.save(sharded_state(policy, optimiser), checkpoint_id=partial)
        if in_8_bits(optimiser):
            save_moments(optimiser, partial, self.rank, self.world)
        dist.barrier()
        if self.rank == 0:
            policy.model.config.save_pretrained(partial)
            policy.tokenizer.save_pretrained(partial)
            (partial / checkpoint.SHARDED).write_text(
                json.dumps({"step": step, "stream": stream.state, **more})
            )
            checkpoint.flush_logs(folder)
            name_folder(partial, target)
            for old in checkpoint.checkpoints(folder)[:-2]:
                shutil.rmtree(old)
        dist.barrier()

    def load_checkpoint(
        self, folder: Path, policy: Policy, made_ready: Callable[[Policy], torch.optim.Optimizer]
    ) -> tuple[Policy, torch.optim.Optimizer, dict[str, Any]]:
        if (folder / checkpoint.SHARDED).exists():
            return load_sharded(folder, policy, made_ready, self.rank, self.world)
        return load_single(folder, policy, made_ready)

    def truncate_log(self, folder: Path, steps: int) -> dict[int, dict[str, Any]]:
        return self.agree(checkpoint.truncate_log(folder / checkpoint.LOG, steps) if self.rank == 0 else None)

    def write(self, policy: Policy, target: Path, merge: Callable[[Any], None]) -> None:
        """Gather the policy on rank 0, which merges adapters and writes it like any other."""
        whole = self.gathered(policy, torch.device("cpu"), keep=self.rank == 0)
        if self.rank == 0:
            merge(whole.model)
            checkpoint.publish_atomically(target, whole.save)
        dist.barrier()

    def finish(self, policy: Policy, folder: Path, merge: Callable[[Any], None]) -> Policy:
        """Write the final policy whole; every rank then reads it."""
        self.write(policy, folder / "final", merge)
        return load_policy(folder / "final")


def with_parameters(model: nn.Module, value: Callable[[str, nn.Parameter], Tensor]) -> Any:
    """A copy of a model that has other parameters, tied where they were tied; `value(name, parameter)` gives each."""
    memo: dict[int, Any] = {
        id(parameter): nn.Parameter(value(name, parameter), requires_grad=parameter.requires_grad)
        for name, parameter in model.named_parameters()
    }
    return copy.deepcopy(model, memo)


def in_8_bits(optimiser: torch.optim.Optimizer) -> bool:
    return not isinstance(optimiser, torch.optim.AdamW)


def sharded_state(policy: Policy, optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    """What a distributed checkpoint holds: adapters alone where there are any, and moments unless they are in 8 bits."""
    model_state = get_model_state_dict(policy.model)
    state: dict[str, Any] = {"model": adapters_of(model_state) or model_state}
    return (
        state
        if in_8_bits(optimiser)
        else state | {"optimiser": get_optimizer_state_dict(policy.model, optimiser)}
    )


def adapters_of(state: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in state.items() if "lora_" in name}


def load_sharded(
    folder: Path,
    policy: Policy,
    made_ready: Callable[[Policy], torch.optim.Optimizer],
    rank: int = 0,
    world: int = 1,
) -> tuple[Policy, torch.optim.Optimizer, dict[str, Any]]:
    """A checkpoint that several ranks wrote, on however many read it: each takes what is its own."""
    optimiser = made_ready(policy)
    state = sharded_state(policy, optimiser)
    dcp.load(state, checkpoint_id=folder)
    set_model_state_dict(
        policy.model, state["model"], options=StateDictOptions(strict=not adapter_state(policy.model))
    )
    if in_8_bits(optimiser):
        load_moments(optimiser, folder, rank, world)
    else:
        set_optimizer_state_dict(policy.model, optimiser, state["optimiser"])
    return policy, optimiser, json.loads((folder / checkpoint.SHARDED).read_text())


def load_single(
    folder: Path, policy: Policy, made_ready: Callable[[Policy], torch.optim.Optimizer]
) -> tuple[Policy, torch.optim.Optimizer, dict[str, Any]]:
    """A checkpoint that a single process wrote, on several ranks: each reads it and keeps its part."""
    saved = checkpoint.read_single(folder)
    if not saved["adapter"]:
        policy = load_policy(folder)
    optimiser = made_ready(policy)
    parameters = dict(policy.model.named_parameters())
    with torch.no_grad():
        for name, whole in saved["adapter"].items():
            parameters[name].copy_(part_for(parameters[name], whole))
    moments = saved["optimiser"]["state"]
    spread_moments(optimiser, [moments[number] for number in sorted(moments)])
    return policy, optimiser, checkpoint.rest_of(saved)
