"""The server that flows report to: one per data folder, and its secret is sent to no other."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from flows.runtime import engine, record, starting
from flows.runtime.record import ServerError, ServerRecord

pytestmark = pytest.mark.timeout(
    900
)  # the first to need the server waits for it, on a busy machine for minutes


@pytest.fixture
def stranger():
    """A process that answers like a server without a login, and keeps the headers that it gets."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            other.seen.append(dict(self.headers))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as other:
        other.seen = []
        other.url = starting.api_url(other.server_address[1])
        threading.Thread(target=other.serve_forever, daemon=True).start()
        yield other
        other.shutdown()


def surroundings(data: Path, **more: str) -> dict[str, str]:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "SPO_"))
    }
    return environment | {"SPO_DATA_DIR": str(data)} | more


def spo(data: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "flows", *words],
        env=surroundings(data, **more),
        capture_output=True,
        text=True,
        timeout=280,
    )


def noted(home: Path, url: str, pid: int = 1) -> None:
    home.mkdir(parents=True, exist_ok=True)
    (home / "server.json").write_text(json.dumps({"pid": pid, "embedded": False, "url": url}))


def test_a_noted_port_that_is_a_strangers_now_is_not_used_and_gets_no_secret(stranger, tmp_path, monkeypatch):
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    monkeypatch.delenv("PREFECT_API_AUTH_STRING", raising=False)
    noted(tmp_path, stranger.url)
    assert starting.running_server(tmp_path) is None
    assert engine.client_secret(stranger.url) is None


def test_our_own_is_found_by_its_note_and_gets_the_secret(server, monkeypatch):
    home = server.data / "prefect"
    monkeypatch.setenv("PREFECT_HOME", str(home))
    monkeypatch.delenv("PREFECT_API_AUTH_STRING", raising=False)
    assert starting.running_server(home) == server.url and starting.running_server(Path("/nowhere")) is None
    assert engine.client_secret(server.url) == server.secret
    assert engine.client_secret("http://127.0.0.1:9/api") is None
    starting.check_access(server.url, server.secret)
    for wrong in (None, "spo:wrong"):
        with pytest.raises(ServerError, match="requires its secret: set PREFECT_API_AUTH_STRING"):
            starting.check_access(server.url, wrong)


def test_a_server_that_starts_is_waited_for(tmp_path):
    file = record.claim(tmp_path, embedded=False)
    assert record.claim(tmp_path, embedded=False) is None
    assert record.find(tmp_path) == ServerRecord(os.getpid(), embedded=False)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        actual = ServerRecord(os.getpid(), False, f"{address}/api")
        threading.Timer(0.5, record.write, (file, actual)).start()
        assert starting.running_server(tmp_path) == f"{address}/api"
        with pytest.raises(ServerError, match=rf"already runs at {address} \(process \d+\)"):
            starting.check_no_server(tmp_path)
    threading.Timer(0.5, file.close).start()  # the kernel, for a server that was killed
    assert starting.running_server(tmp_path) is None
    starting.check_no_server(tmp_path)


def test_a_second_up_names_the_first_and_leaves_it_alone(server):
    second = spo(server.data, "up", "--port", "4399")
    assert second.returncode == 1
    address = server.url.removesuffix("/api")
    said = f"spo: ServerError: a Prefect server of this data folder already runs at {address}"
    assert second.stderr.startswith(said)
    assert second.stderr.count("\n") == 1 and server.healthy()


def test_the_secret_is_shown_by_one_command(server):
    shown = spo(server.data, "ui", "--json")
    assert json.loads(shown.stdout) == {
        "ui": server.url.removesuffix("/api"),
        "api": server.url,
        "secret": server.secret,
    }


def test_a_wrong_secret_is_one_line(server):
    refused = spo(server.data, "maintain", PREFECT_API_AUTH_STRING="spo:wrong")
    assert refused.returncode == 1
    assert refused.stderr.startswith(
        f"spo: ServerError: the Prefect server at {server.url} requires its secret"
    )


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_other_machines_are_served_with_a_chosen_secret_only(tmp_path, host):
    refused = spo(tmp_path, "up", "--host", host)
    assert refused.returncode == 1 and refused.stderr.count("\n") == 1
    assert (
        f"other machines can reach {host}: set PREFECT_SERVER_API_AUTH_STRING=USER:PASSWORD" in refused.stderr
    )
    empty = spo(tmp_path, "up", "--host", host, PREFECT_SERVER_API_AUTH_STRING="")
    assert empty.returncode == 1 and "PREFECT_SERVER_API_AUTH_STRING: not a secret" in empty.stderr
    assert not (tmp_path / "prefect").exists()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_loopback_is_served_with_the_folders_secret(host, monkeypatch):
    monkeypatch.delenv("PREFECT_API_AUTH_STRING", raising=False)
    monkeypatch.delenv("PREFECT_SERVER_API_AUTH_STRING", raising=False)
    starting.check_host(host)


