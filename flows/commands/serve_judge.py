"""`spo serve-judge`: the judge over HTTP, and its token."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.common import DATA
from flows.display.terminal import echo

if TYPE_CHECKING:
    import socket

TOKEN_VARIABLE = "SPO_JUDGE_TOKEN"
TOKEN_NAME = "judge-token"


def serve_judge(
    host: Annotated[
        str, typer.Option(help="Address to listen on; any other than loopback needs a token of your own.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")
    ] = 8080,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Number of sandbox workers; default: three per two cores.")
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            help="File whose first line is the token;"
            f" default: ${TOKEN_VARIABLE}, else a generated token in the data folder.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
) -> None:
    """Serve the judge over HTTP: `/run_code`, compatible with SandboxFusion (for verl and others), and
    `/judge` for many submissions per request.

    Every request needs the token: `-H "authorization: Bearer $(cat data/judge-token)"`.

    Example: `spo serve-judge --port 8080`, then `curl -H "authorization: Bearer $(cat data/judge-token)" -H
    'content-type: application/json' -d '{"code": "print(1)", "language": "python"}' 127.0.0.1:8080/run_code`
    """
    import uvicorn

    from sandbox import Pool
    from sandbox.service import application, is_loopback, server_config

    everywhere = not is_loopback(host)
    token, origin = judge_token(token_file, everywhere)
    with listening(host, port) as listener, Pool(workers) as pool:
        app = application(pool, token, everywhere)
        address = f"[{host}]" if ":" in host else host
        echo(
            f"judge: http://{address}:{listener.getsockname()[1]}/run_code, {len(pool.workers)} workers,"
            f" {pool.tier}; the token is in {origin}",
            err=True,
        )
        uvicorn.Server(server_config(app)).run(sockets=[listener])


def listening(host: str, port: int) -> socket.socket:
    """A socket that accepts connections. Raises BadParameter where it cannot be had."""
    import socket

    try:
        known = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        family, _, _, _, address = min(known, key=lambda one: one[0] != socket.AF_INET)
        return socket.create_server(address[:2], family=family)
    except OSError as error:
        raise typer.BadParameter(
            f"cannot listen on port {port} of {host}: {error.strerror}", param_hint="--port"
        ) from error


def judge_token(file: Path | None, everywhere: bool) -> tuple[str, str]:
    """The service's token and where it is stored. Raises BadParameter for an invalid token, and `everywhere`
    (other machines can reach the service) if the user chose none.
    """
    from sandbox.service import checked_token

    if file:
        token, origin = (file.read_text().splitlines() or [""])[0].strip(), str(file)
    elif TOKEN_VARIABLE in os.environ:
        token, origin = os.environ[TOKEN_VARIABLE].strip(), f"${TOKEN_VARIABLE}"
    elif everywhere:
        raise typer.BadParameter(
            f"other machines can reach it; give --token-file, or set {TOKEN_VARIABLE}", param_hint="--host"
        )
    else:
        token, origin = generated_token(DATA / TOKEN_NAME), str(DATA / TOKEN_NAME)
    try:
        checked_token(token)
    except ValueError as error:
        raise typer.BadParameter(f"{origin}: {error}", param_hint="--token-file") from error
    return token, origin


def generated_token(file: Path) -> str:
    """The token in a file that only its owner can read, generated if the file is missing. Raises BadParameter
    if other users can read it.
    """
    import secrets
    import stat
    import tempfile

    file.parent.mkdir(parents=True, exist_ok=True)
    if not os.path.lexists(file):
        descriptor, partial = tempfile.mkstemp(dir=file.parent)  # mode 0600
        with open(descriptor, "w") as new:
            new.write(secrets.token_urlsafe(32) + "\n")
        with contextlib.suppress(FileExistsError):  # if two processes start at once, the first token is used
            os.link(partial, file)
        os.unlink(partial)
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise typer.BadParameter(
            f"{file}: {error.strerror}; remove it to generate a new token", param_hint="--token-file"
        ) from error
    with open(descriptor) as opened:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
            raise typer.BadParameter(
                f"{file} is not a file that only you can read; remove it to generate a new token",
                param_hint="--token-file",
            )
        return opened.readline().strip()
