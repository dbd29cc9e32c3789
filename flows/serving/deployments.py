"""Registers a schedule file as deployments of a Prefect server, run by one process or by the workers of a
work pool on many machines.

Registering twice changes nothing: deployments, automations and thresholds have the names of the file's
entries, those that are no longer in the file are deleted, and thresholds keep their counts. A start during a
run of the same deployment is dropped.
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

from flows.runtime.events import THRESHOLD, forget_others, rule_id, watch
from flows.runtime.settings import HEARTBEATS
from flows.runtime.turns import HEAVY_AT_ONCE
from flows.serving.pinned import PinnedFlow, freeze_parameters, stage_flow
from flows.serving.schedule import Chain, Entry, Schedule

_TAG = "spo"
# Runs send a heartbeat every 30 s (`flows/runtime/settings.py`). After three missing ones the process is
# considered dead.
_CRASHED_AFTER_S = 90
_END_EVENTS = {
    f"prefect.flow-run.{state}"
    for state in ("Completed", "Cached", "Failed", "Cancelled", "Crashed", "TimedOut")
}


def _settings(schedule: Schedule, entry: Entry, file: Path, flow: Flow[..., Any]) -> dict[str, Any]:
    """The deployment settings of an entry: its parameters, its times and the events that start it."""
    times = _times(schedule, entry)
    return {
        "name": entry.name,
        "parameters": freeze_parameters(flow, _parameters(schedule, entry)),
        "paused": entry.paused,
        "tags": [_TAG, file_tag(file), entry.stage],
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
            description=f"{when.labelled_rows:,} new verdicts in {schedule.location()} start `{entry.name}`.",
        )
        for when in schedule.thresholds()
        if when.run == entry.name
    ]


def file_tag(file: Path) -> str:
    """Tag of the deployments of a schedule file."""
    return f"file:{file.resolve()}"


def _prepare(schedule: Schedule, file: Path) -> None:
    """Store the file's thresholds, and delete deployments whose entries are no longer in the file."""
    for when in schedule.thresholds():
        watch(when.name, schedule.location(), when.labelled_rows, when.run)
    forget_others({when.name for when in schedule.thresholds()}, schedule.location())
    names = {entry.name for entry in schedule.entries()}
    with get_client(sync_client=True) as client:
        _crash_runs_without_a_process(client)
        for deployment in deployments_with(client, file_tag(file)):
            if deployment.name not in names:
                client.delete_deployment(deployment.id)


def _crash_runs_without_a_process(client: SyncPrefectClient) -> None:
    """Create the automation that marks a run as crashed when its process or machine has died."""
    automation = AutomationCore(
        name="spo: mark runs without a process as crashed",
        description="A run that sends no heartbeat for 90 s is marked as crashed. Rows that it wrote stay.",
        trigger=EventTrigger(
            after={"prefect.flow-run.heartbeat"},
            expect={"prefect.flow-run.heartbeat", *_END_EVENTS},
            match={"prefect.resource.id": "prefect.flow-run.*"},
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=_CRASHED_AFTER_S),
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.CRASHED, message="no heartbeat: its process or machine has died"
            )
        ],
    )
    known = client.request("POST", "/automations/filter", json={}).json()
    if automation.name not in [one["name"] for one in known]:
        client.request("POST", "/automations/", json=automation.model_dump(mode="json", exclude_unset=True))


def deployments_with(client: SyncPrefectClient, tag: str) -> list[Any]:
    """The server's deployments with a tag."""
    return client.read_deployments(deployment_filter=DeploymentFilter(tags=DeploymentFilterTags(all_=[tag])))


def serve_schedule(schedule: Schedule, file: Path) -> None:
    """Register the file, and run its entries until this process is stopped; then pause its schedules.

    Runs are child processes. They get their flow and its parameters from this process, not from the server.
    """
    _prepare(schedule, file)
    os.environ[HEAVY_AT_ONCE] = str(schedule.heavy_at_once)  # inherited by the runs
    runner = _ScheduleRunner(pause_on_shutdown=True, limit=schedule.runs_at_once)
    for entry in schedule.entries():
        flow = PinnedFlow(entry.stage, _parameters(schedule, entry))
        runner.add_flow(flow, **_settings(schedule, entry, file, flow))
    # The first Ctrl-C ends asyncio's loop cleanly, unless another handler is installed.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with suppress(KeyboardInterrupt):
        asyncio.run(runner.start())


class _ScheduleRunner(Runner):
    """Prefect's runner, which handles SIGTERM like Ctrl-C: it stops its runs and pauses the schedules."""

    def handle_sigterm(self, *_: Any) -> None:
        signal.raise_signal(signal.SIGINT)


def deploy_schedule(schedule: Schedule, file: Path, pool: str) -> list[str]:
    """Register the file on a work pool, which is created if missing. Returns the deployments' full names."""
    with get_client(sync_client=True) as client:
        try:
            client.read_work_pool(pool)
        except ObjectNotFound:
            client.create_work_pool(WorkPoolCreate(name=pool, type="process"))
    _prepare(schedule, file)
    environment = {HEAVY_AT_ONCE: str(schedule.heavy_at_once), **HEARTBEATS}
    names = []
    for entry in schedule.entries():
        flow = stage_flow(entry.stage)
        deployment: Any = flow.to_deployment(
            **_settings(schedule, entry, file, flow),
            work_pool_name=pool,
            job_variables={"env": environment},
        )
        deployment.apply(work_pool_name=pool)
        names.append(f"{deployment.flow_name}/{deployment.name}")
    return names
