"""A training run: its configuration, its plan, and the loop from the stream through the objective to the
published policy.

`config.py` reads the file, `execution.py` puts the parts together, `loop.py` is the loop and `step.py` one
step of it.
"""

from trainer.run.batches import NotReplayed, replay_batch, steps_with_row
from trainer.run.checks import TrainingError, UnmetNeed
from trainer.run.config import SAVED, ConfigError, MixtureConfig, OnlineConfig, RunConfig, load_config
from trainer.run.disk_full import DiskFull
from trainer.run.exclusive import RunBusy
from trainer.run.execution import is_finished, plan, resumes, run
from trainer.run.keys import Key, keys_of, run_keys
from trainer.run.leaks import refuse_leaking
from trainer.run.loop import TrainingJob, train
from trainer.run.optim import OptimiserSettings
from trainer.run.planning import Plan
from trainer.run.replay import ReplayPlan, plan_replay
from trainer.run.settings import TrainingSettings
from trainer.run.weights import change_weights

__all__ = [
    "SAVED",
    "ConfigError",
    "DiskFull",
    "Key",
    "MixtureConfig",
    "NotReplayed",
    "OnlineConfig",
    "OptimiserSettings",
    "Plan",
    "ReplayPlan",
    "RunBusy",
    "RunConfig",
    "TrainingError",
    "TrainingJob",
    "TrainingSettings",
    "UnmetNeed",
    "change_weights",
    "is_finished",
    "keys_of",
    "load_config",
    "plan",
    "plan_replay",
    "refuse_leaking",
    "replay_batch",
    "resumes",
    "run",
    "run_keys",
    "steps_with_row",
    "train",
]
