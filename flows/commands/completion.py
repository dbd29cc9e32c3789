"""What the shell offers at Tab: names and ids of the store that the command line names, adapters, objectives.

A store that cannot be read offers nothing: completion never prints an error.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.common import STORE

if TYPE_CHECKING:
    from pipeline.store import Store

MOST = 200  # names that are offered at once


def adapters(incomplete: str) -> list[tuple[str, str]]:
    """Adapters, with what they read."""
    from pipeline.adapters import BUILT_IN

    return [(name, purpose) for name, purpose in BUILT_IN.items() if name.startswith(incomplete)]


def policies(context: typer.Context, incomplete: str) -> list[str]:
    """Policies and runs that are published in the store."""
    return _names(context, incomplete, (("policies", "policy_id"), ("policies", "run_id")))


def corpora(context: typer.Context, incomplete: str) -> list[str]:
    return _names(context, incomplete, (("corpora", "name"),))


def problems(context: typer.Context, incomplete: str) -> list[str]:
    return _names(context, incomplete, (("problems", "problem_id"),))


def records(context: typer.Context, incomplete: str) -> list[str]:
    """Ids of problems, policies and corpora; of trajectories only when four characters are given, which
    leave a few of them.
    """
    tables = [("problems", "problem_id"), ("policies", "policy_id"), ("corpora", "name")]
    if len(incomplete) >= 4:
        tables.append(("trajectories", "trajectory_id"))
    return _names(context, incomplete, tuple(tables))


def objectives(incomplete: str) -> list[str]:
    from trainer.objectives import OBJECTIVES

    return [name for name in sorted(OBJECTIVES) if name.startswith(incomplete)]


def _names(context: typer.Context, incomplete: str, columns: tuple[tuple[str, str], ...]) -> list[str]:
    from pipeline.store import Store

    names: set[str] = set()
    with suppress(Exception):
        store = Store(context.params.get("store") or STORE)
        if store.exists():
            for table, column in columns:
                names |= set(_starting(store, table, column, incomplete))
    return sorted(names)[:MOST]


def _starting(store: Store, table: str, column: str, incomplete: str) -> Iterator[str]:
    import polars as pl

    rows = store.snapshot(table).scan().select(column).drop_nulls()
    yield from rows.filter(pl.col(column).str.starts_with(incomplete)).unique().head(MOST).collect()[column]


PolicyArgument = Annotated[
    str,
    typer.Argument(help="Id or folder of a policy, or a run (its newest policy).", autocompletion=policies),
]
