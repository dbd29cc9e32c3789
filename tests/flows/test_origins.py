"""Nobody gets into the server of Prefect: no page of another origin, no rebound name, no program without
the secret.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from flows.runtime.gate import Gate, Names, is_loopback

pytestmark = pytest.mark.timeout(
    900
)  # the first to need the server waits for it, on a busy machine for minutes


def load_attacks():
    spec = importlib.util.spec_from_file_location(
        "prefect_attacks", Path(__file__).with_name("prefect_attacks.py")
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look there
    spec.loader.exec_module(module)
    return module


attacks = load_attacks()
needs_chromium = pytest.mark.skipif(
    not attacks.CHROMIUM.exists() or importlib.util.find_spec("playwright") is None,
    reason="needs Debian's package chromium, and playwright from the extra dev",
)


@pytest.fixture
def target(server):
    return attacks.Target.on(server.url.removesuffix("/api"), server.secret)


@pytest.fixture
def open_server():
    """A server that answers every page and every program; what gets through must be counted."""

    class Answer(BaseHTTPRequestHandler):
        protocol_version, wbufsize = "HTTP/1.1", -1

        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            body = (
                b"[]"
                if self.path.endswith("filter")
                else json.dumps({"id": "i", "entrypoint": None}).encode()
            )
            self.send_response(200)
            for name in ("Origin", "Headers", "Methods"):
                self.send_header(f"Access-Control-Allow-{name}", "*")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PATCH = do_DELETE = do_OPTIONS = answer

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as opened:
        threading.Thread(target=opened.serve_forever, daemon=True).start()
        yield attacks.Target.on(f"http://127.0.0.1:{opened.server_address[1]}", "spo:secret")
        opened.shutdown()


def test_no_request_of_another_origin_or_without_the_secret_gets_through(target):
    outcomes = list(attacks.http_attacks(target))
    assert [one for one in outcomes if one.breach] == []
    assert len(outcomes) > 450


def test_requests_that_get_through_an_open_server_are_counted(open_server):
    failed = [one.attack for one in attacks.http_attacks(open_server) if not one.breach]
    assert [name for name in failed if not name.startswith("websocket ")] == ["damage"]


@needs_chromium
def test_no_page_of_another_origin_gets_through_in_a_real_browser(target):
    outcomes = list(attacks.browser_attacks(target))
    assert [one for one in outcomes if one.breach] == []
    assert len(outcomes) > 80


@needs_chromium
@pytest.mark.slow
def test_pages_that_get_through_an_open_server_are_counted(open_server):
    through = {one.attack for one in attacks.browser_attacks(open_server) if one.breach}
    for page in ("another port", "another name", "a rebound name", "an opaque origin"):
        for attack in ("reads settings", "reads flows", "starts a run", "deletes the deployment"):
            assert f"{attack}, {page}" in through


@needs_chromium
def test_our_own_page_with_the_secret_starts_a_run_and_sends_nothing_elsewhere(target, tmp_path):
    requested, errors = [], []
    with attacks.browser(str(tmp_path / "browser")) as context:
        page = context.new_page()
        page.on("request", lambda request: requested.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"{target.root}/")
        page.get_by_placeholder("admin:pass").fill("spo:wrong")
        page.get_by_role("button", name="Login").click()
        page.get_by_text("Invalid credentials").wait_for()
        page.get_by_placeholder("admin:pass").fill(target.secret)
        page.get_by_role("button", name="Login").click()
        page.wait_for_url("**/dashboard**")
        page.goto(f"{target.root}/v2/deployments/deployment/{target.deployment}")
        page.get_by_role("button", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Quick run").click()
        page.get_by_text("created").first.wait_for()
    assert [actual.partition(" ")[0] for actual in target.damage()] == ["flow"]
    assert {url for url in requested if not url.startswith((f"{target.root}/", "data:", "blob:"))} == set()
    assert errors == []


# ---- the gate by itself


def answer(names: Names, path: str = "/api/flows", kind: str = "http", **headers: str) -> int | str:
    """Status of a GET request with these headers, or `passed`."""
    import asyncio

    sent: list[dict] = []

    async def application(scope, receive, send) -> None:
        sent.append({"type": "passed"})

    async def send(message) -> None:
        sent.append(message)

    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": kind, "path": path, "method": "GET", "headers": pairs}
    asyncio.run(Gate(application, names)(scope, None, send))
    return sent[0].get("status", sent[0]["type"])


LOOPBACK = Names.of("127.0.0.1")
LINK = {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate", "sec_fetch_dest": "document"}


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "127.0.0.1:4200"},
        {"host": "LOCALHOST:8000"},
        {"host": "[::1]:4200"},
        {"host": "localhost:4200", "origin": "http://localhost:4200", "sec_fetch_site": "same-origin"},
        {"host": "127.0.0.1", "origin": "https://127.0.0.1"},
        {"host": "127.0.0.1:4200", "sec_fetch_site": "none"},
    ],
)
def test_programs_and_its_own_pages_pass(headers):
    assert answer(LOOPBACK, **headers) == "passed"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 421),
        ({"host": ""}, 421),
        ({"host": "rebound.example:4200"}, 421),
        ({"host": "127.0.0.1:4200/x"}, 421),
        ({"host": "127.0.0.1:x"}, 421),
        ({"host": "10.0.0.1:4200"}, 421),
        ({"host": "127.0.0.1:4200", "origin": "http://127.0.0.1:4201"}, 403),
        ({"host": "127.0.0.1:4200", "origin": "http://localhost:4200"}, 403),
        ({"host": "127.0.0.1:4200", "origin": "null"}, 403),
        ({"host": "127.0.0.1:4200", "origin": ""}, 403),
        ({"host": "127.0.0.1:4200", "sec_fetch_site": "same-site"}, 403),
        ({"host": "127.0.0.1:4200", "path": "/api/flows"} | LINK, 403),
        ({"host": "127.0.0.1:4200", "path": "/"} | LINK | {"sec_fetch_dest": "iframe"}, 403),
        ({"host": "127.0.0.1:4200", "kind": "websocket", "origin": "http://page.example"}, "websocket.close"),
    ],
)
def test_others_are_refused(headers, status):
    assert answer(LOOPBACK, **headers) == status


def test_a_link_to_the_ui_may_be_followed():
    assert answer(LOOPBACK, path="/v2/dashboard", host="127.0.0.1:4200", **LINK) == "passed"


def test_a_server_for_other_machines_has_names_and_addresses_of_its_own():
    import socket

    names = Names.of("0.0.0.0", ["Prefect.example"])
    known = [
        "10.0.0.1:4200",
        "[fe80::1]:4200",
        "prefect.example",
        socket.gethostname().lower(),
        "localhost:4200",
    ]
    assert [host for host in known if host not in names] == []
    assert "rebound.example:4200" not in names and "prefect.example.rebound.example" not in names


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("no.such.name.example", False),
    ],
)
def test_what_is_loopback(host, loopback):
    assert is_loopback(host) is loopback
