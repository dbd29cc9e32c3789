"""Evaluation of policies: samples on held-out problems, judged, as pass@k, verdicts and token entropy."""

from trainer.evaluation.evaluator import Evaluation, evaluate, settings_key, stored, summary_of

__all__ = ["Evaluation", "evaluate", "settings_key", "stored", "summary_of"]
