"""Flows beside a real Prefect server: what runs say, schedules, events, cancellation."""

from __future__ import annotations

import gzip
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import polars as pl
import pytest

from pipeline.store.store import Store
from sandbox.isolation.cgroups import left_over
from trainer.policies.policy import load_policy
from trainer.policies.reference import score

pytestmark = pytest.mark.timeout(
    900
)  # the first to need the server waits for it, on a busy machine for minutes

DATA = Path(__file__).parents[2] / "data"


@pytest.fixture
def api(server):
    """Prefect in this process on the server of the tests; a client of it."""
    from prefect.client.orchestration import get_client
    from prefect.settings import (
        PREFECT_API_AUTH_STRING,
        PREFECT_API_URL,
        PREFECT_LOGGING_LEVEL,
        temporary_settings,
    )

    mine = {
        PREFECT_API_URL: server.url,
        PREFECT_API_AUTH_STRING: server.secret,
        PREFECT_LOGGING_LEVEL: "CRITICAL",
    }
    with (
        temporary_settings(mine),
        get_client(sync_client=True) as client,
    ):
        yield client


def states(api, name: str, store: str) -> list[tuple[str, str]]:
    """(state, message) of all runs of a flow on a store, in order; the server serves other tests too."""
    from prefect.client.schemas.filters import FlowFilter, FlowFilterName

    runs = api.read_flow_runs(flow_filter=FlowFilter(name=FlowFilterName(any_=[name])))
    own = sorted((run for run in runs if run.parameters["store"] == store), key=lambda run: run.created)
    return [(run.state.name, run.state.message or "") for run in own]


def artifacts(api, key: str) -> list:
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

    return api.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[key])))


@pytest.fixture(scope="module")
def broken_source(tmp_path_factory):
    """Two problems with their solutions of the starter set, and a row that is none."""
    folder = tmp_path_factory.mktemp("source")
    for name in ("problems", "solutions"):
        with gzip.open(DATA / "starter" / f"{name}.jsonl.gz", "rt") as file:
            lines = file.readlines()
        (folder / f"{name}.jsonl").write_text(
            "".join(lines[:2] if name == "problems" else lines[:10]) + '{"problem": 1}\n'
        )
    return folder


def test_runs_say_what_they_did_and_that_it_was_done_before(api, tmp_path, broken_source, monkeypatch):
    from flows import stages

    store = str(tmp_path / "store")
    first = stages.ingest_flow(store, "plain", str(broken_source))
    refused = sum(row["quarantined"] for row in first)
    assert refused >= 2
    stages.ingest_flow(store, "plain", str(broken_source))
    stages.label_flow(store)
    # Nothing is pending, so no sandbox is stood up.
    monkeypatch.setattr(
        "pipeline.labelling.labeller.Pool", lambda *_: pytest.fail("a pool was opened for nothing")
    )
    assert stages.label_flow(store)["rows"] == 0
    stages.deduplicate_flow(store)
    stages.deduplicate_flow(store)
    (fresh, said), (cached, before) = states(api, "ingest", store)
    assert (
        (fresh, cached) == ("Completed", "Cached")
        and f"{refused} in quarantine" in said
        and "finished before" in before
    )
    assert [state for state, _ in states(api, "label", store)] == ["Completed", "Cached"]
    assert [state for state, _ in states(api, "deduplicate", store)] == ["Completed", "Cached"]
    shown = [artifact.data for artifact in artifacts(api, "ingest-refused")]
    assert any("solutions.jsonl" in data and '"line"' in data and '"reason"' in data for data in shown)


def test_a_failing_run_says_why(api, tmp_path):
    from flows import stages
    from pipeline.adapters import SourceError

    with pytest.raises(SourceError):
        stages.ingest_flow(str(tmp_path / "store"), "plain", "/nowhere/at-all")
    state, message = states(api, "ingest", str(tmp_path / "store"))[-1]
    assert state == "Failed" and "no file or folder /nowhere/at-all" in message


def test_a_task_is_tried_again_only_where_that_helps(api):
    from prefect import flow, task

    from flows.runtime.rules import TASK_RETRIES

    tried = []

    @task(**TASK_RETRIES | {"retry_delay_seconds": 0})
    def reach(error):
        tried.append(type(error))
        if len(tried) < 3:
            raise error
        return "reached"

    @flow
    def reaching(error):
        return reach(error)

    assert reaching.fn(ConnectionResetError("reset")) == "reached" and len(tried) == 3
    tried.clear()
    with pytest.raises(ValueError, match="row 3"):
        reaching.fn(ValueError("row 3"))
    assert len(tried) == 1


SCHEDULE = """
store = "{store}"
[[ingest]]
name = "starter"
adapter = "plain"
source = "{data}/starter"
limit = 2
cron = "*/5 * * * *"
[[label]]
workers = 1
[[publish]]
name = "humans"
spec = "{data}/corpora/humans.sql"
[chain]
[[when]]
labelled_rows = 4
run = "humans"
"""


