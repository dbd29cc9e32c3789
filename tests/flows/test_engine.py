"""Which server flows report to: never one that works on somebody else's database."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from flows import engine

pytestmark = pytest.mark.timeout(900)  # the first to need the server waits for it, on a busy machine for minutes


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
