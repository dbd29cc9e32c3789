"""`spo decontaminate`: mark and report training data that would reveal an evaluation set."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from flows.commands.common import (
    STORE,
    JsonOption,
    StoreOption,
    finish,
    is_small_store,
    open_store,
    show_next,
    use_server,
    works_alone,
)


def decontaminate(
    evaluation: Annotated[
        str,
        typer.Option(
            help="SQL condition on `problems` for the evaluation set, e.g. \"source = 'livecodebench'\"."
        ),
    ] = "split = 'test'",
    store: StoreOption = STORE,
    as_json: JsonOption = False,
) -> None:
    """Mark problems and trajectories that would reveal the evaluation set. Corpora that select from
    `clean_trajectories` leave them out.

    Nothing is deleted. Details: `spo sql @leaks` and `spo sql "select * from contaminated"`.

    Examples: `spo decontaminate` -- `spo decontaminate --evaluation "source = 'livecodebench'"`
    """
    open_store(store)
    run: Callable[..., Any]
    if works_alone(store) and is_small_store(store):
        from flows.work.decontaminate import decontaminate_store

        run = decontaminate_store
    else:
        use_server()
        from flows.stages.decontaminate import decontaminate_flow

        run = decontaminate_flow

    result = run(store, evaluation)
    show_next(
        store,
        "spo corpus publish FILE    # a query on clean_trajectories leaves out the marked rows",
    )
    finish(result, as_json)
