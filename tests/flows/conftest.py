"""One Prefect server for the tests that need a server, with a database of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

STARTER = Path(__file__).parents[2] / "data" / "starter"


def surroundings(data: Path, **more: str) -> dict[str, str]:
    """Environment of a command: without Prefect's settings of this process, or of a test before this one."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "SPO_"))
    }
    return environment | {"SPO_DATA_DIR": str(data)} | more


class Server:
    def __init__(self, folder: Path, database: str | None = None):
        from flows.runtime.settings import DEFAULTS
        from flows.runtime.starting import api_url, running_server, server_command

        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.data, self.url = folder, api_url(port)
        home = folder / "prefect"
        home.mkdir(parents=True)
        environment = surroundings(folder) | DEFAULTS | {"PREFECT_HOME": str(home)}
        if database:
            environment["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = database
        self.log = home / "server.log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                server_command(port=port),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.healthy = lambda: running_server(home) == self.url
        self.settled = lambda: self.process.poll() is not None or self.healthy()

    def environment(self) -> dict[str, str]:
        from flows.runtime.settings import DEFAULTS

        return (
            surroundings(self.data)
            | DEFAULTS
            | {
                "PREFECT_HOME": str(self.data / "prefect"),
                "PREFECT_API_URL": self.url,
                "PREFECT_API_AUTH_STRING": self.secret,
            }
        )

    @property
    def secret(self) -> str:
        return (self.data / "prefect" / "secret").read_text().strip()

    def stop(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()


def until(holds, what: str, limit_s: float = 120, alive: subprocess.Popen | None = None):
    """Wait until `holds()` is true; return its value. Fails after `limit_s`, or when `alive` has ended."""
    deadline = time.monotonic() + limit_s
    while not (actual := holds()):
        assert alive is None or alive.poll() is None, f"a process ended before {what}"
        assert time.monotonic() < deadline, f"not within {limit_s:.0f} s: {what}"
        time.sleep(0.2)
    return actual


def sampled_store(folder: Path, problems: int = 12, origin: str = "earlier_training"):
    """A labelled store in `folder/store`, with samples of an untrained policy in `folder/reference`."""
    from pipeline.ingest.ingestion import ingest
    from pipeline.labelling.labeller import label
    from pipeline.store.sql import connect, query
    from pipeline.store.store import Store
    from sandbox import Pool
    from trainer.policies.policy import new_policy
    from trainer.policies.publishing import publish_policy
    from trainer.rollouts.generation import Provenance, SamplingSettings, rollout

    store = Store(folder / "store")
    ingest(store, "plain", str(STARTER), limit=problems)
    with connect(store) as connection:
        chosen = query(
            connection, "select problem_id, statement from problems where split = 'train' order by problem_id"
        )
        texts = query(
            connection, "select statement as text from problems union all select program from trajectories"
        )
    policy = new_policy(texts["text"].sort().to_list(), vocab_size=400, layers=1, width=32, seed=1)
    policy.save(folder / "reference")
    publish_policy(store, policy, folder / "reference", policy_id="reference")
    settings = SamplingSettings(samples_per_problem=2, max_new_tokens=12)
    rollout(
        store,
        policy,
        chosen,
        settings,
        Provenance(name="samples", policy_id="reference", origin=origin),
        seed=0,
    )
    with Pool() as pool:
        label(store, pool)
    return store


@pytest.fixture(scope="session", name="sampled_store")
def sampled_store_fixture():
    return sampled_store


@pytest.fixture(scope="session", name="until")
def until_fixture():
    return until


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    with ExitStack() as stack:
        for _ in range(3):  # another process may take the port before the server does, which then ends
            started = Server(tmp_path_factory.mktemp("server"))
            stack.callback(started.stop)
            until(started.settled, "the server answers", 500)
            if started.process.poll() is None:
                break
        yield started
