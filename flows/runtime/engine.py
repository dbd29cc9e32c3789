"""Prefect's surroundings: where its database lies, what it must not send, and the server that flows report to.

Prefect reads its settings from the environment when it is imported, so this module comes first (see `flows/__init__.py`).
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path

DATA = Path(os.environ.get("SPO_DATA_DIR", "data"))
STARTUP_LIMIT_S = 300.0  # a new database is migrated first
PR_SET_PDEATHSIG = 1
PORTS_TRIED = 3
# What a flow's run needs of it, if not its server.
PREFECT_MODULES = (
    "prefect.main",
    "prefect.artifacts",
    "prefect.events",
    "prefect.flow_engine",
    "prefect.task_engine",
)
ANSWER_WITHIN_S = 30.0  # of a machine that is busy; nobody at all is known at once

DEFAULTS = {
    "PREFECT_HOME": str((DATA / "prefect").resolve()),
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    # The terminal shows our own progress, and warnings; what runs say goes to the server.
    "PREFECT_LOGGING_LEVEL": "WARNING",
    "PREFECT_LOGGING_LOGGERS_PREFECT_FLOW_RUNS_LEVEL": "INFO",
    "PREFECT_LOGGING_LOGGERS_PREFECT_TASK_RUNS_LEVEL": "INFO",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "WARNING",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    # A run that was interrupted says so once; it does not wait minutes for a server that is gone.
    "PREFECT_CLIENT_MAX_RETRIES": "2",
    # Slots that a killed run held are given back when their lease ends, also if the server was killed with it.
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
    # What the server looks for every five seconds, whether anything runs or not, though nobody waits for it.
    "PREFECT_SERVER_SERVICES_LATE_RUNS_LOOP_SECONDS": "30",
    "PREFECT_SERVER_SERVICES_PAUSE_EXPIRATIONS_LOOP_SECONDS": "60",
    "PREFECT_SERVER_SERVICES_CLEANUP_RECONCILER_LOOP_SECONDS": "60",
    "PREFECT_SERVER_EVENTS_PROACTIVE_GRANULARITY": "PT15S",
}
# Of a server that lives as long as one command.
EMBEDDED = {
    "PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "false",  # its catalogue of blocks takes a third of its start; `spo up` has it
}

# By these a server that outlives a run finds out that its process is gone, see `flows/serving/deployments.py`. No other run has them:
# a run waits up to a second for the end of its own.
HEARTBEATS = {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30"}

for name, value in DEFAULTS.items():
    os.environ.setdefault(name, value)


class ServerError(RuntimeError):
    """Prefect's server did not start; the message names its log."""


def use_server(serves: bool = False) -> str:
    """Make this process's flows report to a server, and return its address: PREFECT_API_URL if set, else the one that runs on
    our database, else a new one on loopback that lives as long as this process, which `serves` runs of others if it says so.

    The server has a session of its own, so that Ctrl-C reaches the flows and not the server they report to.
    """
    home = Path(os.environ["PREFECT_HOME"])
    url = os.environ.get("PREFECT_API_URL") or running_server(home)
    if url or serves:
        for name, value in HEARTBEATS.items():
            os.environ.setdefault(name, value)
    url = url or start_server(home, meanwhile=report_to)
    report_to(url)
    return url


def report_to(url: str) -> None:
    """Have Prefect in this process, and in those that it starts, talk to the server at this address. Imports Prefect."""
    known = os.environ.get("PREFECT_API_URL")
    os.environ["PREFECT_API_URL"] = url
    if url.startswith("http://") and "PREFECT_API_SSL_CERT_FILE" not in os.environ:
        os.environ["PREFECT_API_SSL_CERT_FILE"] = str(one_authority())
    if "prefect" not in sys.modules:
        import_prefect()
    elif url != known:  # it has read its settings without this one, and would start a server of its own
        from prefect.context import refresh_global_settings_context

        refresh_global_settings_context()


def import_prefect() -> None:
    """Import Prefect: 180,000 objects that stay. The collector of garbage would go through them again and again while they
    are made, and once more at the end of the process, for a quarter of the time that Prefect takes."""
    gc.disable()
    try:
        for name in PREFECT_MODULES:
            import_module(name)
    finally:
        gc.enable()
    if (
        "duckdb" not in sys.modules
    ):  # it complains at the end of a process about objects of its own that are not collected
        gc.freeze()


