"""Shared by the commands: the data folder, common options, and the server that flows report to."""

from __future__ import annotations

import json
import logging
import os
import shlex
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.display.terminal import echo
from flows.runtime.settings import DATA as DATA

if TYPE_CHECKING:
    from pipeline.store import Store

STORE = str(DATA / "store")
# Work up to these sizes is done without Prefect, unless a server runs.
SMALL_BYTES, SMALL_ROWS, SMALL_PENDING, SMALL_SAMPLES = 4_000_000, 10_000, 200, 200

StoreOption = Annotated[
    str, typer.Option("--store", help="The store: a folder or a URL (s3://, gs://, az://).")
]
TimeFactorOption = Annotated[
    float,
    typer.Option(
        min=0.01,
        help="Factor for time limits on a slower machine; it is part of the verdicts' judge version.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="End with one JSON line on stdout.")]
FollowOption = Annotated[
    bool, typer.Option("--follow", help="Keep processing new rows until Ctrl-C or --until.")
]
UntilOption = Annotated[
    str | None,
    typer.Option("--until", help="With --follow: stop when this run is finished and its rows are processed."),
]

RunnerOption = Annotated[
    str | None,
    typer.Option(
        help="threads (this process), dask, ray, or dask@tcp://HOST:8786; default: $SPO_TASK_RUNNER."
    ),
]
PartsOption = Annotated[
    int | None, typer.Option(min=1, help="Number of parts of the work on a cluster; default 8.")
]


def open_store(location: str) -> Store:
    """The store that a command reads. Raises StoreError if it does not exist, so that a mistyped name does
    not look like an empty store.
    """
    from pipeline.store import Store, StoreError

    store = Store(location)
    if not store.exists():
        raise StoreError(
            f"no store at {store.location}; name it with --store, or create one: spo ingest, spo demo"
        )
    return store


def assignments(values: list[str] | None, option: str) -> dict[str, str]:
    """NAME=VALUE pairs of a repeated option. Raises BadParameter that names the option."""
    pairs = {text: text.partition("=") for text in values or []}
    if wrong := [text for text, (name, sign, _) in pairs.items() if not (name and sign)]:
        raise typer.BadParameter(f"{wrong[0]!r} is not NAME=VALUE", param_hint=option)
    return {name: value for name, _, value in pairs.values()}


def works_alone(store: str, runner: str | None = None) -> bool:
    """Whether a command may do a small stage in this process, without Prefect: the store is a local folder,
    no task runner is asked for, and no server runs on the data folder or is named in PREFECT_API_URL.
    """
    from flows.runtime import record

    if "://" in store or runner or os.environ.get("SPO_TASK_RUNNER") or os.environ.get("PREFECT_API_URL"):
        return False
    return record.find(Path(os.environ["PREFECT_HOME"])) is None


def is_small_store(store: str) -> bool:
    """Whether a stage over all programs of a store takes seconds."""
    from pipeline.store import Store

    return Store(store).statistics("trajectories").rows <= SMALL_ROWS


def is_small_source(source: str) -> bool:
    """Whether a source is a file or folder on this machine whose rows are read in seconds."""
    path, size = Path(source), 0
    if not path.is_dir():
        return path.is_file() and path.stat().st_size <= SMALL_BYTES
    for folder, _, names in os.walk(path):
        size += sum(os.lstat(os.path.join(folder, name)).st_size for name in names)
        if size > SMALL_BYTES:
            return False
    return True


def use_server(serves: bool = False) -> None:
    """Connect flows to a server and print the address of its UI. `serves`: this process starts scheduled
    runs.

    From here on Ctrl-C ends the process, whatever Prefect is doing.
    """
    from flows.runtime import engine
    from flows.runtime.interrupts import repeat_interrupts

    repeat_interrupts()
    url = engine.use_server(serves, waiting=lambda: echo("starting Prefect's server ...", err=True))
    echo(f"Prefect's UI: {url.removesuffix('/api')}", err=True)
    keep_tracebacks_off_the_terminal()


def keep_tracebacks_off_the_terminal() -> None:
    """Hide Prefect's tracebacks: a failed run prints one line of ours; its traceback is in the run's log in
    the UI and in spo-error.log.
    """
    import_module("prefect.main")  # sets up logging
    for handler in logging.getLogger().handlers:
        handler.addFilter(
            lambda record: not record.name.startswith(("prefect.flow_runs", "prefect.task_runs"))
        )


def show_next(store: str, *commands: str) -> None:
    """Print the next commands, one per line, with their purpose after a #. A store other than the default is
    added as --store.
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
