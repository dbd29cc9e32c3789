"""Ingestion: adapters translate files of other systems into rows. Admission accepts a row, finds that the
store has it already, or puts it into quarantine.
"""

from pipeline.ingest.ingestion import BatchSummary, ingest
from pipeline.ingest.quarantine import Selection, entries, groups, read_raw, retry

__all__ = ["BatchSummary", "Selection", "entries", "groups", "ingest", "read_raw", "retry"]
