"""Where training runs: one process, or several that share a model; and the checkpoints that either goes on
from.

`base.py` says what the loop needs of both, `single.py` is one process, `fsdp.py` one of several under
torchrun.
"""

import os

from trainer.distributed.base import Learner, Preparation, Ranks
from trainer.distributed.checkpoint import checkpoints, folder_of, step_of
from trainer.distributed.single import SINGLE, SingleLearner, SingleProcess

__all__ = [
    "SINGLE",
    "Learner",
    "Preparation",
    "Ranks",
    "SingleLearner",
    "SingleProcess",
    "checkpoints",
    "folder_of",
    "ranks_of_environment",
    "step_of",
]


def ranks_of_environment() -> Ranks:
    """One process, or what the environment variables of torchrun say."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return SINGLE
    from trainer.distributed.fsdp import (
        FsdpRanks,
    )  # imports torch.distributed, which one process has no use for

    return FsdpRanks()
