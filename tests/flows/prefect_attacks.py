"""What a page in the user's browser, or a program without the secret, may try on Prefect's server on
loopback.

`attack_prefect` is for benchmarks: it starts a server of its own, and returns how many attacks it tried and
which got through. An attack got through if an answer below 400 came, a connection was accepted, or something
is on the server afterwards.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import httpx

CHROMIUM = Path("/usr/bin/chromium")
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    # The newest Chromium asks its user before such a page reaches loopback. The server must not rely on that.
    "--disable-features=LocalNetworkAccessChecks,LocalNetworkAccessChecksWebSockets",
]
REBOUND = "rebound.example"
VARIABLE = "left_by_an_attack"


@dataclass(frozen=True)
class Outcome:
    attack: str
    breach: bool
    detail: str = ""


@dataclass(frozen=True)
class Target:
    """A server with a deployment that no attack may start, and one that none may change or delete."""

    root: str
    secret: str
    deployment: str
    spare: str

    @classmethod
    def on(cls, root: str, secret: str) -> Target:
        with httpx.Client(base_url=root, headers=login(secret)) as client:
            flow = created(client, "/api/flows/", {"name": "guarded"})
            made = [
                created(client, "/api/deployments/", {"name": name, "flow_id": flow})
                for name in ("guarded", "spare")
            ]
        return cls(root, secret, *made)

    @property
    def host(self) -> str:
        return urlsplit(self.root).netloc

    @property
    def port(self) -> int:
        return int(self.host.rpartition(":")[2])

    @property
    def start(self) -> str:
        return f"/api/deployments/{self.deployment}/create_flow_run"

    def damage(self) -> list[str]:
        """What attacks have created, changed or deleted, as somebody with the secret sees it."""
        with httpx.Client(base_url=self.root, headers=login(self.secret)) as client:
            only = {"deployments": {"id": {"any_": [self.deployment]}}}
            runs = client.post("/api/flow_runs/filter", json=only).raise_for_status().json()
            variables = client.post("/api/variables/filter", json={}).raise_for_status().json()
            spare = client.get(f"/api/deployments/{self.spare}")
        changed = [] if spare.is_success and spare.json()["entrypoint"] is None else ["the deployment"]
        return (
            changed
            + [f"flow run {run['name']}" for run in runs]
            + [f"variable {one['name']}" for one in variables if one["name"].startswith(VARIABLE)]
        )


def created(client: httpx.Client, path: str, fields: dict[str, str], tries: int = 20) -> str:
    """Id of what a request makes. A server on a busy machine answers 503 while its database is locked."""
    for _ in range(tries):
        answer = client.post(path, json=fields)
        if answer.status_code != 503:
            break
        time.sleep(0.5)
    return str(answer.raise_for_status().json()["id"])


def login(secret: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(secret.encode()).decode()}"}


# ---- programs and forged headers


def http_attacks(target: Target) -> Iterator[Outcome]:
    """Requests that a page's browser would send, byte by byte, and requests of programs that do not know the
    secret.
    """
    with httpx.Client(base_url=target.root, timeout=30) as client:
        requests = list(requests_of(target))
        for (disguise, headers), (name, method, path, body, more) in itertools.product(
            disguises(target).items(), requests
        ):
            for knows, secret in (("", {}), (" with the secret", login(target.secret))):
                yield answered(
                    f"{name}, {disguise}{knows}", client, method, path, body, {**headers, **more, **secret}
                )
        for (wrong, headers), (name, method, path, body, more) in itertools.product(
            wrong_logins(target.secret).items(), requests
        ):
            if path.startswith("/api/") and path != "/api/health" and method != "OPTIONS":
                yield answered(f"{name}, {wrong}", client, method, path, body, {**more, **headers})
        for path in ("//api/flows/filter", "/api/health/../flows/filter", "/api/flows/filter/health"):
            yield answered(f"POST {path}", client, "POST", path, b"{}", {})
    yield from raw_attacks(target)
    yield from websocket_attacks(target)
    yield Outcome("damage", bool(damage := target.damage()), ", ".join(damage))


def answered(
    attack: str, client: httpx.Client, method: str, path: str, body: bytes | None, headers: dict[str, str]
) -> Outcome:
    """An attack that the server did not answer is tried again: an idle connection may just have been closed.

    A server that has ended answers no attack at all, which `damage` notices.
    """
    refusal = ""
    for _ in range(4):
        try:
            answer = client.request(method, path, content=body, headers=headers)
        except (httpx.ReadError, httpx.RemoteProtocolError) as error:
            refusal = repr(error)
            continue
        if answer.status_code == 503:  # its database was busy: neither refused nor done
            time.sleep(0.2)
            continue
        return Outcome(attack, answer.status_code < 400, str(answer.status_code))
    if not refusal:
        raise RuntimeError(f"{attack}: the server is too busy to answer")
    return Outcome(attack, False, refusal)


def requests_of(target: Target) -> Iterator[tuple[str, str, str, bytes | None, dict[str, str]]]:
    as_json, as_text = {"Content-Type": "application/json"}, {"Content-Type": "text/plain"}
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    variable = json.dumps({"name": VARIABLE, "value": 1}).encode()
    entrypoint = json.dumps({"entrypoint": "page.py:flow"}).encode()
    yield "reads settings", "GET", "/api/admin/settings", None, {}
    yield "reads the UI's settings", "GET", "/ui-settings", None, {}
    yield "asks whether it lives", "GET", "/api/health", None, {}
    yield "reads flows", "POST", "/api/flows/filter", b"{}", as_json
    yield "starts a run", "POST", target.start, b"{}", as_json
    yield "starts a run with text/plain", "POST", target.start, b"{}", as_text
    yield "starts a run without a type", "POST", target.start, b"{}", {}
    yield "starts a run with a form", "POST", target.start, b"state=1", form
    yield "makes a variable", "POST", "/api/variables/", variable, as_json
    yield "changes the entry point", "PATCH", f"/api/deployments/{target.spare}", entrypoint, as_json
    yield "deletes the deployment", "DELETE", f"/api/deployments/{target.spare}", None, {}
    asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    yield "asks for permission", "OPTIONS", target.start, None, asks


def disguises(target: Target) -> dict[str, dict[str, str]]:
    other_port = f"http://127.0.0.1:{target.port + 1}"
    rebound = f"{REBOUND}:{target.port}"
    return {
        "page of another origin": {"Origin": "http://page.example"},
        "page of another port": {"Origin": other_port, "Sec-Fetch-Site": "same-site"},
        "page of another scheme and port": {"Origin": "https://127.0.0.1"},
        "page with an opaque origin": {"Origin": "null"},
        "page with a similar origin": {"Origin": f"http://{target.host}.page.example"},
        "another site without an origin": {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
        "another port without an origin": {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors"},
        "frame of another site": {
            "Sec-Fetch-Site": "cross-site",
            "Sec-Fetch-Mode": "navigate",
            "Sec-Fetch-Dest": "iframe",
        },
        "rebound name": {"Host": rebound},
        "rebound name, own page": {
            "Host": rebound,
            "Origin": f"http://{rebound}",
            "Sec-Fetch-Site": "same-origin",
        },
        "rebound name below ours": {"Host": f"127.0.0.1.{REBOUND}"},
        "name with ours as its user": {"Host": f"127.0.0.1@{REBOUND}"},
        "another address": {"Host": f"10.0.0.1:{target.port}"},
        "no name": {"Host": ""},
    }


def wrong_logins(secret: str) -> dict[str, dict[str, str]]:
    def basic(text: str) -> dict[str, str]:
        return {"Authorization": f"Basic {base64.b64encode(text.encode()).decode()}"}

    return {
        "no login": {},
        "empty login": {"Authorization": ""},
        "login without a value": {"Authorization": "Basic"},
        "a colon for a secret": basic(":"),
        "the start of the secret": basic(secret[:-1]),
        "the secret and more": basic(secret + " "),
        "another user": basic("admin:" + secret.partition(":")[2]),
        "not ASCII": basic("spo:ü"),
        "not base64": {"Authorization": "Basic %%%"},
        "a bearer token": {"Authorization": f"Bearer {secret}"},
        "a cookie": {"Cookie": f"Authorization={secret}; prefect-password={secret}"},
    }


def raw_attacks(target: Target) -> Iterator[Outcome]:
    """What no HTTP library would send."""
    secret = f"Authorization: {login(target.secret)['Authorization']}\r\n"
    heads = {
        "two hosts": f"Host: {target.host}\r\nHost: {REBOUND}\r\n",
        "two origins": f"Host: {target.host}\r\nOrigin: http://{target.host}\r\nOrigin: http://{REBOUND}\r\n",
        "no host": "",
        "a host with a path": f"Host: {target.host}/{REBOUND}\r\n",
        "a host behind a comma": f"Host: {target.host},{REBOUND}\r\n",
    }
    for (name, head), version in itertools.product(heads.items(), ("1.1", "1.0")):
        answer = raw(
            target.port, f"GET /api/admin/version HTTP/{version}\r\n{head}{secret}Connection: close\r\n\r\n"
        )
        status = answer.split(b" ")[1:2]
        yield Outcome(
            f"{name}, HTTP/{version}", status < [b"400"] and status != [], answer[:60].decode("latin-1")
        )


def raw(port: int, request: str) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 30) as connection:
        connection.sendall(request.encode())
        received = b""
        while part := connection.recv(65536):
            received += part
    return received


def websocket_attacks(target: Target) -> Iterator[Outcome]:
    from websockets.exceptions import WebSocketException
    from websockets.sync.client import connect

    paths = (
        "events/in",
        "events/out",
        "logs/out",
        "task_runs/subscriptions/scheduled",
        "work_pools/w/workers/connect",
    )
    origins: tuple[str | None, ...] = (
        "http://page.example",
        f"http://127.0.0.1:{target.port + 1}",
        "null",
        None,
    )
    for path, origin, protocols in itertools.product(paths, origins, (["prefect"], None)):
        # A page of another origin is refused though it knows the secret; a program with a wrong one is.
        token = "spo:wrong" if origin is None else target.secret
        name = f"websocket {path}, origin {origin}, protocols {protocols}"
        try:
            with connect(
                f"ws://{target.host}/api/{path}", origin=origin, subprotocols=protocols, open_timeout=30
            ) as opened:
                opened.send(json.dumps({"type": "auth", "token": token}))
                answer = opened.recv(timeout=10)
            breach = origin is not None or "auth_success" in str(answer)
            yield Outcome(name, breach, str(answer)[:60])
        except (WebSocketException, OSError, TimeoutError) as error:
            yield Outcome(name, False, f"{type(error).__name__} {error}"[:80])


# ---- pages in a real browser

PAGE = """<!doctype html><title>page</title><body><script>
const root = "%(root)s", start = root + "%(start)s", text = {"Content-Type": "text/plain"};
const variable = n => JSON.stringify({name: "%(variable)s_" + n, value: 1});
const readable = promise => promise.then(answer => answer.ok ? answer.text() : Promise.reject(answer.status));
const element = (name, attributes) => new Promise((done, fail) => {
  const handlers = {onload: () => done("loaded"), onerror: fail};
  const made = Object.assign(document.createElement(name), attributes, handlers);
  document.body.append(made);
});
const form = (enctype, fields) => new Promise(done => {
  const frame = Object.assign(document.createElement("iframe"), {name: "f" + Math.random()});
  const attributes = {action: start, method: "POST", enctype, target: frame.name};
  const made = Object.assign(document.createElement("form"), attributes);
  for (const [name, value] of Object.entries(fields))
    made.append(Object.assign(document.createElement("input"), {name, value}));
  document.body.append(frame, made);
  frame.onload = () => done(null);
  made.submit();
});
const socket = path => new Promise((done, fail) => {
  const made = new WebSocket(root.replace("http", "ws") + path, ["prefect"]);
  made.onopen = () => done("opened"); made.onerror = fail;
});
const stream = () => new Promise((done, fail) => {
  const made = new EventSource(root + "/api/health");
  made.onopen = () => done("opened"); made.onerror = () => { made.close(); fail(); };
});
const attacks = {
  "reads settings": () => readable(fetch(root + "/api/admin/settings")),
  "reads the UI's settings": () => readable(fetch(root + "/ui-settings")),
  "reads health": () => readable(fetch(root + "/api/health", {credentials: "include"})),
  "reads flows": () => readable(fetch(root + "/api/flows/filter",
    {method: "POST", body: "{}", headers: {"Content-Type": "application/json"}})),
  "reads flows with text/plain": () =>
    readable(fetch(root + "/api/flows/filter", {method: "POST", body: "{}", headers: text})),
  "starts a run": () =>
    readable(fetch(start, {method: "POST", body: "{}", headers: {"Content-Type": "application/json"}})),
  "starts a run with text/plain": () => readable(fetch(start, {method: "POST", body: "{}", headers: text})),
  "starts a run without looking": () =>
    fetch(start, {method: "POST", body: "{}", mode: "no-cors", headers: text}).then(() => null),
  "starts a run without a type": () =>
    fetch(start, {method: "POST", body: new Blob(["{}"]), mode: "no-cors"}).then(() => null),
  "makes a variable without looking": () =>
    fetch(root + "/api/variables/", {method: "POST", body: variable(1), mode: "no-cors"}).then(() => null),
  "starts a run by beacon": async () => { navigator.sendBeacon(start, "{}"); return null; },
  "starts a run by a form of text": () => form("text/plain", {'{"name": "form", "x': '": 1}'}),
  "starts a run by a form": () => form("application/x-www-form-urlencoded", {state: "1"}),
  "deletes the deployment": () => readable(fetch(root + "/api/deployments/%(spare)s", {method: "DELETE"})),
  "loads a script": () => element("script", {src: root + "/api/health"}),
  "loads the UI's script": () => element("script", {src: root + "/ui-settings"}),
  "loads a picture": () => element("img", {src: root + "/v2/running.svg"}),
  "listens to events": () => socket("/api/events/out"),
  "sends events": () => socket("/api/events/in"),
  "listens to a stream": stream,
};
const limited = promise => Promise.race(
  [promise, new Promise((_, fail) => setTimeout(() => fail("no answer"), 20000))]);