@pytest.fixture
def schedule(tmp_path):
    file = tmp_path / "schedule.toml"
    file.write_text(SCHEDULE.format(store=tmp_path / "store", data=DATA))
    return file


def test_deployed_twice_it_is_there_once_and_its_cron_is_scheduled(api, until, schedule):
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
    from prefect.exceptions import PrefectHTTPStatusError

    from flows.runtime.events import thresholds
    from flows.serving.deployments import deploy_schedule, deployments_with, file_tag
    from flows.serving.schedule import load_schedule

    for _ in range(2):
        names = deploy_schedule(load_schedule(schedule), schedule, "spo")
    assert names == ["ingest/starter", "label/label", "publish/humans", "chain/chain"]
    actual = {one.name: one for one in deployments_with(api, file_tag(schedule))}
    assert sorted(actual) == ["chain", "humans", "label", "starter"]
    automations = [
        one for one in api.request("POST", "/automations/filter", json={}).json() if "humans" in one["name"]
    ]
    assert [one["name"] for one in automations] == ["4 new verdicts start humans"]
    assert [(t.labelled_rows, t.seen) for t in thresholds()] == [(4, 0)]
    for wrong in (
        {"source": "/etc"},
        {"adapter": "mine.py:adapter"},
        {"limit": 3},
        {"columns": {"origin": "x"}},
    ):
        with pytest.raises(PrefectHTTPStatusError, match="409"):
            api.create_flow_run_from_deployment(actual["starter"].id, parameters=wrong)
    starter = DeploymentFilter(id=DeploymentFilterId(any_=[actual["starter"].id]))
    runs = until(lambda: api.read_flow_runs(deployment_filter=starter), "the cron has runs")
    assert {run.state.name for run in runs} == {"Scheduled"}
    assert {run.next_scheduled_start_time.minute % 5 for run in runs} == {0}
    # An entry that is taken out of the file is taken off the server.
    schedule.write_text(
        schedule.read_text()
        .replace('[[when]]\nlabelled_rows = 4\nrun = "humans"\n', "")
        .replace("[chain]\n", "")
    )
    deploy_schedule(load_schedule(schedule), schedule, "spo")
    assert sorted(one.name for one in deployments_with(api, file_tag(schedule))) == [
        "humans",
        "label",
        "starter",
    ]
    assert thresholds() == [] and not [
        one for one in api.request("POST", "/automations/filter", json={}).json() if "humans" in one["name"]
    ]


LOOP = "while True: pass\n"


def stuck(store: Store) -> int:
    """Have a store with one problem and programs for it that loop for ever; returns how many."""
    from pipeline.ingest.ingestion import ingest

    ingest(store, "plain", str(DATA / "starter"), limit=1)
    problem = store.read("problems").row(0, named=True)
    rows = store.read("trajectories")
    count = 40
    copies = [
        rows.row(0, named=True)
        | {"trajectory_id": f"{n:032x}", "program": LOOP + f"# {n}", "language": "python3"}
        for n in range(count)
    ]
    store.append("trajectories", pl.DataFrame(copies, schema=rows.schema), producer="stuck", sequence=0)
    assert problem["test_count"]
    return count


def children_of(pid: int) -> set[int]:
    """Processes that descend from a process, now."""
    parents = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(status.parent.name)] = int(fields[1])
    actual = {pid}
    while more := {child for child, parent in parents.items() if parent in actual} - actual:
        actual |= more
    return actual - {pid}


@contextmanager
def started(words: list[str], environment: dict[str, str], log: Path, **where) -> Iterator[subprocess.Popen]:
    """A long-running command with its output in `log`; killed if the test leaves it alive."""
    with open(log, "a") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *words], env=environment, stdout=output, stderr=output, **where
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def end(process: subprocess.Popen, number: int, log: Path) -> None:
    process.send_signal(number)
    assert process.wait(120) == 0, log.read_text()[-3000:]
    assert "Traceback" not in log.read_text()


