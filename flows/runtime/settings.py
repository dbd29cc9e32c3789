"""Prefect's settings, and the data folder.

Prefect reads its settings from the environment when it is imported, so this module is imported first (see
`flows/__init__.py`).
"""

from __future__ import annotations

import os
from pathlib import Path

DATA = Path(os.environ.get("SPO_DATA_DIR", "data"))

DEFAULTS = {
    "PREFECT_HOME": str((DATA / "prefect").resolve()),
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    # The UI's pages talk to the server that they come from, under the host name that the user typed.
    "PREFECT_SERVER_UI_API_URL": "/api",
    # No page of another origin may read a response; our server sets its own origin here
    # (`flows/runtime/server.py`).
    "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": "http://127.0.0.1:4200",
    # Prefect would start a server without a secret for a process that does not have a server's address.
    "PREFECT_SERVER_EPHEMERAL_ENABLED": "false",
    # The terminal shows our own progress and warnings; the logs of runs go to the server.
    "PREFECT_LOGGING_LEVEL": "WARNING",
    "PREFECT_LOGGING_LOGGERS_PREFECT_FLOW_RUNS_LEVEL": "INFO",
    "PREFECT_LOGGING_LOGGERS_PREFECT_TASK_RUNS_LEVEL": "INFO",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "WARNING",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    # An interrupted run reports its end once; it does not wait minutes for a server that has exited.
    "PREFECT_CLIENT_MAX_RETRIES": "2",
    # Concurrency slots of a killed run are released when their lease expires, even if the server was killed
    # with it.
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
    # By default the server polls for these every five seconds, even when nothing runs.
    "PREFECT_SERVER_SERVICES_LATE_RUNS_LOOP_SECONDS": "30",
    "PREFECT_SERVER_SERVICES_PAUSE_EXPIRATIONS_LOOP_SECONDS": "60",
    "PREFECT_SERVER_SERVICES_CLEANUP_RECONCILER_LOOP_SECONDS": "60",
    "PREFECT_SERVER_EVENTS_PROACTIVE_GRANULARITY": "PT15S",
}

# With heartbeats, a server that outlives a run detects that its process has exited, see
# `flows/serving/deployments.py`. Other runs do not send them, because a run waits up to a second for the end
# of its heartbeat.
HEARTBEATS = {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30"}

for _name, _value in DEFAULTS.items():
    os.environ.setdefault(_name, _value)
