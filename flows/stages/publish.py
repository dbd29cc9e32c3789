"""Publish a corpus: the rows that a query selects, at pinned versions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefect import flow, task

from flows.runtime.rules import IN_MEMORY, PATIENT, done
from pipeline.corpora import Spec, publish
from pipeline.store import Store

if TYPE_CHECKING:
    pass


from flows.stages.artifacts import report_table


@flow(name="publish-corpus", flow_run_name="{spec[name]}", **IN_MEMORY)
def publish_flow(store: str, spec: dict) -> dict:
    """Publish a corpus: the rows a query selects now, at pinned versions."""
    corpus = publish_task(store, spec)
    new = corpus.pop("new")
    report_table("corpus", f"Corpus {corpus['name']}", [corpus])
    return done(corpus, f"{corpus['rows']:,} rows, corpus {corpus['corpus']}", cached=not new)


@task(name="publish corpus", **PATIENT)
def publish_task(store: str, spec: dict) -> dict:
    opened = Store(store)
    before = opened.version("corpora")
    corpus = publish(opened, Spec(**spec))
    found = {
        "corpus": corpus.corpus_id,
        "name": corpus.name,
        "rows": len(corpus.rows),
        "reward": corpus.reward,
    }
    return found | {"new": opened.version("corpora") > before}
