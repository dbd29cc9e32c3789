"""Where training runs: one process, or several that share a model; and the checkpoints that either goes on
from.

`base.py` says what the loop needs of both, `single.py` is one process, `fsdp.py` one of several under
torchrun.
"""

import os

from trainer.distributed.base import Learner, Preparation, Ranks, ValueLearner
from trainer.distributed.checkpoint import CheckpointError, checkpoints, newest_whole
from trainer.distributed.single import SINGLE, SingleLearner, SingleProcess

__all__ = [
    "SINGLE",
    "CheckpointError",
    "Learner",
    "Preparation",
    "Ranks",
    "SingleLearner",
    "SingleProcess",
    "ValueLearner",
    "checkpoints",
    "newest_whole",
    "ranks_of_environment",
]


def ranks_of_environment() -> Ranks:
    """One process, or what the environment variables of torchrun say."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return SINGLE
    from trainer.distributed.fsdp import (
        FsdpRanks,
    )  # imports torch.distributed, which one process has no use for

    return FsdpRanks()