def one_authority() -> Path:
    """A file with the first certificate of the usual list. Prefect's clients, of which a run has several, each read the list,
    20 ms of it, also for a server without TLS."""
    import certifi

    end = "-----END CERTIFICATE-----\n"
    path = Path(os.environ["PREFECT_HOME"]) / "authority.pem"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}")
        partial.write_text(Path(certifi.where()).read_text().partition(end)[0] + end)
        os.replace(partial, path)
    return path


def running_server(home: Path) -> str | None:
    """Address of the server that was started on this database last, if it answers."""
    try:
        url = json.loads((home / "server.json").read_text())["url"]
    except (OSError, ValueError, KeyError):
        return None
    return url if is_ours(url, home) else None


def start_server(
    home: Path, ports: Iterable[int] | None = None, meanwhile: Callable[[str], None] = lambda url: None
) -> str:
    """Start a server on the first of these ports that nobody takes before it; Prefect's usual one, then free ones.

    `meanwhile(url)` is called while it starts, which takes seconds; the port may yet turn out to be taken.
    """
    home.mkdir(parents=True, exist_ok=True)
    log = home / "server.log"
    for port in ports or (free_port() for _ in range(PORTS_TRIED)):
        if server := started_server(home, port, log, meanwhile):
            atexit.register(server.terminate)
            record_server(api_url(port), server.pid)
            return api_url(port)
    raise ServerError(f"Prefect's server did not start; see {log}")


def started_server(
    home: Path, port: int, log: Path, meanwhile: Callable[[str], None]
) -> subprocess.Popen | None:
    """The server, once it answers; None if it ended, as it does where another process took the port meanwhile."""
    with open(log, "ab") as output:
        server = subprocess.Popen(
            server_command(port),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=die_with_parent,
            env={**EMBEDDED, **os.environ, "PREFECT_SERVER_UI_API_URL": api_url(port)},
        )
    meanwhile(api_url(port))
    deadline = time.monotonic() + STARTUP_LIMIT_S
    while not is_ours(api_url(port), home):
        if server.poll() is not None:
            return None
        if time.monotonic() > deadline:
            server.terminate()
            raise ServerError(
                f"Prefect's server did not answer on port {port} within {STARTUP_LIMIT_S:.0f} s; see {log}"
            )
        time.sleep(0.2)
    return server


def is_ours(url: str, home: Path) -> bool:
    """Whether the server that answers there works on our database: a port may have come to be somebody else's."""
    try:
        with urllib.request.urlopen(f"{url}/admin/settings", timeout=ANSWER_WITHIN_S) as answer:
            return Path(json.load(answer)["home"]).resolve() == home.resolve()
    except (OSError, ValueError, KeyError):
        return False


def record_server(url: str, pid: int) -> None:
    """Note which server runs on our database, for the next process."""
    home = Path(os.environ["PREFECT_HOME"])
    home.mkdir(parents=True, exist_ok=True)
    (home / "server.json").write_text(json.dumps({"url": url, "pid": pid}))


def server_command(port: int, host: str = "127.0.0.1") -> list[str]:
    return [sys.executable, "-m", "prefect", "server", "start", "--host", host, "--port", str(port)]


def check_database(url: str) -> str:
    """The URL, if Prefect can use it. Raises ServerError with what to write instead."""
    if not url.startswith(("postgresql+asyncpg://", "sqlite+aiosqlite:///")):
        scheme = url.partition("://")[0]
        raise ServerError(
            f"no database scheme {scheme!r}: postgresql+asyncpg://USER@HOST/NAME or sqlite+aiosqlite:///PATH"
        )
    return url


def api_url(port: int) -> str:
    return f"http://127.0.0.1:{port}/api"


def die_with_parent() -> None:
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def free_port() -> int:
    """Prefect's usual port if nobody has it, else any."""
    for port in (4200, 0):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return probe.getsockname()[1]
    raise ServerError("no free port on loopback")
