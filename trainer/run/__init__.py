"""A training run: its configuration, its plan, and the loop from the stream through the objective to the published policy."""

from trainer.run.config import SAVED, ConfigError, MixtureConfig, OnlineConfig, RunConfig, load_config
from trainer.run.exclusive import RunBusy
from trainer.run.execution import is_finished, plan, resumes, run
from trainer.run.leaks import refuse_leaking
from trainer.run.loop import TrainSettings, publish_atomically, train

__all__ = [
    "SAVED",
    "ConfigError",
    "MixtureConfig",
    "OnlineConfig",
    "RunBusy",
    "RunConfig",
    "TrainSettings",
    "is_finished",
    "load_config",
    "plan",
    "publish_atomically",
    "refuse_leaking",
    "resumes",
    "run",
    "train",
]
