"""A schedule file as deployments of a Prefect server: registered and served by one process, or put on a work pool for many.

Registering twice changes nothing: deployments, automations and thresholds have the names of the file's entries, what it no longer
has is deleted, and a threshold goes on counting where it was. A start that falls into a run of the same deployment is dropped.
"""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from prefect import Flow
from prefect.automations import AutomationCore, ChangeFlowRunState, EventTrigger, Posture
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy, StateType
from prefect.deployments.runner import EntrypointType
from prefect.events import DeploymentEventTrigger
from prefect.exceptions import ObjectNotFound
from prefect.runner import Runner
from prefect.schedules import Cron, Interval
from prefect.schedules import Schedule as PrefectSchedule

from flows.runtime.engine import HEARTBEATS
from flows.runtime.events import THRESHOLD, forget_others, rule_id, watch
from flows.runtime.rules import HEAVY_AT_ONCE
from flows.serving.pinned import PinnedFlow, flow_of, frozen
from flows.serving.schedule import Chain, Entry, Schedule

TAG = "spo"
# Runs beat every 30 s (`flows/runtime/engine.py`); three beats left out are a process that is gone.
GONE_AFTER_S = 90
ENDS = {
    f"prefect.flow-run.{state}"
    for state in ("Completed", "Cached", "Failed", "Cancelled", "Crashed", "TimedOut")
}


def _settings(schedule: Schedule, entry: Entry, file: Path, flow: Flow[..., Any]) -> dict[str, Any]:
    """What the server keeps of an entry: its parameters, its times and the events that start it."""
    times = _times(schedule, entry)
    return {
        "name": entry.name,
        "parameters": frozen(flow, _parameters(schedule, entry)),
        "paused": entry.paused,
        "tags": [TAG, tag_of(file), entry.stage],
        "schedules": [times] if times else [],
        "triggers": _triggers(schedule, entry),
        "concurrency_limit": ConcurrencyLimitConfig(
            limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW
        ),
        "entrypoint_type": EntrypointType.MODULE_PATH,
        "description": f"{(flow.__doc__ or '').splitlines()[0]}\n\n`{entry.stage}` of `{file.name}`.",
    }


def _parameters(schedule: Schedule, entry: Entry) -> dict[str, Any]:
    if isinstance(entry, Chain):
        return {"name": entry.name, "steps": [_step(schedule, step) for step in schedule.steps_of_chain()]}
    return entry.parameters(schedule.location())


def _step(schedule: Schedule, entry: Entry) -> dict[str, Any]:
    return {"name": entry.name, "stage": entry.stage, "parameters": entry.parameters(schedule.location())}


def _times(schedule: Schedule, entry: Entry) -> PrefectSchedule | None:
    if entry.cron is not None:
        return Cron(entry.cron, timezone=schedule.timezone)
    return (
        None
        if entry.interval_s is None
        else Interval(timedelta(seconds=entry.interval_s), timezone=schedule.timezone)
    )


def _triggers(schedule: Schedule, entry: Entry) -> list[Any]:
    """Automations that start the entry when a threshold is reached (`flows/runtime/events.py`)."""
    return [
        DeploymentEventTrigger(
            name=when.name,
            expect={THRESHOLD},
            match={"prefect.resource.id": rule_id(when.name, schedule.location())},
            description=f"{when.labelled_rows:,} new rows with a verdict in {schedule.location()} start `{entry.name}`.",
        )
        for when in schedule.thresholds()
        if when.run == entry.name
    ]


def tag_of(file: Path) -> str:
    return f"file:{file.resolve()}"


def prepare(schedule: Schedule, file: Path) -> None:
    """Thresholds as the file has them, and no deployment of the file that it no longer has."""
    for when in schedule.thresholds():
        watch(when.name, schedule.location(), when.labelled_rows, when.run)
    forget_others({when.name for when in schedule.thresholds()}, schedule.location())
    names = {entry.name for entry in schedule.entries()}
    with get_client(sync_client=True) as client:
        _crash_runs_without_a_process(client)
        for found in deployments_with(client, tag_of(file)):
            if found.name not in names:
                client.delete_deployment(found.id)


def _crash_runs_without_a_process(client: SyncPrefectClient) -> None:
    """An automation for runs whose process was killed, or whose machine went away: they would be shown as running for ever."""
    automation = AutomationCore(
        name="spo: runs whose process is gone are crashed",
        description="A run that sends no heartbeat any more is marked as crashed. What it has written stays.",
        trigger=EventTrigger(
            after={"prefect.flow-run.heartbeat"},
            expect={"prefect.flow-run.heartbeat", *ENDS},
            match={"prefect.resource.id": "prefect.flow-run.*"},
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=GONE_AFTER_S),
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.CRASHED, message="no heartbeat: its process or machine is gone"
            )
        ],
    )
    known = client.request("POST", "/automations/filter", json={}).json()
    if automation.name not in [one["name"] for one in known]:
        client.request("POST", "/automations/", json=automation.model_dump(mode="json", exclude_unset=True))


def deployments_with(client: SyncPrefectClient, tag: str) -> list[Any]:
    return client.read_deployments(deployment_filter=DeploymentFilter(tags=DeploymentFilterTags(all_=[tag])))


def serve_schedule(schedule: Schedule, file: Path) -> None:
    """Register the file, and run what is due until this process is stopped; its schedules are paused then.

    Runs are child processes. Which flow they run, and with which parameters, comes from this process, not from the server.
    """
    prepare(schedule, file)
    os.environ[HEAVY_AT_ONCE] = str(schedule.heavy_at_once)  # inherited by the runs
    runner = _Served(pause_on_shutdown=True, limit=schedule.runs_at_once)
    for entry in schedule.entries():
        flow = PinnedFlow(entry.stage, _parameters(schedule, entry))
        runner.add_flow(flow, **_settings(schedule, entry, file, flow))
    # The first Ctrl-C ends asyncio's loop in good order, unless another handler is in place.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with suppress(KeyboardInterrupt):
        asyncio.run(runner.start())


class _Served(Runner):
    """Prefect's runner, which ends on SIGTERM the way it ends on Ctrl-C: runs are ended first, and the schedules paused."""

    def handle_sigterm(self, *_: Any) -> None:
        signal.raise_signal(signal.SIGINT)


def deploy_schedule(schedule: Schedule, file: Path, pool: str) -> list[str]:
    """Register the file on a work pool, made as one of processes where it is missing. Returns the deployments' full names."""
    with get_client(sync_client=True) as client:
        try:
            client.read_work_pool(pool)
        except ObjectNotFound:
            client.create_work_pool(WorkPoolCreate(name=pool, type="process"))
    prepare(schedule, file)
    environment = {HEAVY_AT_ONCE: str(schedule.heavy_at_once), **HEARTBEATS}
    names = []
    for entry in schedule.entries():
        flow = flow_of(entry.stage)
        deployment = flow.to_deployment(
            **_settings(schedule, entry, file, flow),
            work_pool_name=pool,
            job_variables={"env": environment},
        )
        deployment.apply(work_pool_name=pool)
        names.append(f"{deployment.flow_name}/{deployment.name}")
    return names
