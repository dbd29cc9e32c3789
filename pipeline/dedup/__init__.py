"""Deduplication and decontamination: equal and nearly equal programs are marked, and what gives an evaluation set away. Nothing is deleted."""

from pipeline.dedup.decontamination import EVALUATION, decontaminate, refuse_leaks
from pipeline.dedup.deduplication import deduplicate, sign_part
from pipeline.dedup.signatures import sign

__all__ = ["EVALUATION", "decontaminate", "deduplicate", "refuse_leaks", "sign", "sign_part"]