window.attack = async () => {
  const found = {};
  for (const [name, run] of Object.entries(attacks)) {
    try { const got = await limited(run()); found[name] = got === null ? null : String(got).slice(0, 80); }
    catch (error) { found[name] = null; }
  }
  return found;
};
</script></body>"""


class AttackingPage:
    """A web server of somebody else that serves the attacking page to every origin that leads to it."""

    def __init__(self, page: str):
        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.end_headers()
                self.wfile.write(page.encode())

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@contextmanager
def browser(folder: str):
    """A new Chromium that resolves `rebound.example` to this machine, as after a DNS rebinding answer."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        rules = f"--host-resolver-rules=MAP {REBOUND} 127.0.0.1"
        context = playwright.chromium.launch_persistent_context(
            folder, executable_path=CHROMIUM, headless=True, args=[*CHROMIUM_FLAGS, rules]
        )
        try:
            yield context
        finally:
            context.close()


def browser_attacks(target: Target) -> Iterator[Outcome]:
    """The attacking page at four origins: another port, another name of this machine, a rebound name, an
    opaque origin.
    """
    fields = {"start": target.start, "variable": VARIABLE, "spare": target.spare}
    page = PAGE % {**fields, "root": target.root}
    rebound = f"http://{REBOUND}:{target.port}"
    # Without an address, it talks to the server that it came from.
    own = (PAGE % {**fields, "root": ""}).replace(
        'root.replace("http", "ws")', f'"{rebound.replace("http", "ws")}"'
    )
    other = AttackingPage(page)
    try:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, browser(folder) as context:
            for name, address in {
                "another port": f"http://127.0.0.1:{other.port}/",
                "another name": f"http://localhost:{other.port}/",
                "a rebound name": f"{rebound}/",
                "an opaque origin": f"http://127.0.0.1:{other.port}/#sandboxed",
            }.items():
                opened = context.new_page()
                if address.startswith(rebound):  # loaded before the name was pointed to the server
                    opened.route(
                        f"{rebound}/", lambda route: route.fulfill(body=own, content_type="text/html")
                    )
                opened.goto(address)
                frame = opened.main_frame
                if address.endswith("#sandboxed"):
                    frame = sandboxed(opened, page)
                for attack, got in frame.evaluate("attack()").items():
                    yield Outcome(f"{attack}, {name}", got is not None, got or "")
                yield Outcome(f"shows the UI in a frame, {name}", shown_in_a_frame(opened, target.root))
                opened.close()
    finally:
        other.close()
    yield Outcome("damage", bool(damage := target.damage()), ", ".join(damage))