@pytest.mark.slow
def test_served_cancelled_and_stopped_it_leaves_nothing(server, api, until, tmp_path, schedule):
    """A labelling that would take minutes is cancelled through the API; then Ctrl-C ends `spo serve`."""
    from prefect.client.schemas.objects import StateType
    from prefect.states import Cancelling, Scheduled

    from flows.serving.deployments import deployments_with, file_tag

    store = Store(tmp_path / "store")
    stuck(store)
    with started(["flows", "serve", str(schedule)], server.environment(), tmp_path / "log") as serving:
        until(
            lambda: len(deployments_with(api, file_tag(schedule))) == 4,
            "deployments are registered",
            alive=serving,
        )
        by_name = {one.name: one for one in deployments_with(api, file_tag(schedule))}
        run = api.create_flow_run_from_deployment(by_name["label"].id, state=Scheduled())
        # Its sandbox is at work: the runner's child has children of children.
        until(
            lambda: any(
                "--unshare" in cmdline(pid) or "bwrap" in cmdline(pid) for pid in children_of(serving.pid)
            ),
            "the sandbox runs",
            alive=serving,
        )
        # Without Python's own helper of child processes, which lives as long as the serving process.
        below = {pid for pid in children_of(serving.pid) if "resource_tracker" not in cmdline(pid)}
        api.set_flow_run_state(run.id, Cancelling(), force=True)
        until(
            lambda: api.read_flow_run(run.id).state.type == StateType.CANCELLED,
            "the run is cancelled",
            alive=serving,
        )
        until(lambda: not [pid for pid in below if alive(pid)], "its processes are gone", alive=serving)
        until(
            lambda: not [group for group in left_over() if pid_of(group) in below],
            "its control groups are gone",
        )
        end(serving, signal.SIGINT, tmp_path / "log")
        assert all(one.paused for one in deployments_with(api, file_tag(schedule)))


def pid_of(group: Path) -> int:
    return int(group.name.split("-")[-2])


