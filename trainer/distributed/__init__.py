"""Where training runs: one process, or several that share a model (`sharded.py`, imported only under torchrun); checkpoints."""

from trainer.distributed.checkpoint import ask_weights, checkpoints, publish_atomically, write_whole
from trainer.distributed.ranks import SINGLE, Ranks

__all__ = ["SINGLE", "Ranks", "ask_weights", "checkpoints", "publish_atomically", "write_whole"]
