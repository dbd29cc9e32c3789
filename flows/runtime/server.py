"""Prefect's server as a process: `python -m flows.runtime.server`. It runs Prefect's application behind
`flows/runtime/gate.py`.

`spo up` executes this module; a command that finds no server starts one (`flows/runtime/starting.py`).
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
import threading
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import IO

import uvicorn

from flows.runtime import record
from flows.runtime.gate import Application, Gate, Names
from flows.runtime.record import ServerError, ServerRecord
from flows.runtime.secret import CLIENT, SERVER, server_secret
from flows.runtime.starting import ANOTHER_SERVES, api_url, check_host, running_line

_POLL_S = 0.5


class _Server(uvicorn.Server):
    """Writes its record only once it listens: until then another process may have the port."""

    def __init__(self, config: uvicorn.Config, file: IO[str], own_record: ServerRecord):
        super().__init__(config)
        self._file, self._record = file, own_record

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        record.write(self._file, self._record)


def application(names: Names) -> Application:
    """Prefect's server and UI behind the gate, with the secret from the environment."""
    from prefect.server.api.server import create_app

    return Gate(create_app(final=True), names)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=4200)
    parser.add_argument("--name", action="append", default=[])
    parser.add_argument(
        "--inherited", type=int, help="socket inherited from the command that starts this server"
    )
    options = parser.parse_args()
    try:
        return _serve(options.host, options.port, Names.of(options.host, options.name), options.inherited)
    except ServerError as error:
        print(f"spo: {error}", file=sys.stderr)
        return 1


def _serve(host: str, port: int, names: Names, inherited: int | None) -> int:
    embedded, home = inherited is not None, Path(os.environ["PREFECT_HOME"]).resolve()
    check_host(host)
    os.environ[SERVER] = os.environ[CLIENT] = server_secret(home)
    file = _claim(home, embedded)
    if file is None:
        return ANOTHER_SERVES
    with file, _bound(host, port) if inherited is None else socket.socket(fileno=inherited) as listening:
        url = api_url(listening.getsockname()[1], host)
        os.environ["PREFECT_SERVER_CORS_ALLOWED_ORIGINS"] = url.removesuffix("/api")
        server = _Server(_configuration(names), file, ServerRecord(os.getpid(), embedded, url))
        if embedded:
            threading.Thread(target=partial(_end_when_unused, server, home), daemon=True).start()
        with suppress(KeyboardInterrupt):
            server.run([listening])
    return 0


def _claim(home: Path, embedded: bool) -> IO[str] | None:
    """The lock of the data folder; None if an embedded server finds another one. A permanent server waits
    until an embedded one exits.
    """
    waits = False
    while (file := record.claim(home, embedded)) is None:
        other = record.find(home)
        if other and embedded:
            return None
        if other and not other.embedded:
            raise ServerError(running_line(other))
        if other and not waits:
            print(f"{running_line(other)} for commands; waiting until they end", file=sys.stderr, flush=True)
            waits = True
        time.sleep(_POLL_S)
    return file


def _bound(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
    except OSError as error:
        raise ServerError(f"{host}, port {port}: {error.strerror}; choose another with --port") from error
    return listening


def _configuration(names: Names) -> uvicorn.Config:
    from prefect.settings import get_current_settings

    settings = get_current_settings().server
    return uvicorn.Config(
        application(names),
        timeout_keep_alive=settings.api.keepalive_timeout,
        ws_ping_interval=settings.api.websocket_ping_interval,
        ws_ping_timeout=settings.api.websocket_ping_timeout,
        log_level=settings.logging_level.lower(),
    )


def _end_when_unused(server: uvicorn.Server, home: Path) -> None:
    users = record.users_file(home)
    while not record.unused(users):
        time.sleep(_POLL_S)
    server.should_exit = True


if __name__ == "__main__":
    sys.exit(main())
