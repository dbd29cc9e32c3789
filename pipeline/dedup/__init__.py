"""Deduplication and decontamination: mark equal and nearly equal programs, and rows that leak the evaluation
set. Nothing is deleted.
"""

from pipeline.dedup.decontamination import EVALUATION, decontaminate, refuse_leaks
from pipeline.dedup.deduplication import deduplicate, sign_part
from pipeline.dedup.signatures import sign

__all__ = ["EVALUATION", "decontaminate", "deduplicate", "refuse_leaks", "sign", "sign_part"]
