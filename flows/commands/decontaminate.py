"""`spo decontaminate`: what would give an evaluation set away, marked and reported."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.commands.common import STORE, JsonOption, StoreOption, finish, open_store, show_next, use_server


def decontaminate(
    evaluation: Annotated[
        str,
        typer.Option(
            help="SQL condition on `problems` that chooses the evaluation set, e.g. \"source = 'livecodebench'\"."
        ),
    ] = "split = 'test'",
    store: StoreOption = STORE,
    as_json: JsonOption = False,
) -> None:
    """Mark problems and trajectories that would give the evaluation set away; corpora leave them out by
    `clean_trajectories`.

    Nothing is deleted. Look closer with `spo sql @leaks` and `spo sql "select * from contaminated"`.

    Examples: `spo decontaminate` -- `spo decontaminate --evaluation "source = 'livecodebench'"`
    """
    open_store(store)
    use_server()
    from flows.stages.decontaminate import decontaminate_flow

    found = decontaminate_flow(store, evaluation)
    show_next(
        store,
        "spo corpus publish FILE    # a query that selects from clean_trajectories leaves out what is marked",
    )
    finish(found, as_json)
