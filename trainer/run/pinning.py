"""Corpora of a run are pinned by id, so that a run means the same rows whatever is published under a name
later.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipeline.corpora import CorpusError, corpus_id, list_corpora
from pipeline.store import Store
from trainer.data import Source
from trainer.run.config import SAVED, ConfigError, RunConfig


def with_corpora_pinned(config: RunConfig) -> RunConfig:
    """The configuration with an id for each corpus: the one that the run was begun with, else the newest of
    that name.

    Raises ConfigError, with the source and a suggestion, if there is no such corpus.
    """
    if all(source.corpus is None for source in config.source):
        return config
    store, begun = Store(config.store), pinned_corpora(config)
    pinned = [with_pin(source, store, begun.get(source.name)) for source in config.source]
    return config.model_copy(update={"source": pinned})


def with_pin(source: Source, store: Store, begun: str | None) -> Source:
    if source.corpus is None:
        return source
    if begun is not None and is_named(source.corpus, begun, store):
        return source.model_copy(update={"corpus": begun})
    try:
        return source.model_copy(update={"corpus": corpus_id(store, source.corpus)})
    except CorpusError as error:
        raise ConfigError(f"source {source.name}: corpus: {error}") from error


def pinned_corpora(config: RunConfig) -> dict[str, str | None]:
    """The corpus of each source in the saved configuration of the run; empty for a new run."""
    path = config.run / SAVED
    if not path.exists():
        return {}
    return {source["name"]: source.get("corpus") for source in read_saved(path)["source"]}


def read_saved(path: Path) -> dict[str, Any]:
    """The object in a JSON file of a run's folder. Raises ConfigError if it is damaged."""
    try:
        saved = json.loads(path.read_bytes())
    except ValueError as error:
        raise ConfigError(f"{path}: not JSON: {error}; put it back, or begin another run") from error
    if not isinstance(saved, dict):
        raise ConfigError(f"{path}: not an object; put it back, or begin another run")
    return saved


def is_named(key: str, identity: str, store: Store) -> bool:
    """Whether a key names a corpus: by its name, or by the beginning of its id."""
    if identity.startswith(key):
        return True
    published = list_corpora(store)
    return key in published.filter(published["corpus_id"] == identity)["name"].to_list()
