"""Scheduled flows of the store, from Prefect's server where one is known, with links into its UI.

A server is known from PREFECT_API_URL, or runs on the data folder. Nothing is sent to it but questions.
"""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from flows.runtime import ServerError, client_secret
from flows.runtime.record import find

ANSWER_S = 2.0
MOST_DEPLOYMENTS = 100


@dataclass(frozen=True)
class Schedules:
    """Flows of a server, and a sentence if it could not be asked. `ui`: the address of its pages."""

    ui: str
    flows: list[dict[str, Any]]
    fault: str | None = None


def read_schedules() -> Schedules | None:
    """The scheduled flows with their last and next runs; None where no server is known."""
    import httpx

    url = _api_address()
    if url is None:
        return None
    ui = url.removesuffix("/api")
    try:
        secret = client_secret(url)
    except ServerError as error:
        return Schedules(ui, [], str(error))
    headers = {"authorization": f"Basic {base64.b64encode(secret.encode()).decode()}"} if secret else {}
    try:
        with httpx.Client(base_url=url, headers=headers, timeout=ANSWER_S, trust_env=False) as client:
            wanted = {"limit": MOST_DEPLOYMENTS, "sort": "NAME_ASC"}
            deployments = _answer(client, "/deployments/filter", wanted)
            flows = [_flow(client, ui, one) for one in deployments]
    except (httpx.HTTPError, ValueError, KeyError) as error:
        return Schedules(ui, [], f"{type(error).__name__}: {str(error)[:200]}")
    return Schedules(ui, flows)


def _api_address() -> str | None:
    url = os.environ.get("PREFECT_API_URL")
    if url is None:
        server = find(Path(os.environ["PREFECT_HOME"]))
        url = server.url if server else None
    # Prefect Cloud has its pages at another host, and another login.
    known = url and urlsplit(url).scheme in ("http", "https") and url.rstrip("/").endswith("/api")
    return url.rstrip("/") if url and known else None


def _answer(client: Any, path: str, body: dict[str, Any]) -> Any:
    return client.post(path, json=body).raise_for_status().json()


def _flow(client: Any, ui: str, deployment: dict[str, Any]) -> dict[str, Any]:
    """A deployment with its schedule in words, its last run and its next one."""
    mine = {"deployments": {"id": {"any_": [deployment["id"]]}}, "limit": 1}
    ended = {"state": {"type": {"any_": ["COMPLETED", "FAILED", "CRASHED", "CANCELLED", "RUNNING"]}}}
    due = {"state": {"type": {"any_": ["SCHEDULED"]}}}
    last = _answer(
        client, "/flow_runs/filter", mine | {"flow_runs": ended, "sort": "EXPECTED_START_TIME_DESC"}
    )
    following = _answer(
        client, "/flow_runs/filter", mine | {"flow_runs": due, "sort": "EXPECTED_START_TIME_ASC"}
    )
    return {
        "name": deployment["name"],
        "address": f"{ui}/deployments/deployment/{deployment['id']}",
        "when": ", ".join(_times(one.get("schedule") or {}) for one in deployment.get("schedules") or []),
        "paused": bool(deployment.get("paused")),
        "last": _run(ui, last),
        "next": _run(ui, following),
    }


def _times(schedule: dict[str, Any]) -> str:
    if "cron" in schedule:
        return f"{schedule['cron']} ({schedule.get('timezone') or 'UTC'})"
    if "interval" in schedule:
        return f"every {float(schedule['interval']):,.0f} s"
    return "by rule"


def _run(ui: str, runs: list[dict[str, Any]]) -> dict[str, Any] | None:
    if not runs:
        return None
    one = runs[0]
    at = one.get("start_time") or one.get("expected_start_time") or ""
    return {"state": one["state_name"], "at": str(at)[:19], "address": f"{ui}/runs/flow-run/{one['id']}"}
