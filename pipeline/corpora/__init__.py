"""Corpora: the rows a query selects, published at pinned versions, compared, and exported as plain Parquet."""

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
    "Corpus",
    "CorpusError",
    "Spec",
    "corpus_id",
    "diff",
    "export",
    "list_corpora",
    "load",
    "publish",
    "read_spec",
]
