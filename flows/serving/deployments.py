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

from prefect.automations import AutomationCore, ChangeFlowRunState, EventTrigger, Posture
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy, StateType
from prefect.deployments.runner import EntrypointType, RunnerDeployment
from prefect.events import DeploymentEventTrigger
from prefect.exceptions import ObjectNotFound
from prefect.runner import Runner
from prefect.schedules import Cron, Interval
from prefect.schedules import Schedule as PrefectSchedule

from flows.runtime.engine import HEARTBEATS
from flows.runtime.events import THRESHOLD, forget_others, rule_id, watch
from flows.runtime.rules import HEAVY_AT_ONCE
from flows.serving.schedule import Chain, Entry, Schedule
from flows.stages.recurring import FLOWS, chain_flow

TAG = "spo"
# Runs beat every 30 s (`flows/runtime/engine.py`); three beats left out are a process that is gone.
GONE_AFTER_S = 90
ENDS = {
    f"prefect.flow-run.{state}"
    for state in ("Completed", "Cached", "Failed", "Cancelled", "Crashed", "TimedOut")
}


def deployments_of(schedule: Schedule, file: Path, pool: str | None = None) -> list[RunnerDeployment]:
    """A deployment for every entry, with its times and with the events that start it."""
    return [deployment(schedule, entry, file, pool) for entry in schedule.entries()]


def deployment(schedule: Schedule, entry: Entry, file: Path, pool: str | None) -> RunnerDeployment:
    if isinstance(entry, Chain):
        flow: Any = chain_flow
        parameters: dict[str, Any] = {
            "name": entry.name,
            "steps": [step_of(schedule, s) for s in schedule.steps_of_chain()],
        }
    else:
        flow, parameters = FLOWS[entry.stage], entry.parameters(schedule.location())
    times = times_of(schedule, entry)
    return flow.to_deployment(
        name=entry.name,
        parameters=parameters,
        paused=entry.paused,
        tags=[TAG, tag_of(file), entry.stage],
        schedules=[times] if times else [],
        triggers=triggers_of(schedule, entry),
        concurrency_limit=ConcurrencyLimitConfig(
            limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW
        ),
        work_pool_name=pool,
        job_variables={"env": {HEAVY_AT_ONCE: str(schedule.heavy_at_once), **HEARTBEATS}} if pool else None,
        entrypoint_type=EntrypointType.MODULE_PATH,
        description=f"{(flow.__doc__ or '').splitlines()[0]}\n\n`{entry.stage}` of `{file.name}`.",
    )


def step_of(schedule: Schedule, entry: Entry) -> dict[str, Any]:
    return {"name": entry.name, "stage": entry.stage, "parameters": entry.parameters(schedule.location())}


def times_of(schedule: Schedule, entry: Entry) -> PrefectSchedule | None:
    if entry.cron is not None:
        return Cron(entry.cron, timezone=schedule.timezone)
    return (
        None
        if entry.interval_s is None
        else Interval(timedelta(seconds=entry.interval_s), timezone=schedule.timezone)
    )


def triggers_of(schedule: Schedule, entry: Entry) -> list[Any]:
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
        crash_what_is_gone(client)
        for found in deployments_with(client, tag_of(file)):
            if found.name not in names:
                client.delete_deployment(found.id)


def crash_what_is_gone(client: SyncPrefectClient) -> None:
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
    """Register the file, and run what is due until this process is stopped; its schedules are paused then."""
    prepare(schedule, file)
    os.environ[HEAVY_AT_ONCE] = str(
        schedule.heavy_at_once
    )  # its runs are processes of their own, which inherit it
    runner = Served(pause_on_shutdown=True, limit=schedule.runs_at_once)
    for one in deployments_of(schedule, file):
        runner.add_deployment(one)
    # asyncio ends a loop in good order on the first Ctrl-C, where nobody else has a word in it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with suppress(KeyboardInterrupt):
        asyncio.run(runner.start())


class Served(Runner):
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
    made = deployments_of(schedule, file, pool)
    for one in made:
        one.apply(work_pool_name=pool)
    return [f"{one.flow_name}/{one.name}" for one in made]
