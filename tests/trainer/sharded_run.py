"""One rank of training runs under torchrun, one after another: `sharded_run.py '[["run.toml", STOP_AFTER or
null], ...]'`.

A run that stops after step -N stops after step N as if it had been killed before the step was logged.
"""

import json
import sys
from pathlib import Path

import torch

from trainer.distributed import Ranks, ranks_of_environment
from trainer.run import load_config, run


class Stopped(Exception):
    """Stands for processes that end between two steps."""


def run_until(path: Path, stop_after: int | None, ranks: Ranks) -> None:
    config = load_config(path)

    def on_step(figures: dict) -> None:
        if stop_after is not None and figures["step"] == abs(stop_after):
            raise Stopped

    try:
        run(config, on_step=on_step, ranks=ranks)
    except Stopped:
        if ranks.rank == 0 and stop_after < 0:
            log = config.run / "metrics.jsonl"
            log.write_text("".join(log.read_text().splitlines(keepends=True)[:-1]))
        ranks.agree(None)  # none of the ranks goes on before rank 0 has stopped writing


if __name__ == "__main__":
    torch.set_num_threads(1)
    ranks = ranks_of_environment()
    for path, stop_after in json.loads(sys.argv[1]):
        run_until(Path(path), stop_after, ranks)
    ranks.close()
