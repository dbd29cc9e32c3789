"""Prefect in this process: its settings, and the server that flows report to.

Prefect reads its settings from the environment when it is imported, so this module comes first (see
`flows/__init__.py`).
"""

from __future__ import annotations

import gc
import os
import sys
from importlib import import_module
from pathlib import Path

from flows.runtime import record
from flows.runtime.secret import CLIENT, explicit_secret, server_secret
from flows.runtime.starting import check_access, running_server, start_server

DATA = Path(os.environ.get("SPO_DATA_DIR", "data"))
# What a flow's run needs of Prefect, if not its server.
_PREFECT_MODULES = (
    "prefect.main",
    "prefect.artifacts",
    "prefect.events",
    "prefect.flow_engine",
    "prefect.task_engine",
)

DEFAULTS = {
    "PREFECT_HOME": str((DATA / "prefect").resolve()),
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    # The UI's pages talk to the server that they come from, under the name by which the user called it.
    "PREFECT_SERVER_UI_API_URL": "/api",
    # No page of another origin may read an answer; a server of ours puts its own origin here
    # (`flows/runtime/server.py`).
    "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": "http://127.0.0.1:4200",
    # Prefect would start a server without a secret for a process that has no server's address.
    "PREFECT_SERVER_EPHEMERAL_ENABLED": "false",
    # The terminal shows our own progress, and warnings; what runs log goes to the server.
    "PREFECT_LOGGING_LEVEL": "WARNING",
    "PREFECT_LOGGING_LOGGERS_PREFECT_FLOW_RUNS_LEVEL": "INFO",
    "PREFECT_LOGGING_LOGGERS_PREFECT_TASK_RUNS_LEVEL": "INFO",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "WARNING",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    # An interrupted run reports it once; it does not wait minutes for a server that has ended.
    "PREFECT_CLIENT_MAX_RETRIES": "2",
    # Slots that a killed run held are given back when their lease ends, also if the server was killed with
    # it.
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
    # The server would look for these every five seconds, whether anything runs or not.
    "PREFECT_SERVER_SERVICES_LATE_RUNS_LOOP_SECONDS": "30",
    "PREFECT_SERVER_SERVICES_PAUSE_EXPIRATIONS_LOOP_SECONDS": "60",
    "PREFECT_SERVER_SERVICES_CLEANUP_RECONCILER_LOOP_SECONDS": "60",
    "PREFECT_SERVER_EVENTS_PROACTIVE_GRANULARITY": "PT15S",
}

# By these a server that outlives a run finds out that its process has exited, see
# `flows/serving/deployments.py`. No other run has them: a run waits up to a second for the end of its
# heartbeat.
HEARTBEATS = {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30"}

for _name, _value in DEFAULTS.items():
    os.environ.setdefault(_name, _value)


def use_server(serves: bool = False) -> str:
    """Make this process's flows report to a server, and return its address: PREFECT_API_URL if set, else the
    server that runs on our data folder, else a new one on loopback. `serves`: this process starts runs of
    others, by schedule.

    Raises ServerError, in one line, if the server does not start, does not answer or does not take our
    secret.
    """
    home = Path(os.environ["PREFECT_HOME"])
    given = os.environ.get("PREFECT_API_URL")
    if given is None:
        record.join(home)
    url = given or running_server(home)
    if url or serves:
        for name, value in HEARTBEATS.items():
            os.environ.setdefault(name, value)
    if url is None:
        os.environ.setdefault(CLIENT, server_secret(home))
        url = start_server(home, meanwhile=report_to)
    check_access(url, secret := client_secret(url))
    if secret:
        os.environ[CLIENT] = secret
    report_to(url)
    return url


def client_secret(url: str) -> str | None:
    """What this process shows a server: PREFECT_API_AUTH_STRING, else the secret of our data folder, to the
    folder's server only.
    """
    home = Path(os.environ["PREFECT_HOME"])
    own = (found := record.find(home)) is not None and found.url == url.rstrip("/")
    return explicit_secret((CLIENT,)) or (server_secret(home) if own else None)


def report_to(url: str) -> None:
    """Have Prefect in this process, and in those that it starts, talk to the server at this address. Imports
    Prefect.
    """
    os.environ["PREFECT_API_URL"] = url
    if url.startswith("http://") and "PREFECT_API_SSL_CERT_FILE" not in os.environ:
        os.environ["PREFECT_API_SSL_CERT_FILE"] = str(_one_authority())
    if "prefect" not in sys.modules:
        _import_prefect()
    else:  # it has read its settings already
        from prefect.context import refresh_global_settings_context

        refresh_global_settings_context()


def _import_prefect() -> None:
    """Import Prefect: 180,000 objects that stay. The garbage collector would go through them again and again
    while they are made, and once more at the end of the process, for a quarter of the time that Prefect
    takes.
    """
    gc.disable()
    try:
        for name in _PREFECT_MODULES:
            import_module(name)
    finally:
        gc.enable()
    if "duckdb" not in sys.modules:  # at exit it would complain about its objects that are not collected
        gc.freeze()


def _one_authority() -> Path:
    """A file with the first certificate of the usual list. Prefect's clients, of which a run has several,
    each read the list, also for a server without TLS.
    """
    import certifi

    end = "-----END CERTIFICATE-----\n"
    path = Path(os.environ["PREFECT_HOME"]) / "authority.pem"
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}")
        partial.write_text(Path(certifi.where()).read_text().partition(end)[0] + end)
        os.replace(partial, path)
    return path
