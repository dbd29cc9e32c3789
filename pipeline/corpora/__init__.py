"""Corpora: sets of rows selected by a query. Publish them at pinned versions, compare and export them."""

from pipeline.corpora.interchange import INTERCHANGE, export_as
from pipeline.corpora.interchange import LOST as INTERCHANGE_LOST
from pipeline.corpora.parquet_export import export
from pipeline.corpora.publication import (
    Corpus,
    CorpusError,
    Spec,
    corpus_id,
    diff,
    list_corpora,
    load,
    publish,
    read_spec,
)

__all__ = [
    "INTERCHANGE",
    "INTERCHANGE_LOST",
    "Corpus",
    "CorpusError",
    "Spec",
    "corpus_id",
    "diff",
    "export",
    "export_as",
    "list_corpora",
    "load",
    "publish",
    "read_spec",
]
