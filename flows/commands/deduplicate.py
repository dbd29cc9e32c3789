"""`spo deduplicate`: mark equal and nearly equal programs."""

from __future__ import annotations

from flows.commands.common import (
    STORE,
    JsonOption,
    PartsOption,
    RunnerOption,
    StoreOption,
    finish,
    is_small_store,
    show_next,
    use_server,
    works_alone,
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
    if works_alone(store, runner) and is_small_store(store):
        from flows.work.deduplicate import deduplicate_store

        result = deduplicate_store(str(store))
    else:
        use_server()
        from flows.stages.deduplicate import deduplicate_flow

        result = deduplicate_flow(str(store), runner, parts)
    show_next(store, "spo decontaminate", "spo label")
    finish(result, as_json)
