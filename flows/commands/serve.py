"""`spo serve`, `spo deploy`, `spo up` and `spo ui`: scheduled runs, and Prefect's server."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.common import JsonOption, finish, use_server
from flows.display.terminal import echo

if TYPE_CHECKING:
    from flows.serving.schedule import Entry, Schedule

FileArgument = Annotated[Path, typer.Argument(help="Schedule file in TOML (example: flows/README.md).")]
DatabaseOption = Annotated[
    str | None,
    typer.Option(help="Database of the server, e.g. postgresql+asyncpg://spo@db/prefect; default: SQLite."),
]


def serve(file: FileArgument) -> None:
    """Register the entries of a schedule file, and run them at their times, until Ctrl-C.

    Example: `spo serve schedule.toml`
    """
    from flows.serving.schedule import load_schedule

    schedule = load_schedule(file)
    # A server that runs for long has the complete UI.
    os.environ.setdefault("PREFECT_SERVER_REGISTER_BLOCKS_ON_START", "true")
    use_server(serves=True)
    from flows.serving.deployments import serve_schedule

    _show(schedule)
    serve_schedule(schedule, file)
    echo("stopped; the schedules are paused until the next spo serve", err=True)


def deploy(
    file: FileArgument,
    pool: Annotated[
        str, typer.Option(help="Work pool; created with type `process` if it does not exist.")
    ] = "spo",
    as_json: JsonOption = False,
) -> None:
    """Register the entries of a schedule file on a work pool of the server at PREFECT_API_URL. Workers on any
    machine run them.

    Example: `spo deploy schedule.toml --pool graders`, then on each machine: `prefect worker start --pool
    graders`
    """
    from flows.serving.schedule import load_schedule

    schedule = load_schedule(file)
    use_server()
    from flows.serving.deployments import deploy_schedule

    names = deploy_schedule(schedule, file, pool)
    _show(schedule)
    echo(f"on work pool {pool}; run them with: prefect worker start --pool {pool}", err=True)
    finish({"pool": pool, "deployments": names}, as_json)


def _show(schedule: Schedule) -> None:
    """Show the entries and their times as a table."""
    from flows.display.terminal import show_table

    rows = [
        {"stage": entry.stage, "name": entry.name, "when": _when(schedule, entry)}
        for entry in schedule.entries()
    ]
    show_table(f"Into {schedule.location()}", rows)


def _when(schedule: Schedule, entry: Entry) -> str:
    times = [f"cron {entry.cron} ({schedule.timezone})"] if entry.cron else []
    times += [f"every {entry.interval_s:g} s"] if entry.interval_s else []
    times += [
        f"every {when.labelled_rows:,} new verdicts" for when in schedule.when if when.run == entry.name
    ]
    times += ["in the chain"] if entry in (schedule.steps_of_chain() if schedule.chain else []) else []
    return ("paused: " if entry.paused else "") + (", ".join(times) or "on request")


def up(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of Prefect's server and UI.")] = 4200,
    database: DatabaseOption = None,
    host: Annotated[
        str,
        typer.Option(
            help="Address to listen on; if not loopback, set PREFECT_SERVER_API_AUTH_STRING=USER:PASSWORD."
        ),
    ] = "127.0.0.1",
    name: Annotated[
        list[str] | None,
        typer.Option(help="Another host name under which clients reach it, e.g. a proxy's; repeatable."),
    ] = None,
) -> None:
    """Start Prefect's server with its UI, on the database that flows report to, until Ctrl-C.

    Its secret is generated once per data folder; `spo ui` shows it.

    Examples: `spo up` -- `spo up --database postgresql+asyncpg://spo:secret@localhost/prefect`
    """
    from flows.runtime.starting import api_url, check_database, check_host, check_no_server, server_command

    if database:
        os.environ["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = check_database(database)
    check_host(host)
    check_no_server(Path(os.environ["PREFECT_HOME"]))
    address = api_url(port, host).removesuffix("/api")
    echo(f"Prefect's UI starts at {address}, which takes some seconds (spo ui shows the secret)", err=True)
    command = server_command(host, port, name or ())
    os.execv(command[0], command)


def ui(as_json: JsonOption = False) -> None:
    """Show the address of Prefect's UI and the secret that its login asks for.

    Examples: `spo ui` -- `export PREFECT_API_AUTH_STRING=$(spo ui --json | jq -r .secret)`
    """
    from flows.runtime.engine import client_secret
    from flows.runtime.record import ServerError
    from flows.runtime.starting import check_access, running_server

    url = os.environ.get("PREFECT_API_URL") or running_server(Path(os.environ["PREFECT_HOME"]))
    if url is None:
        raise ServerError("no Prefect server runs on this data folder; start one with: spo up")
    check_access(url, secret := client_secret(url))
    access = {"ui": url.removesuffix("/api"), "api": url, "secret": secret}
    typer.echo(
        json.dumps(access) if as_json else f"Prefect's UI: {access['ui']}\nlog in with: {access['secret']}"
    )
