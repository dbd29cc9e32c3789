"""Checkpoints of a run: their folders, how they are written whole or not at all, which of them a run goes on
from, and the format of a single process.
"""

from __future__ import annotations

import json
import logging
import pickle
from pathlib import Path
from typing import Any

import torch

from trainer.distributed.base import ValueLearner
from trainer.policies import (
    Policy,
    adapter_state,
    damage,
    numbered,
    remove_folder,
    step_number,
)

CHECKPOINT = "checkpoint"
SHARDED = "sharded.json"  # in a checkpoint that several ranks wrote: what a single process has under `state`
NEWEST = 2  # checkpoints that are kept
logger = logging.getLogger(__name__)


class CheckpointError(RuntimeError):
    """A checkpoint that is whole but cannot be read; the message names it."""


def checkpoints(run_folder: Path) -> list[Path]:
    """Checkpoints of a run by step, whose files are there in their full size."""
    return [folder for folder in numbered(run_folder, CHECKPOINT) if damage(folder, content=False) is None]


def newest_whole(run_folder: Path) -> Path | None:
    """The newest checkpoint whose content is what was written, None if there is none.

    Newer ones are named in the log and stay where they are until the run writes their steps again.
    """
    for folder in reversed(numbered(run_folder, CHECKPOINT)):
        wrong = damage(folder)
        if wrong is None:
            return folder
        logger.warning("%s: damaged checkpoint: %s; the run goes on from the one before", folder, wrong)
    return None


def checkpoint_folder(run_folder: Path, step: int) -> Path:
    """Where the checkpoint before a step is."""
    return run_folder / f"{CHECKPOINT}-{step}"


def drop_old(run_folder: Path, step: int) -> None:
    """Delete all but the newest checkpoints up to a step. What is not a checkpoint of this run is neither
    counted nor deleted.
    """
    own = [folder for folder in checkpoints(run_folder) if step_number(folder) <= step]
    for old in own[:-NEWEST]:
        remove_folder(old)


def is_sharded(folder: Path) -> bool:
    """Whether several ranks wrote this checkpoint."""
    return (folder / SHARDED).exists()


def write_single(
    target: Path,
    policy: Policy,
    optimiser: torch.optim.Optimizer,
    value: ValueLearner | None,
    state: dict[str, Any],
) -> None:
    """Write policy, value network, optimisers and `state`, which is JSON; of a policy with adapters only the
    adapters.
    """
    adapter = adapter_state(policy.model)
    if not adapter:
        policy.save(target)
    saved = {"optimiser": optimiser.state_dict(), "adapter": adapter, "state": json.dumps(state)}
    if value:
        saved["value"] = {
            "network": value.network.state_dict(),
            "optimiser": value.optimiser.state_dict(),
        }
    torch.save(saved, target / "trainer.pt")


def read_single(folder: Path) -> dict[str, Any]:
    """What `write_single` wrote beside the policy. Raises CheckpointError."""
    try:
        return torch.load(folder / "trainer.pt", weights_only=True, map_location="cpu")
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"{folder / 'trainer.pt'}: torch cannot read it: {reason[:200]};"
            " rename this checkpoint to go on from the one before"
        ) from error


def saved_state(saved: dict[str, Any]) -> dict[str, Any]:
    """The `state` in what `read_single` returned."""
    return json.loads(saved["state"])