def cmdline(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
def test_a_killed_run_is_shown_as_crashed_and_the_next_one_is_not_held_up(
    server, api, until, tmp_path, schedule
):
    """kill -9 of the serving process and of the run: its heartbeats end, and the next run can start."""
    from prefect.client.schemas.objects import StateType
    from prefect.states import Scheduled

    from flows.serving.deployments import deployments_with, file_tag

    stuck(Store(tmp_path / "store"))

    serve = ["flows", "serve", str(schedule)], server.environment(), tmp_path / "log"

    def start_labelling(serving):
        until(
            lambda: len(deployments_with(api, file_tag(schedule))) == 4,
            "deployments are registered",
            alive=serving,
        )
        label = next(one for one in deployments_with(api, file_tag(schedule)) if one.name == "label")
        return api.create_flow_run_from_deployment(label.id, state=Scheduled())

    with started(*serve) as serving:
        run = start_labelling(serving)
        until(
            lambda: any("bwrap" in cmdline(pid) for pid in children_of(serving.pid)),
            "the sandbox runs",
            alive=serving,
        )
        for pid in [serving.pid, *children_of(serving.pid)]:
            if alive(pid) and "sandbox" not in cmdline(pid) and "bwrap" not in cmdline(pid):
                os.kill(pid, signal.SIGKILL)
        serving.wait()
    until(
        lambda: api.read_flow_run(run.id).state.type == StateType.CRASHED, "the run is shown as crashed", 400
    )
    with started(*serve) as serving:
        again = start_labelling(serving)
        until(
            lambda: api.read_flow_run(again.id).state.type == StateType.RUNNING,
            "the next one runs",
            300,
            alive=serving,
        )
        end(serving, signal.SIGTERM, tmp_path / "log")


@pytest.mark.slow
def test_a_schedule_fires_and_new_verdicts_set_a_publication_off(server, api, until, tmp_path, schedule):
    """One serving process ingests and labels by interval, and publishes the corpus by the event."""
    schedule.write_text(
        schedule.read_text()
        .replace('cron = "*/5 * * * *"', "interval_s = 20")
        .replace("workers = 1", "interval_s = 20")
    )
    store = Store(tmp_path / "store")
    with started(["flows", "serve", str(schedule)], server.environment(), tmp_path / "log") as serving:
        until(lambda: store.version("corpora") >= 0, "the corpus is published", 500, alive=serving)
        verdicts, trajectories = store.read("verdicts"), store.read("trajectories")
        assert verdicts.height == trajectories.height == verdicts["trajectory_id"].n_unique()
        end(serving, signal.SIGTERM, tmp_path / "log")


EVIL = """
from pathlib import Path
from prefect import flow

Path({mark!r}).touch()

@flow
def evil(**_):
    pass
"""


@pytest.mark.slow
def test_a_flow_and_a_shell_command_that_come_from_the_api_are_not_run(
    server, api, until, tmp_path, schedule
):
    """A client with the secret gives a served deployment another flow, a command, other parameters."""
    from prefect.client.schemas.objects import StateType

    from flows.serving.deployments import deployments_with, file_tag

    schedule.write_text(schedule.read_text().replace("*/5 * * * *", "0 0 1 1 *"))  # or it may start just then
    mark = tmp_path / "mark"
    (tmp_path / "evil.py").write_text(EVIL.format(mark=str(mark)))
    command = {"prefect.deployments.steps.run_shell_script": {"script": f"touch {mark}"}}
    change = {
        "entrypoint": f"{tmp_path}/evil.py:evil",
        "pull_steps": [command],
        "enforce_parameter_schema": False,
    }
    with started(["flows", "serve", str(schedule)], server.environment(), tmp_path / "log") as serving:
        until(lambda: len(deployments_with(api, file_tag(schedule))) == 4, "deployments", alive=serving)
        changed = next(one for one in deployments_with(api, file_tag(schedule)) if one.name == "starter")
        api.request("PATCH", "/deployments/{id}", path_params={"id": changed.id}, json=change)
        other, own = ({"source": "/etc"}, {})
        ended = []
        for given in (other, own):
            run = api.create_flow_run_from_deployment(changed.id, parameters=given).id
            final = lambda run=run: (now := api.read_flow_run(run).state).is_final() and now  # noqa: E731
            ended.append(until(final, "it ends", 300, serving))
        serving.terminate()
        assert serving.wait(120) == 0
    refused, done = ended
    assert refused.type == StateType.FAILED
    assert "source: the schedule file has another value" in refused.message
    assert done.type == StateType.COMPLETED
    assert not mark.exists()


TRAINING = """
[[train]]
name = "again"
config = "{place}/run.toml"
repeat = true
interval_s = 25
[[evaluate]]
name = "newest"
problems = "split = 'train'"
samples_per_problem = 1
max_new_tokens = 8
interval_s = 25
"""
RUN = """
store = "{place}/store"
run = "{place}/runs/nightly"
reference = "{place}/reference"
reference_policy = "reference"
[training]
steps = 2
checkpoint_every = 2
[optimiser]
warmup_steps = 1
[mixture]
batch_sequences = 4
[[source]]
name = "human"
where = "j.origin = 'human'"
weight = 1.0
"""


@pytest.mark.slow
def test_training_and_evaluation_come_by_schedule(server, api, until, sampled_store, tmp_path):
    """Two runs, one after the other, each in its own folder, and evaluations of what was published last."""
    store = sampled_store(tmp_path)
    score(store, load_policy(tmp_path / "reference"))
    (tmp_path / "run.toml").write_text(RUN.format(place=tmp_path))
    schedule = tmp_path / "schedule.toml"
    schedule.write_text(f'store = "{store.location}"\n' + TRAINING.format(place=tmp_path))
    with started(["flows", "serve", str(schedule)], server.environment(), tmp_path / "log") as serving:
        until(
            lambda: {"nightly", "nightly-2"} <= set(store.read("policies")["policy_id"]),
            "two runs",
            500,
            serving,
        )
        until(
            lambda: {"nightly"} & set(store.read("evaluations")["policy_id"]), "an evaluation", 500, serving
        )
        end(serving, signal.SIGTERM, tmp_path / "log")
    assert (tmp_path / "runs" / "nightly-2" / "final" / "config.json").exists()
    verdicts = store.read("verdicts")
    assert verdicts.height == verdicts["trajectory_id"].n_unique()


@pytest.mark.slow
def test_workers_in_other_places_run_what_was_deployed_on_a_store_on_object_storage(
    server, api, until, tmp_path, schedule, object_storage
):
    """`spo deploy`, and two real `prefect worker`s in separate folders that share a bucket."""
    from prefect.client.schemas.objects import StateType
    from prefect.states import Scheduled

    from flows.serving.deployments import deployments_with, file_tag

    schedule.write_text(schedule.read_text().replace(str(tmp_path / "store"), "s3://bucket/far"))
    environment = server.environment() | {name.upper(): value for name, value in object_storage.items()}
    deployed = subprocess.run(
        [sys.executable, "-m", "flows", "deploy", str(schedule), "--pool", "far", "--json"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert deployed.returncode == 0, deployed.stderr
    by_name = {one.name: one for one in deployments_with(api, file_tag(schedule))}

    def ended(name: str):
        run = api.create_flow_run_from_deployment(by_name[name].id, state=Scheduled())
        state = until(
            lambda: (now := api.read_flow_run(run.id).state).is_final() and now, f"{name} has ended", 500
        )
        assert state.type == StateType.COMPLETED, state.message

    with ExitStack() as machines:
        for machine in ("far-1", "far-2"):
            (tmp_path / machine).mkdir()
            worker = ["prefect", "worker", "start", "--pool", "far", "--name", machine, "--limit", "1"]
            own = environment | {"TMPDIR": str(tmp_path / machine)}
            machines.enter_context(started(worker, own, tmp_path / f"{machine}.log", cwd=tmp_path / machine))
        ended("chain")  # on either
        ended("label")
    store = Store("s3://bucket/far", object_storage)
    verdicts, trajectories = store.read("verdicts"), store.read("trajectories")
    assert verdicts.height == trajectories.height == verdicts["trajectory_id"].n_unique() > 0
    assert store.read("corpora").height == 1 and not (tmp_path / "store").exists()
