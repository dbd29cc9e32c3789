"""What every command shares: where the data lies, the options of all, and the server that flows report to."""

from __future__ import annotations

import json
import logging
import shlex
from importlib import import_module
from typing import TYPE_CHECKING, Annotated

import typer

from flows.display.terminal import echo
from flows.runtime.engine import DATA as DATA

if TYPE_CHECKING:
    from pipeline.store import Store

STORE = str(DATA / "store")

StoreOption = Annotated[
    str, typer.Option("--store", help="Folder or URL (s3://, gs://, az://) of the store.")
]
TimeFactorOption = Annotated[
    float,
    typer.Option(
        min=0.01,
        help="Multiplies time limits, for a slower machine; verdicts carry it in their judge version.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="End with one JSON line on stdout.")]
FollowOption = Annotated[
    bool, typer.Option("--follow", help="Go on with whatever comes, until Ctrl-C or --until.")
]
UntilOption = Annotated[
    str | None, typer.Option("--until", help="With --follow: end when this run is done and nothing is left.")
]

RunnerOption = Annotated[
    str | None,
    typer.Option(help="threads (here), dask, ray, or dask@tcp://HOST:8786; else what SPO_TASK_RUNNER says."),
]
PartsOption = Annotated[int | None, typer.Option(min=1, help="Parts of the work on a cluster; default 8.")]


def open_store(location: str) -> Store:
    """The store that a command reads. Raises StoreError where there is none, for a mistyped name must not
    look empty.
    """
    from pipeline.store import Store, StoreError

    store = Store(location)
    if not store.exists():
        raise StoreError(
            f"no store at {store.location}; name it with --store, or make one: spo ingest, spo demo"
        )
    return store


def assignments(given: list[str] | None, option: str) -> dict[str, str]:
    """NAME=VALUE pairs of a repeated option. Raises BadParameter, naming the option."""
    pairs = {text: text.partition("=") for text in given or []}
    if wrong := [text for text, (name, sign, _) in pairs.items() if not (name and sign)]:
        raise typer.BadParameter(f"{wrong[0]!r} is not NAME=VALUE", param_hint=option)
    return {name: value for name, _, value in pairs.values()}


def use_server(serves: bool = False) -> None:
    """Have flows report to a server, which `serves` others' runs where it says so, and say where its UI is.

    Ctrl-C ends the process from here on, whatever Prefect is doing.
    """
    from flows.runtime import engine
    from flows.runtime.interrupts import insist

    insist()
    url = engine.use_server(serves)
    echo(f"Prefect's UI: {url.removesuffix('/api')}", err=True)
    keep_tracebacks_off_the_terminal()


def keep_tracebacks_off_the_terminal() -> None:
    """A run that fails is one line of ours on the terminal; its traceback is in the run's log in the UI
    and in spo-error.log.
    """
    import_module("prefect.main")  # which sets logging up
    for handler in logging.getLogger().handlers:
        handler.addFilter(
            lambda record: not record.name.startswith(("prefect.flow_runs", "prefect.task_runs"))
        )


def show_next(store: str, *commands: str) -> None:
    """What to do after this, a line each: a command, and behind a # what it is for. A store other than the
    usual is named.
    """
    from flows.display.terminal import console

    where = "" if store == STORE else f" --store {shlex.quote(store)}"
    for number, line in enumerate(commands):
        command, sign, reason = line.partition("    #")
        text = f"{'next:' if number == 0 else '     '} {command}{where}{sign}{reason}"
        console.print(text, highlight=False, markup=False, soft_wrap=True)


def finish(result: object, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(result, default=str))
