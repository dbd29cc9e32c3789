"""A training run: its configuration, its plan, and the loop from the stream through the objective to the published policy."""

from trainer.run.config import ConfigError, RunConfig, load_config
from trainer.run.execution import CONFIG, plan, resumes, run
from trainer.run.leaks import refuse_leaking
from trainer.run.loop import TrainSettings, publish_atomically, train

__all__ = [
    "CONFIG",
    "ConfigError",
    "RunConfig",
    "TrainSettings",
    "load_config",
    "plan",
    "publish_atomically",
    "refuse_leaking",
    "resumes",
    "run",
    "train",
]
