"""`spo label`: judge programs in the sandbox."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.commands.common import (
    SMALL_PENDING,
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
    works_alone,
)


def label(
    workers: Annotated[
        int | None, typer.Option(min=1, help="Number of sandbox workers; default: three per two cores.")
    ] = None,
    time_factor: TimeFactorOption = 1.0,
    all_tests: Annotated[
        bool,
        typer.Option("--all-tests", help="Run every test of a program, which the reward `fraction` needs."),
    ] = False,
    follow: FollowOption = False,
    until: UntilOption = None,
    runner: RunnerOption = None,
    parts: PartsOption = None,
    store: StoreOption = STORE,
    as_json: JsonOption = False,
) -> None:
    """Judge every program that has no verdict yet, in the sandbox.

    Examples: `spo label` -- `spo label --workers 4 --json` -- `spo label --all-tests` -- `spo label --follow`
    -- `spo label --runner dask`
    """
    if follow:
        from flows.serving.following import Grader, follow_and_report
        from sandbox import Pool

        with Pool(workers, time_factor=time_factor) as pool:
            return finish(
                follow_and_report("label", Grader(open_store(store), pool, until, all_tests).work), as_json
            )
    if works_alone(store, runner) and few_pending(store):
        from flows.work.label import judge_programs, label_store

        def judge() -> list[dict]:
            return [judge_programs(0, 1, str(store), workers, time_factor, all_tests)]

        return finish(label_store(str(store), judge), as_json)
    use_server()
    from flows.stages.label import label_flow

    finish(label_flow(str(store), workers, runner, parts, time_factor, all_tests=all_tests), as_json)


def few_pending(store: str) -> bool:
    """Whether few programs lack a verdict. Counted from the logs of the tables: repeated judgements of the
    same program make it lower than it is.
    """
    from pipeline.store import Store

    opened = Store(store)
    pending = opened.statistics("trajectories").rows - opened.statistics("verdicts").rows
    return pending <= SMALL_PENDING
