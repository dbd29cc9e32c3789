"""Labelling: runs programs without a verdict in the sandbox, with the checker of their problem."""

from typing import TYPE_CHECKING

from pipeline.later import exports

if TYPE_CHECKING:
    from pipeline.labelling.checkers import CheckerUnavailable, problem_checker
    from pipeline.labelling.labeller import label
    from pipeline.labelling.submissions import SubmissionBuilder
    from pipeline.labelling.waiting import WaitingRows
else:
    # `spo judge` needs the submissions and not the labeller.
    __getattr__ = exports(
        __name__,
        {
            "checkers": "CheckerUnavailable problem_checker",
            "labeller": "label",
            "submissions": "SubmissionBuilder",
            "waiting": "WaitingRows",
        },
    )

__all__ = ["CheckerUnavailable", "SubmissionBuilder", "WaitingRows", "label", "problem_checker"]
