"""Objectives: pure functions from log-probabilities and rewards to a loss, one algorithm per file, and the soft value Q0."""

from trainer.objectives.soft_value import DualTemperature, estimate_soft_value
from trainer.objectives.spo import FAILURE_WEIGHT_CAP, Loss, Sequences, Shape, importance_weight, spo_loss

__all__ = [
    "FAILURE_WEIGHT_CAP",
    "DualTemperature",
    "Loss",
    "Sequences",
    "Shape",
    "estimate_soft_value",
    "importance_weight",
    "spo_loss",
]
