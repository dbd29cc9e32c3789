"""Checking and repairing a store: what is damaged on the disk, and what can be restored from what is whole.

`check_store` reads every byte and changes nothing; `repair_store` restores log entries from their copies,
checkpoints from the log and compacted files from their sources, and lists the rows that are lost."""

from pipeline.store.checking.check import check_store
from pipeline.store.checking.repair import repair_store
from pipeline.store.checking.report import CheckReport, Finding
from pipeline.store.checking.step import RepairStep

__all__ = ["CheckReport", "Finding", "RepairStep", "check_store", "repair_store"]
