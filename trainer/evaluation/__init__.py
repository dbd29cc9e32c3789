"""Evaluation of policies: samples on held-out problems, judged, as pass@k, verdicts and token entropy."""

from trainer.evaluation.evaluator import (
    Evaluation,
    EvaluationError,
    evaluate,
    settings_key,
    stored,
    summary_of,
)

__all__ = ["Evaluation", "EvaluationError", "evaluate", "settings_key", "stored", "summary_of"]
