"""The library behind the command `spo`, for programs of one's own: what most of them need, under one name.

    import spo

    store = spo.Store("data/store")
    spo.ingest(store, "plain", "problems.jsonl")
    with spo.Pool() as pool:
        spo.label(store, pool)
    with spo.connect(store) as connection:
        print(spo.query(connection, "select verdict, count(*) from judged group by verdict"))

Each name is imported when it is first used, so that a program without training needs no torch. The rooms
behind it (`pipeline`, `trainer`, `sandbox`, `flows`) have more; these names are the ones that stay.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.corpora import Spec as Spec
    from pipeline.corpora import publish as publish
    from pipeline.dedup import deduplicate as deduplicate
    from pipeline.ingest import ingest as ingest
    from pipeline.labelling import label as label
    from pipeline.store import Store as Store
    from pipeline.store import connect as connect
    from pipeline.store import query as query
    from sandbox import Checker as Checker
    from sandbox import Limits as Limits
    from sandbox import Pool as Pool
    from sandbox import Submission as Submission
    from sandbox import Test as Test
    from trainer.data import Mixture as Mixture
    from trainer.data import Source as Source
    from trainer.data import Stream as Stream
    from trainer.evaluation import evaluate as evaluate
    from trainer.policies import load_policy as load_policy
    from trainer.policies import score as score
    from trainer.rollouts import rollout as rollout
    from trainer.run import RunConfig as RunConfig
    from trainer.run import load_config as load_config
    from trainer.run import run as train

# Name -> where it is; `module:name` where it has another name there.
_HOMES = {
    "Store": "pipeline.store",
    "connect": "pipeline.store",
    "query": "pipeline.store",
    "ingest": "pipeline.ingest",
    "deduplicate": "pipeline.dedup",
    "label": "pipeline.labelling",
    "Spec": "pipeline.corpora",
    "publish": "pipeline.corpora",
    "Pool": "sandbox",
    "Submission": "sandbox",
    "Test": "sandbox",
    "Checker": "sandbox",
    "Limits": "sandbox",
    "Mixture": "trainer.data",
    "Source": "trainer.data",
    "Stream": "trainer.data",
    "load_policy": "trainer.policies",
    "score": "trainer.policies",
    "rollout": "trainer.rollouts",
    "RunConfig": "trainer.run",
    "load_config": "trainer.run",
    "train": "trainer.run:run",
    "evaluate": "trainer.evaluation",
}
__all__ = [
    "Checker",
    "Limits",
    "Mixture",
    "Pool",
    "RunConfig",
    "Source",
    "Spec",
    "Store",
    "Stream",
    "Submission",
    "Test",
    "__version__",
    "connect",
    "deduplicate",
    "evaluate",
    "ingest",
    "label",
    "load_config",
    "load_policy",
    "publish",
    "query",
    "rollout",
    "score",
    "train",
]

try:
    __version__ = version("spo")
except PackageNotFoundError:  # a tree that is not installed
    __version__ = "0"


def __getattr__(name: str) -> Any:
    """Import a name of `__all__` when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'spo' has no attribute {name!r}; it has: {', '.join(__all__)}")
    import pkgutil

    from spo.command import refuse_foreign_rooms

    refuse_foreign_rooms()
    home = _HOMES[name]
    value = pkgutil.resolve_name(home if ":" in home else f"{home}:{name}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
