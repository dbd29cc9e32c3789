"""Objectives: what a run minimises. One file per algorithm, with its settings, its needs and its pure
functions.

`base.py` says what an objective is; `registry.py` lists them by name. The mathematics is functions on tensors
whose shapes are in their types and are checked in the tests. Nothing here knows of files, models or the
store.
"""

from trainer.objectives.base import (
    Batch,
    Loss,
    Needs,
    Objective,
    ObjectiveSettings,
    RewardSamples,
    ValueNetworkSettings,
)
from trainer.objectives.registry import OBJECTIVES, AnyObjectiveSettings, settings_class
from trainer.objectives.spo import SpoSettings

__all__ = [
    "OBJECTIVES",
    "AnyObjectiveSettings",
    "Batch",
    "Loss",
    "Needs",
    "Objective",
    "ObjectiveSettings",
    "RewardSamples",
    "SpoSettings",
    "ValueNetworkSettings",
    "settings_class",
]
