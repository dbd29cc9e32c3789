"""Checkpoints of a run: their folders, how they are written whole or not at all, and the format of a
single process.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch

from trainer.policies import Policy, adapter_state

SHARDED = "sharded.json"  # in a checkpoint that several ranks wrote: what a single process has under `state`
NEWEST = 2  # checkpoints that are kept


def checkpoints(run_folder: Path) -> list[Path]:
    """Checkpoints of a run, oldest first."""
    return sorted(run_folder.glob("checkpoint-*"), key=step_of)


def folder_of(run_folder: Path, step: int) -> Path:
    """Where the checkpoint before a step is."""
    return run_folder / f"checkpoint-{step}"


def step_of(folder: Path) -> int:
    """The step that a run goes on with from a checkpoint."""
    return int(folder.name.split("-")[1])


def drop_old(run_folder: Path) -> None:
    """Delete all but the newest checkpoints."""
    for old in checkpoints(run_folder)[:-NEWEST]:
        shutil.rmtree(old)


def is_sharded(folder: Path) -> bool:
    """Whether several ranks wrote this checkpoint."""
    return (folder / SHARDED).exists()


def write_single(
    target: Path, policy: Policy, optimiser: torch.optim.Optimizer, state: dict[str, Any]
) -> None:
    """Write policy, optimiser and `state`, which is JSON; of a policy with adapters the adapters alone."""
    adapter = adapter_state(policy.model)
    if not adapter:
        policy.save(target)
    saved = {"optimiser": optimiser.state_dict(), "adapter": adapter, "state": json.dumps(state)}
    torch.save(saved, target / "trainer.pt")


def read_single(folder: Path) -> dict[str, Any]:
    """What `write_single` wrote beside the policy."""
    return torch.load(folder / "trainer.pt", weights_only=True, map_location="cpu")


def state_of(saved: dict[str, Any]) -> dict[str, Any]:
    """The `state` in what `read_single` returned."""
    return json.loads(saved["state"])
