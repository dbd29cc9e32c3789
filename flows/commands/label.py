"""`spo label`: judge programs in the sandbox."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.commands.common import (
    STORE,
    FollowOption,
    JsonOption,
    PartsOption,
    RunnerOption,
    StoreOption,
    TimeFactorOption,
    UntilOption,
    finish,
    open_store,
    use_server,
)


def label(
    workers: Annotated[
        int | None, typer.Option(min=1, help="Sandbox workers; default: three for every two cores.")
    ] = None,
    time_factor: TimeFactorOption = 1.0,
    follow: FollowOption = False,
    until: UntilOption = None,
    runner: RunnerOption = None,
    parts: PartsOption = None,
    store: StoreOption = STORE,
    as_json: JsonOption = False,
) -> None:
    """Judge every program that has no verdict yet, in the sandbox.

    Examples: `spo label` -- `spo label --workers 4 --json` -- `spo label --follow` -- `spo label --runner
    dask`
    """
    if follow:
        from flows.serving.following import Grader, follow_aloud
        from sandbox import Pool

        with Pool(workers, time_factor=time_factor) as pool:
            return finish(follow_aloud("label", Grader(open_store(store), pool, until).work), as_json)
    use_server()
    from flows.stages.label import label_flow

    finish(label_flow(str(store), workers, runner, parts, time_factor), as_json)
