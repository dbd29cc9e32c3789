"""Ingestion: adapters translate files of other systems into rows; admission accepts each row, finds it
present, or quarantines it.
"""

from pipeline.ingest.ingestion import BatchSummary, ingest
from pipeline.ingest.quarantine import Selection, entries, groups, raw_of, retry

__all__ = ["BatchSummary", "Selection", "entries", "groups", "ingest", "raw_of", "retry"]
