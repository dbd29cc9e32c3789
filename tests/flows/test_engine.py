"""Which server flows report to: never one that works on somebody else's database."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from flows.runtime import engine

pytestmark = pytest.mark.timeout(
    900
)  # the first to need the server waits for it, on a busy machine for minutes


@pytest.fixture
def strangers():
    """Address of something on this machine that answers like the server of another data folder."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"home": "/somebody/else/data/prefect"}).encode())

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        yield other.server_address[1]
        other.shutdown()


def test_a_noted_port_that_is_a_strangers_now_is_not_used(strangers, tmp_path):
    (tmp_path / "server.json").write_text(json.dumps({"url": engine.api_url(strangers), "pid": 1}))
    assert engine.is_ours(engine.api_url(strangers), Path("/somebody/else/data/prefect"))
    assert engine.running_server(tmp_path) is None


def test_our_own_is_found_by_its_note(server):
    home = server.data / "prefect"
    (home / "server.json").write_text(json.dumps({"url": server.url, "pid": server.process.pid}))
    assert engine.running_server(home) == server.url and engine.running_server(Path("/nowhere")) is None


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
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "SPO_"))}
    surroundings = kept | {"SPO_DATA_DIR": str(tmp_path)}
    ran = subprocess.run(
        [sys.executable, "-c", TALKS_TO], env=surroundings, capture_output=True, text=True, timeout=300
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "42\n", "")


def test_a_server_without_tls_is_talked_to_with_a_short_list_of_authorities(tmp_path, monkeypatch):
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
    path = engine.one_authority()
    assert ssl.create_default_context(cafile=path).cert_store_stats()["x509_ca"] == 1
    assert engine.one_authority() == path and list(path.parent.iterdir()) == [path]


@pytest.mark.slow
def test_a_port_taken_at_the_last_moment_is_left_for_another(strangers, tmp_path, monkeypatch):
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    processes = []
    monkeypatch.setattr(engine.atexit, "register", lambda stop: processes.append(stop.__self__))
    try:
        url = engine.start_server(tmp_path, [strangers, engine.free_port()])
        assert url != engine.api_url(strangers) and engine.is_ours(url, tmp_path)
    finally:
        for process in processes:
            process.terminate()
            process.wait(60)
