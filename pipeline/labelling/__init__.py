"""Labelling: programs without a verdict are run in the sandbox, with the checker of their problem."""

from pipeline.labelling.checkers import CheckerMissing, checker_of
from pipeline.labelling.labeller import Judgeables, label

__all__ = ["CheckerMissing", "Judgeables", "checker_of", "label"]
