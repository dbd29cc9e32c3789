"""Publication of a corpus: the rows that a query selects, at pinned table versions."""

from __future__ import annotations

from prefect import flow, task

from flows.runtime.rules import IN_MEMORY, TASK_RETRIES
from flows.runtime.turns import done
from flows.work.artifacts import report_table
from pipeline.corpora import Spec, publish
from pipeline.store import Store


@flow(name="publish-corpus", flow_run_name="{spec[name]}", **IN_MEMORY)
def publish_flow(store: str, spec: dict) -> dict:
    """Publish a corpus: the rows that a query selects now, at pinned table versions."""
    corpus = publish_task(store, spec)
    new = corpus.pop("new")
    report_table("corpus", f"Corpus {corpus['name']}", [corpus])
    return done(corpus, f"{corpus['rows']:,} rows, corpus {corpus['corpus']}", cached=not new)


@task(name="publish corpus", **TASK_RETRIES)
def publish_task(store: str, spec: dict) -> dict:
    opened = Store(store)
    before = opened.version("corpora")
    corpus = publish(opened, Spec(**spec))
    result = {
        "corpus": corpus.corpus_id,
        "name": corpus.name,
        "rows": len(corpus.rows),
        "reward": corpus.reward,
    }
    return result | {"new": opened.version("corpora") > before}
