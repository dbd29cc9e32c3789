"""Finds the Prefect server of a data folder, or starts one that runs while commands use it."""

from __future__ import annotations

import base64
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO

from flows.runtime import record
from flows.runtime.gate import is_loopback
from flows.runtime.record import ServerError, ServerRecord
from flows.runtime.secret import CLIENT, SERVER, explicit_secret

DEFAULT_PORT = 4200
ANOTHER_SERVES = 75  # exit code of a server that found another one on its data folder: EX_TEMPFAIL
_MODULE = "flows.runtime.server"
_STARTUP_LIMIT_S = 300.0  # a new database is migrated first
_ANSWER_LIMIT_S = 30.0
_POLL_S = 0.1
_END_LIMIT_S = 10.0  # for a server that closed its socket and still holds its lock
# For a server that runs as long as a command; without the catalogue of blocks it starts faster.
_EMBEDDED = {"PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "false"}


def server_command(host: str = "127.0.0.1", port: int = DEFAULT_PORT, names: Iterable[str] = ()) -> list[str]:
    """Command line of a server that runs until it is stopped."""
    options = [part for name in names for part in ("--name", name)]
    return [sys.executable, "-m", _MODULE, "--host", host, "--port", str(port), *options]


def api_url(port: int, host: str = "127.0.0.1") -> str:
    """URL on this machine of the API of a server that listens on `host`."""
    host = "127.0.0.1" if host in ("0.0.0.0", "::") else host
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/api"


def check_host(host: str) -> None:
    """Raises ServerError for a server that other machines can reach, unless the user chose its secret."""
    if not is_loopback(host) and explicit_secret() is None:
        raise ServerError(
            f"other machines can reach {host}: set {SERVER}=USER:PASSWORD here,"
            f" and {CLIENT} to the same value there"
        )


def check_no_server(home: Path) -> None:
    """Raises ServerError if a permanent server uses a data folder already."""
    server = record.find(home)
    if server and not server.embedded:
        raise ServerError(running_line(server))


def running_line(server: ServerRecord) -> str:
    """One line that says where a server runs, or that it is starting."""
    state = "is starting" if server.url is None else f"already runs at {server.url.removesuffix('/api')}"
    return f"a Prefect server of this data folder {state} (process {server.pid})"


def running_server(home: Path) -> str | None:
    """URL of the server that uses a data folder; waits while it starts or exits. None if there is none.

    A server that is exiting, or was just killed, refuses connections before the kernel releases its lock.
    """
    deadline = time.monotonic() + _STARTUP_LIMIT_S
    refused_until = None
    while (server := record.find(home)) and not (server.url and _accepts(server.url)):
        now = time.monotonic()
        if server.url:
            refused_until = refused_until or now + _END_LIMIT_S
        if now > min(deadline, refused_until or deadline):
            raise ServerError(f"{running_line(server)}, but does not answer; see {_log(home)}")
        time.sleep(_POLL_S)
    return server.url if server else None


def _accepts(url: str) -> bool:
    """Whether something listens at an address of this machine."""
    address = urllib.parse.urlsplit(url)
    try:
        socket.create_connection((address.hostname, address.port), timeout=_ANSWER_LIMIT_S).close()
    except OSError:
        return False
    return True


def start_server(home: Path, meanwhile: Callable[[str], None] = lambda url: None) -> str:
    """Start a server on loopback for this process and for other commands that use it; return its URL.

    If another process starts one at the same time, that one is awaited and used. `meanwhile(url)` is called
    while the server starts, which takes seconds; the URL that is returned may differ.
    """
    record.join(home)
    while True:
        with _free_socket() as listening, open(_log(home), "ab") as output:
            server = _spawned(listening, output)
            url = api_url(listening.getsockname()[1])
        meanwhile(url)
        ready_url = _await_start(home, server) or running_server(home)
        if ready_url:
            return ready_url


def check_access(url: str, secret: str | None) -> None:
    """Raises ServerError if a server does not accept this secret, or does not answer."""
    if "PREFECT_API_KEY" in os.environ:
        return  # Prefect Cloud has its own kind of login
    headers = {"Authorization": f"Basic {base64.b64encode(secret.encode()).decode()}"} if secret else {}
    request = urllib.request.Request(f"{url}/admin/version", headers=headers)
    try:
        urllib.request.urlopen(request, timeout=_ANSWER_LIMIT_S).close()
    except urllib.error.HTTPError as error:
        if error.code == 401:
            raise ServerError(f"the Prefect server at {url} requires its secret: set {CLIENT}") from error
    except OSError as error:
        if url.startswith("http://"):  # with TLS, Prefect may succeed through its own settings
            raise ServerError(f"the Prefect server at {url} does not answer: {error}") from error


def check_database(url: str) -> str:
    """The URL, if Prefect can use it. Raises ServerError that says what to write instead."""
    if not url.startswith(("postgresql+asyncpg://", "sqlite+aiosqlite:///")):
        scheme = url.partition("://")[0]
        raise ServerError(
            f"unknown database scheme {scheme!r}; use postgresql+asyncpg://USER@HOST/NAME"
            " or sqlite+aiosqlite:///PATH"
        )
    return url


def _spawned(listening: socket.socket, output: IO[bytes]) -> subprocess.Popen:
    """A server process in its own session: Ctrl-C reaches the flows, but not their server."""
    return subprocess.Popen(
        [sys.executable, "-m", _MODULE, "--inherited", str(listening.fileno())],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
        pass_fds=[listening.fileno()],
        env=_EMBEDDED | os.environ,
    )


def _await_start(home: Path, server: subprocess.Popen) -> str | None:
    """URL of the server once it listens; None if another server uses the folder."""
    deadline = time.monotonic() + _STARTUP_LIMIT_S
    while server.poll() is None:
        running = record.find(home)
        if running and running.pid == server.pid and running.url:
            return running.url
        if time.monotonic() > deadline:
            server.terminate()
            raise ServerError(f"Prefect's server did not start in {_STARTUP_LIMIT_S:.0f} s; see {_log(home)}")
        time.sleep(_POLL_S)
    if server.returncode == ANOTHER_SERVES:
        return None
    raise ServerError(f"Prefect's server did not start; see {_log(home)}")


def _free_socket() -> socket.socket:
    """A socket bound to Prefect's default port, or to any free one. The process that inherits it owns the
    port.
    """
    listening = socket.socket()
    try:
        listening.bind(("127.0.0.1", DEFAULT_PORT))
    except OSError:
        listening.bind(("127.0.0.1", 0))
    return listening


def _log(home: Path) -> Path:
    return home / "server.log"
