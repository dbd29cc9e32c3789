"""A judge's service on loopback, and attacks on it: over HTTP and on bare sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from sandbox import Pool
from sandbox.service import application, server_config

TOKEN = "a-token-of-the-tests"
PLAIN = {"code": "print(1)", "language": "python"}
JSON = {"content-type": "application/json"}
HUGE = (10**30, 10**400, 1e300, -1, -1e300, 0.0, True, "x", [], {}, None)


@contextlib.contextmanager
def serve(pool: Pool, token: str | None = TOKEN) -> Iterator[int]:
    """The port of a service on a pool."""
    server = uvicorn.Server(server_config(application(pool, token), port=0, log_level="critical"))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()), daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        server.force_exit = True
        thread.join(30)


def client(port: int, token: str = TOKEN, timeout_s: float = 60) -> httpx.Client:
    headers = {"authorization": f"Bearer {token}"}
    return httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=timeout_s, headers=headers)


def submission(**fields: Any) -> dict[str, Any]:
    tests = [{"test_id": "1", "mode": "stdin", "input": "", "expected_output": "1"}]
    return {"program": "print(1)", "language": "python3", "tests": tests} | fields


def checker(name: str, language: str) -> dict[str, Any]:
    program = f"// {name!r}"
    return {
        "kind": "testlib",
        "program": program,
        "language": language,
        "files": [[name, "written by a client"]],
    }


def bodies(victims: Path) -> Iterator[tuple[str, str, bytes]]:
    """(name, path, body) of requests that must be refused with 4xx."""
    names = [
        f"{victims}/absolute", "../" * 12 + f"{victims}/dots".lstrip("/"), "sub/deep/file", "sub/../../up",
        "..", ".", "", "a\x00b", "./x", "x/", "//x", "-o", ".hidden", "a" * 300, "c:\\x", "a\nb",
        "/proc/self/mem", "/dev/shm/x", "~/x",
    ]  # fmt: skip
    for name in names:
        for language in ("javascript", "cpp", "python3"):
            given = submission(checker=checker(name, language))
            yield (
                f"checker file {name[-20:]!r} {language}",
                "/judge",
                json.dumps({"submissions": [given]}).encode(),
            )
    for field in ("time_s", "memory_mb", "output_bytes", "processes", "wall_limit_s"):
        for value in HUGE:
            if (field, value) in (("wall_limit_s", None), ("time_s", True)) and value is None:
                continue
            given = submission(limits={field: value})
            yield f"limits.{field} {str(value)[:12]}", "/judge", json.dumps({"submissions": [given]}).encode()
        for word in ("NaN", "Infinity", "-Infinity", "1e999", "9" * 5000):
            text = json.dumps({"submissions": [submission(limits={field: "WORD"})]}).replace('"WORD"', word)
            yield f"limits.{field} {word[:12]}", "/judge", text.encode()
    for field, value in (
        ("keep_bytes", -1),
        ("keep_bytes", 10**12),
        ("keep_bytes", 40 << 20),
        ("tests", None),
        ("nonsense", 1),
        ("checker", {"kind": "float", "float_tol": -1}),
        ("checker", {"kind": "x"}),
        ("checker", {"nonsense": 1}),
        ("limits", {"nonsense": 1}),
        ("tests", [{"test_id": "1", "mode": "stdin", "input": "", "nonsense": 1}]),
        ("program", "\ud800"),
    ):
        yield (
            f"{field} {str(value)[:20]!r}",
            "/judge",
            json.dumps({"submissions": [submission(**{field: value})]}).encode(),
        )
    yield "3000 submissions", "/judge", json.dumps({"submissions": [submission()] * 3000}).encode()
    yield (
        "30,000 tests",
        "/judge",
        json.dumps({"submissions": [submission(tests=submission()["tests"] * 30_000)]}).encode(),
    )
    for field in ("run_timeout", "memory_limit_MB"):
        for word in (
            "NaN",
            "Infinity",
            "1e300",
            "-5",
            "true",
            "false",
            "9" * 30,
            "9" * 5000,
            '"x"',
            "[]x",
            '{"a": 1}',
        ):
            yield (
                f"{field} {word[:10]}",
                "/run_code",
                json.dumps(PLAIN | {field: "WORD"}).replace('"WORD"', word).encode(),
            )
    for name, text in (
        ("deep lists", b"[" * 100_000 + b"]" * 100_000), ("deep objects", b'{"a":' * 50_000),
        ("half a surrogate", b'"\\ud800"'),
        ("invalid UTF-8", b'"\xff"'), ("a NUL", b'"\x00"'), ("not closed", b'"'),
    ):  # fmt: skip
        for path, start in (
            ("/run_code", b'{"language": "python", "code": '),
            ("/judge", b'{"submissions": '),
        ):
            yield f"{name} {path}", path, start + text + b"}"
    yield "another field", "/run_code", json.dumps(PLAIN | {"nonsense": 1}).encode()


def strangers() -> Iterator[tuple[str, dict[str, str]]]:
    """(name, headers) of those who must not be let in."""
    right = {"authorization": f"Bearer {TOKEN}"}
    for given in (
        "",
        "Bearer",
        "Bearer ",
        f"Basic {TOKEN}",
        TOKEN,
        f"Bearer {TOKEN[:-1]}",
        f"Bearer {TOKEN}x",
        "Bearer \xe9",
        f"Bearer {TOKEN.upper()}",
        f"Bearer{TOKEN}",
    ):
        yield f"token {given!r}", {"authorization": given}
    for origin in (
        "http://page.example",
        "null",
        "http://127.0.0.1",
        "http://localhost:8080",
        "file://",
        "https://evil",
    ):
        yield f"origin {origin}", right | {"origin": origin}
    for site in ("cross-site", "same-site"):
        yield f"fetch from {site}", right | {"sec-fetch-site": site}
    for host in ("evil.example", "127.0.0.1.evil.example", "localhost.evil", "", "0.0.0.0", "x@127.0.0.1"):
        yield f"host {host}", right | {"host": host}


def attack(pool: Pool) -> tuple[int, list[str]]:
    """Every attack once; how many, and the names of those that got through or kept the next request from
    its answer.
    """
    attacks, breaches = 0, []
    with tempfile.TemporaryDirectory() as folder, serve(pool) as port, client(port) as http:
        victims = Path(folder)
        for name, path, body in bodies(victims):
            attacks += 1
            status = http.post(path, content=body, headers=JSON).status_code
            if not 400 <= status < 500:
                breaches.append(f"{name}: {status}")
        for name, headers in strangers():
            attacks += 1
            status = status_of(port, headers)
            if not 400 <= status < 500:
                breaches.append(f"{name}: {status}")
        if list(victims.iterdir()):
            breaches.append("files were written")
        if http.post("/run_code", json=PLAIN).json()["status"] != "Success":
            breaches.append("no answer afterwards")
    return attacks, breaches


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=60)


def request(body: bytes, length: int | None = None, token: str = TOKEN) -> bytes:
    head = (
        "POST /run_code HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Authorization: bearer {token}\r\n"
        f"Content-Length: {len(body) if length is None else length}\r\n\r\n"
    )
    return head.encode() + body


def status_of(port: int, headers: dict[str, str]) -> int:
    """The status of a request with exactly these headers, which a client's library might not send."""
    body = json.dumps(PLAIN).encode()
    lines = {
        "host": "localhost",
        "content-type": "application/json",
        "content-length": str(len(body)),
    } | headers
    head = "POST /run_code HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    with connect(port) as raw:
        raw.sendall(head.encode("latin-1") + b"\r\n" + body)
        return int(raw.recv(4096).split()[1])
