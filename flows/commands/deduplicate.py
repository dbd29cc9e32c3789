"""`spo deduplicate`: mark equal and nearly equal programs."""

from __future__ import annotations

from flows.commands.common import (
    STORE,
    JsonOption,
    PartsOption,
    RunnerOption,
    StoreOption,
    finish,
    show_next,
    use_server,
)


def deduplicate(
    runner: RunnerOption = None,
    parts: PartsOption = None,
    store: StoreOption = STORE,
    as_json: JsonOption = False,
) -> None:
    """Mark equal and nearly equal programs; nothing is deleted.

    Examples: `spo deduplicate` -- `spo deduplicate --runner dask@tcp://10.0.0.1:8786 --store
    s3://bucket/store`
    """
    use_server()
    from flows.stages.deduplicate import deduplicate_flow

    found = deduplicate_flow(str(store), runner, parts)
    show_next(store, "spo decontaminate", "spo label")
    finish(found, as_json)