def sandboxed(opened, page: str):
    """The page in a frame without an origin of its own."""
    opened.set_content("<iframe sandbox='allow-scripts allow-forms'></iframe>")
    opened.evaluate("page => document.querySelector('iframe').srcdoc = page", page)
    opened.wait_for_timeout(1000)
    return opened.frames[1]


def shown_in_a_frame(opened, root: str) -> bool:
    opened.evaluate(
        "root => new Promise(done => document.body.append(Object.assign(document.createElement('iframe'),"
        " {src: root + '/v2/login', id: 'victim', onload: done})))",
        root,
    )
    return any(frame.url.startswith(root) for frame in opened.frames)  # a refused one is an error page


# ---- for benchmarks


@contextmanager
def guarded_server(folder: Path) -> Iterator[Target]:
    """`spo up` on a new data folder."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    own = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "SPO_"))}
    server = subprocess.Popen(
        [sys.executable, "-m", "flows", "up", "--port", str(port)],
        env=own | {"SPO_DATA_DIR": str(folder)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        root, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 300
        while not answers(root):
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the server did not start")
            time.sleep(0.2)
        yield Target.on(root, (folder / "prefect" / "secret").read_text().strip())
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(60)


def answers(root: str) -> bool:
    try:
        return httpx.get(f"{root}/api/health").is_success
    except httpx.TransportError:
        return False


def attack_prefect(with_browser: bool | None = None) -> tuple[int, list[str]]:
    """(attacks tried, those that got through) on a server of its own; in a browser, too, where there is
    Chromium.
    """
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        guarded_server(Path(folder)) as target,
    ):
        outcomes = list(http_attacks(target))
        if CHROMIUM.exists() if with_browser is None else with_browser:
            outcomes += browser_attacks(target)
    return len(outcomes), [f"{one.attack}: {one.detail}" for one in outcomes if one.breach]


if __name__ == "__main__":
    tried, breaches = attack_prefect()
    print(json.dumps({"attacks": tried, "breaches": len(breaches), "which": breaches}))
