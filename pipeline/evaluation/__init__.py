"""Evaluation: pass@k over problems and seeds, paired comparison, and the report of a run (`report/`)."""

from pipeline.evaluation.comparison import by_group, compare, mean_entropy, verdict_mix

__all__ = ["by_group", "compare", "mean_entropy", "verdict_mix"]