TALKS_TO = """
import gc, os
from flows.runtime.engine import report_to

report_to("https://prefect.example/api")
assert gc.isenabled() and gc.get_freeze_count() > 100_000
assert "PREFECT_API_SSL_CERT_FILE" not in os.environ
report_to("http://127.0.0.1:9/api")
assert os.environ["PREFECT_API_SSL_CERT_FILE"].startswith(os.environ["PREFECT_HOME"])
import duckdb
import flows.stages.ingest
from prefect.settings import get_current_settings

assert get_current_settings().api.url == "http://127.0.0.1:9/api"
print(duckdb.connect().execute("select 40 + 2").fetchall()[0][0])
"""


def test_prefect_talks_to_the_server_that_was_named_last_and_nothing_is_complained_about_at_the_end(tmp_path):
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "SPO_"))
    }
    surroundings = environment | {"SPO_DATA_DIR": str(tmp_path)}
    ran = subprocess.run(
        [sys.executable, "-c", TALKS_TO], env=surroundings, capture_output=True, text=True, timeout=300
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "42\n", "")


def test_a_server_without_tls_is_talked_to_with_a_short_list_of_authorities(tmp_path, monkeypatch):
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
    path = engine._short_certificate_file()
    assert ssl.create_default_context(cafile=path).cert_store_stats()["x509_ca"] == 1
    assert engine._short_certificate_file() == path and list(path.parent.iterdir()) == [path]


@contextmanager
def running(data: Path, *words: str):
    with open(data / f"{words[0]}.log", "a") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *words[1:]], env=surroundings(data), stdout=log, stderr=log
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


USES = """
import os, sys
from pathlib import Path
from flows.runtime import engine, record

url = engine.use_server()
found = record.find(Path(os.environ["PREFECT_HOME"]))
print(url, found.pid, flush=True)
sys.stdin.readline()
engine.check_access(url, os.environ["PREFECT_API_AUTH_STRING"])
print("still there", flush=True)
sys.stdin.readline()
"""


def uses(data: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", USES],
        env=surroundings(data),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_two_first_starts_share_one_server_which_lives_as_long_as_either(tmp_path, until):
    """Two commands on a new data folder share one server, which outlives its starter, but not both."""
    commands = [uses(tmp_path), uses(tmp_path)]
    said = [command.stdout.readline().split() for command in commands]
    assert said[0] == said[1] and len(said[0]) == 2, (tmp_path / "prefect" / "server.log").read_text()
    pid = int(said[0][1])
    first, second = commands
    first.communicate("\n\n", timeout=60)
    time.sleep(3)
    print(file=second.stdin, flush=True)
    assert second.stdout.readline() == "still there\n"
    second.communicate("\n", timeout=60)
    until(lambda: not Path(f"/proc/{pid}").exists(), "the server has ended", 60)
    log = (tmp_path / "prefect" / "server.log").read_text()
    assert "Error" not in log and "Traceback" not in log


@pytest.mark.slow
def test_up_waits_for_a_commands_server_and_then_stays(tmp_path, until):
    command = uses(tmp_path)
    url = command.stdout.readline().split()[0]
    log = tmp_path / "up.log"
    with running(tmp_path, "up", "flows", "up", "--port", str(free_port())) as up:
        until(lambda: "waiting until they end" in log.read_text(), "it waits", 120, up)
        command.communicate("\n\n", timeout=60)
        serves = lambda: (actual := record.find(tmp_path / "prefect")) and actual.pid == up.pid and actual.url  # noqa: E731
        assert until(serves, "it serves", 300, up) != url
        up.send_signal(signal.SIGKILL)  # and the next one finds the folder free
        until(lambda: record.find(tmp_path / "prefect") is None, "the lock is free", 30)


def free_port() -> int:
    with starting._free_socket() as probe:
        return probe.getsockname()[1]
