"""Evaluation of policies: samples on held-out problems, judged, as pass@k, verdicts and token entropy."""

from trainer.evaluation.card import model_card
from trainer.evaluation.evaluator import (
    Evaluation,
    EvaluationError,
    evaluate,
    settings_key,
    stored,
    summary_of,
)

__all__ = ["Evaluation", "EvaluationError", "evaluate", "model_card", "settings_key", "stored", "summary_of"]
