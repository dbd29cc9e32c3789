"""`spo serve`, `spo deploy` and `spo up`: what runs by itself, and the server it reports to."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.common import JsonOption, finish, use_server

if TYPE_CHECKING:
    from flows.serving.schedule import Schedule

FileArgument = Annotated[Path, typer.Argument(help="Schedule file in TOML; flows/README.md has an example.")]
DatabaseOption = Annotated[
    str | None,
    typer.Option(
        help="Database of a new server, e.g. postgresql+asyncpg://spo@localhost/prefect; default: SQLite in the data folder."
    ),
]


def serve(file: FileArgument) -> None:
    """Register what a schedule file says, and run it when it is due, in this process, until Ctrl-C.

    Example: `spo serve schedule.toml`
    """
    from flows.serving.schedule import load_schedule

    schedule = load_schedule(file)
    os.environ.setdefault(
        "PREFECT_SERVER_REGISTER_BLOCKS_ON_START", "true"
    )  # a server that lasts has the whole of its UI
    use_server(serves=True)
    from flows.serving.deployments import serve_schedule

    show(schedule)
    serve_schedule(schedule, file)
    typer.echo("served no more; the schedules are paused until the next spo serve", err=True)


def deploy(
    file: FileArgument,
    pool: Annotated[str, typer.Option(help="Work pool; made, of type process, if it is not there.")] = "spo",
    as_json: JsonOption = False,
) -> None:
    """Put what a schedule file says on a work pool of the server that PREFECT_API_URL names; workers on any machine run it.

    Example: `spo deploy schedule.toml --pool graders`, then on each machine: `prefect worker start --pool graders`
    """
    from flows.serving.schedule import load_schedule

    schedule = load_schedule(file)
    use_server()
    from flows.serving.deployments import deploy_schedule

    names = deploy_schedule(schedule, file, pool)
    show(schedule)
    typer.echo(f"on work pool {pool}; run them with: prefect worker start --pool {pool}", err=True)
    finish({"pool": pool, "deployments": names}, as_json)


def show(schedule: Schedule) -> None:
    """What runs when, as a table."""
    from flows.display.terminal import show_table

    rows = [
        {"stage": entry.stage, "name": entry.name, "when": when_of(schedule, entry)}
        for entry in schedule.entries()
    ]
    show_table(f"Into {schedule.location()}", rows)


def when_of(schedule: Schedule, entry) -> str:
    times = [f"cron {entry.cron} ({schedule.timezone})"] if entry.cron else []
    times += [f"every {entry.interval_s:g} s"] if entry.interval_s else []
    times += [
        f"every {when.labelled_rows:,} new verdicts" for when in schedule.when if when.run == entry.name
    ]
    times += ["in the chain"] if entry in (schedule.steps_of_chain() if schedule.chain else []) else []
    return ("paused: " if entry.paused else "") + (", ".join(times) or "when asked to")


def up(
    port: Annotated[int, typer.Option(help="Port of Prefect's server and UI.")] = 4200,
    database: DatabaseOption = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; anything but loopback is open to all who reach it.")
    ] = "127.0.0.1",
) -> None:
    """Start Prefect's server with its UI on loopback, on the database that flows report to.

    Examples: `spo up` -- `spo up --database postgresql+asyncpg://spo:secret@localhost/prefect`
    """
    from flows.runtime.engine import api_url, check_database, record_server, server_command

    if database:
        os.environ["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = check_database(database)
    os.environ.setdefault(
        "PREFECT_SERVER_UI_API_URL", api_url(port) if host == "127.0.0.1" else f"http://{host}:{port}/api"
    )
    record_server(api_url(port), os.getpid())
    typer.echo(f"Prefect's UI: http://{host}:{port}", err=True)
    command = server_command(port, host)
    os.execv(command[0], command)
