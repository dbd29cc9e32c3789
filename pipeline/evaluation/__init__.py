"""Evaluation: pass@k over problems and seeds (`aggregate`), its intervals (`intervals`), paired comparison
(`comparison`), and the report of a run (`report/`). The rules by which evaluations become numbers are written
in `aggregate`, and nowhere else.
"""

from pipeline.evaluation.aggregate import (
    KS,
    METRICS,
    by_group,
    mean_entropy,
    per_problem,
    rates,
    run_name,
    verdict_mix,
    without_seed,
)
from pipeline.evaluation.comparison import (
    Difference,
    NotComparable,
    Pairing,
    SeedResult,
    compare,
    difference,
    differences,
    pair,
    policies_of,
)
from pipeline.evaluation.intervals import Estimate, over_problems

__all__ = [
    "KS",
    "METRICS",
    "Difference",
    "Estimate",
    "NotComparable",
    "Pairing",
    "SeedResult",
    "by_group",
    "compare",
    "difference",
    "differences",
    "mean_entropy",
    "over_problems",
    "pair",
    "per_problem",
    "policies_of",
    "rates",
    "run_name",
    "verdict_mix",
    "without_seed",
]
