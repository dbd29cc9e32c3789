"""Connects the flows of this process to the Prefect server that they report to."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from flows.runtime import record
from flows.runtime.secret import CLIENT, explicit_secret, server_secret
from flows.runtime.settings import HEARTBEATS
from flows.runtime.starting import check_access, running_server, start_server

# The modules of Prefect that a flow run needs in this process.
_PREFECT_MODULES = (
    "prefect.main",
    "prefect.artifacts",
    "prefect.events",
    "prefect.flow_engine",
    "prefect.task_engine",
)


def use_server(serves: bool = False, waiting: Callable[[], None] = lambda: None) -> str:
    """Make this process's flows report to a server, and return the server's address.

    The server is the one at PREFECT_API_URL if set, else the one that runs on our data folder, else a new one
    on loopback. `serves`: this process starts scheduled runs. `waiting` is called before a server is started.

    Raises ServerError, with a one-line message, if the server does not start, does not answer or refuses our
    secret.
    """
    home = Path(os.environ["PREFECT_HOME"])
    configured_url = os.environ.get("PREFECT_API_URL")
    if configured_url is None:
        record.join(home)
    url = configured_url or running_server(home)
    if url or serves:
        for name, value in HEARTBEATS.items():
            os.environ.setdefault(name, value)
    if url is None:
        waiting()
        os.environ.setdefault(CLIENT, server_secret(home))
        url = start_server(home, meanwhile=report_to)
    check_access(url, secret := client_secret(url))
    if secret:
        os.environ[CLIENT] = secret
    report_to(url)
    return url


def client_secret(url: str) -> str | None:
    """The secret that this process sends to a server: PREFECT_API_AUTH_STRING if set, else the secret of our
    data folder, which is sent only to the folder's own server.
    """
    home = Path(os.environ["PREFECT_HOME"])
    server = record.find(home)
    is_own = server is not None and server.url == url.rstrip("/")
    return explicit_secret((CLIENT,)) or (server_secret(home) if is_own else None)


def report_to(url: str) -> None:
    """Point Prefect, in this process and in its child processes, at the server at this address. Imports
    Prefect.
    """
    os.environ["PREFECT_API_URL"] = url
    if url.startswith("http://") and "PREFECT_API_SSL_CERT_FILE" not in os.environ:
        os.environ["PREFECT_API_SSL_CERT_FILE"] = str(_short_certificate_file())
    if "prefect" not in sys.modules:
        _import_prefect()
    else:  # it has read its settings already
        from prefect.context import refresh_global_settings_context

        refresh_global_settings_context()


def _import_prefect() -> None:
    """Import Prefect with the garbage collector off.

    The import creates some 180,000 objects that stay. The collector would scan them repeatedly during the
    import and again at the end of the process.
    """
    gc.disable()
    try:
        for name in _PREFECT_MODULES:
            import_module(name)
    finally:
        gc.enable()
    if "duckdb" not in sys.modules:  # at exit DuckDB would warn about objects that were not collected
        gc.freeze()


def _short_certificate_file() -> Path:
    """A file with only the first of the usual root certificates.

    A run has several Prefect clients. Each one parses the certificate file, even for a server without TLS.
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
