"""Several processes under torchrun that share one model: FSDP2 and distributed checkpoints, on GPUs (NCCL) or CPUs (gloo).

Every rank draws the whole global batch, a pure function, cuts it into the same micro-batches and takes every `world`-th of
them, so that any number of ranks trains on the same rows. A checkpoint of several ranks can be resumed on any number: bit-equal
on as many, within rounding on others, whose sums run in another order.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict, get_state_dict, set_state_dict
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from trainer import checkpoint
from trainer.logprobs import EntropyProbe, Head, TokenBatch, completion_logprobs
from trainer.policy import Policy, load_policy
from trainer.ranks import Ranks
from trainer.stream import Stream


class Whole(nn.Module):
    """Backbone and head in one module, for FSDP gathers the parameters a module owns when its `forward` is called."""

    def __init__(self, model: Any):
        super().__init__()
        self.model = model

    def forward(self, batch: TokenBatch, head: Head, probe: EntropyProbe | None = None) -> tuple[Tensor, Tensor]:
        return completion_logprobs(self.model, batch, head=head, probe=probe)


class Sharded(Ranks):
    """One of several ranks. Adapters and 8-bit moments are for a single process; `trainer.loop.check_settings` says so."""

    def __init__(self, rank: int, world: int, device: torch.device):
        self.rank, self.world, self.device = rank, world, device
        self.whole: Whole | None = None

    @classmethod
    def from_environment(cls) -> Sharded:
        """Join the group that torchrun's environment variables describe."""
        cuda = torch.cuda.is_available()
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if cuda else torch.device("cpu")
        if cuda:
            torch.cuda.set_device(device)
        dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo")
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
        layers = policy.model.base_model.layers
        for layer in layers:
            fully_shard(layer)
        self.whole = Whole(policy.model)
        fully_shard(self.whole)

    def forward(
        self, policy: Policy, head: Head, probe: EntropyProbe | None = None
    ) -> Callable[[TokenBatch], tuple[Tensor, Tensor]]:
        whole = self.whole
        assert whole is not None, "shard() comes first"
        return lambda batch: whole(batch, head, probe)

    def save_checkpoint(
        self, policy: Policy, optimiser: torch.optim.Optimizer, stream: Stream, folder: Path, step: int, more: dict[str, Any]
    ) -> None:
        """Each rank writes its own shards; rank 0 adds the rest, renames the folder and drops old checkpoints."""
        target, partial = folder / f"checkpoint-{step}", folder / f".checkpoint-{step}.partial"
        if self.rank == 0:
            shutil.rmtree(partial, ignore_errors=True)
        dist.barrier()
        model_state, optimiser_state = get_state_dict(policy.model, optimiser)
        dcp.save({"model": model_state, "optimiser": optimiser_state}, checkpoint_id=partial)
        if self.rank == 0:
            policy.model.config.save_pretrained(partial)
            policy.tokenizer.save_pretrained(partial)
            (partial / checkpoint.SHARDED).write_text(json.dumps({"step": step, "stream": stream.state, **more}))
            os.replace(partial, target)
            for old in checkpoint.checkpoints(folder)[:-2]:
                shutil.rmtree(old)
        dist.barrier()

    def load_checkpoint(
        self, folder: Path, policy: Policy, made_ready: Callable[[Policy], torch.optim.Optimizer]
    ) -> tuple[Policy, torch.optim.Optimizer, dict[str, Any]]:
        if not (folder / checkpoint.SHARDED).exists():
            raise checkpoint.CheckpointError(f"{folder} was written by a single process; go on with one process")
        return load_sharded(folder, policy, made_ready)

    def truncate_log(self, folder: Path, steps: int) -> dict[int, dict[str, Any]]:
        return self.agree(checkpoint.truncate_log(folder / checkpoint.LOG, steps) if self.rank == 0 else None)

    def write(self, policy: Policy, target: Path, merge: Callable[[Any], None]) -> None:
        """Gather the policy on rank 0, which writes it like any other."""
        whole = get_model_state_dict(policy.model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
        if self.rank == 0:

            def write(partial: Path) -> None:
                policy.model.save_pretrained(partial, state_dict=whole)
                policy.tokenizer.save_pretrained(partial)

            checkpoint.publish_atomically(target, write)
        dist.barrier()

    def finish(self, policy: Policy, folder: Path, merge: Callable[[Any], None]) -> Policy:
        """Write the final policy whole; every rank then reads it."""
        self.write(policy, folder / "final", merge)
        return load_policy(folder / "final")


def load_sharded(
    folder: Path, policy: Policy, made_ready: Callable[[Policy], torch.optim.Optimizer]
) -> tuple[Policy, torch.optim.Optimizer, dict[str, Any]]:
    """A checkpoint that several ranks wrote, on however many read it: each takes what is its own."""
    optimiser = made_ready(policy)
    model_state, optimiser_state = get_state_dict(policy.model, optimiser)
    state: dict[str, Any] = {"model": model_state, "optimiser": optimiser_state}
    dcp.load(state, checkpoint_id=folder)
    set_state_dict(policy.model, optimiser, model_state_dict=state["model"], optim_state_dict=state["optimiser"])
    return policy, optimiser, json.loads((folder / checkpoint.SHARDED).read_text())
