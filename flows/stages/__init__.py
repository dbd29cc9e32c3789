"""One Prefect flow per stage of the pipeline, one file per stage.

A stage may run again at any time: finished work costs only a look-up. Parameters are paths and plain
settings, never data; flows share only the store. A task imports the trainer, and with it torch, only where it
needs it: a labelling run that starts every few minutes should not load torch. For the same reason the stages
that sample policies (`policies.py`, `rollouts.py`) and those that only schedules need (`recurring.py`) are
imported by their own names.
"""

from flows.stages.decontaminate import decontaminate_flow
from flows.stages.deduplicate import deduplicate_flow
from flows.stages.evaluate import evaluate_flow
from flows.stages.ingest import ingest_flow
from flows.stages.label import label_flow
from flows.stages.maintain import maintain_flow
from flows.stages.publish import publish_flow
from flows.stages.report import report_flow
from flows.stages.score import score_flow
from flows.stages.train import train_flow

__all__ = [
    "decontaminate_flow",
    "deduplicate_flow",
    "evaluate_flow",
    "ingest_flow",
    "label_flow",
    "maintain_flow",
    "publish_flow",
    "report_flow",
    "score_flow",
    "train_flow",
]
