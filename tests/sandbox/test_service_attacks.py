"""The judge's service against strangers: what they send, how slowly they send it, and how many they are."""

from __future__ import annotations

import json
import threading
import time

import httpx
import pytest

from sandbox import Checker, Limits, Pool
from sandbox.service import application, bounds
from tests.sandbox.served import PLAIN, TOKEN, attack, client, connect, request, serve, submission


@pytest.fixture(scope="module")
def port(pool):
    with serve(pool) as port:
        yield port


def test_attacks(pool):
    attacks, breaches = attack(pool)
    assert breaches == []
    assert attacks > 180


@pytest.mark.parametrize("name", ["/tmp/x", "../x", "a/../b", "a//b", "a/", "", "..", "a\0b", ".x", "-x"])
def test_checker_files_have_plain_names_for_every_caller(name):
    with pytest.raises(ValueError, match="plain file name"):
        Checker("testlib", program="x", files=((name, ""),))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1, 0, 1e9, True, 10**400])
def test_limits_are_bounded_for_every_caller(value):
    for field in ("time_s", "memory_mb", "output_bytes", "processes", "wall_limit_s"):
        if value != 1e9 or field in ("time_s", "wall_limit_s"):
            with pytest.raises(ValueError, match=f"Limits.{field}"):
                Limits(**{field: value})


def test_the_largest_limits_that_are_allowed_work(judge):
    limits = Limits(86_400, 1 << 20, 1 << 30, 10_000, 864_000)
    assert judge("python3", "print(1)", ("", "1"), limits=limits).verdict == "accepted"


def test_no_tests_is_a_judge_error(judge, port):
    assert judge("python3", "print(1)").verdict == "judge_error"
    assert judge("python3", "def (").verdict == "judge_error"
    with client(port) as http:
        actual = http.post("/judge", json={"submissions": [submission(tests=[])]}).json()["judgements"]
    assert actual[0]["verdict"] == "judge_error"


def test_an_empty_token_is_an_error(pool):
    for token in ("", " ", "a b", "\u00e9", "a\n"):
        with pytest.raises(ValueError, match="token"):
            application(pool, token)


def test_the_scheme_is_of_any_case(port):
    for scheme in ("Bearer", "bearer", "BEARER"):
        actual = httpx.post(
            f"http://127.0.0.1:{port}/run_code", json=PLAIN, headers={"authorization": f"{scheme} {TOKEN}"}
        )
        assert actual.json()["status"] == "Success"


def test_a_program_whose_client_has_gone_is_ended(cache):
    body = json.dumps({"code": "while True: pass", "language": "python", "run_timeout": 30}).encode()
    with Pool(1, cache=cache) as pool, serve(pool) as port, client(port) as http:
        for _ in range(3):
            with connect(port) as gone:
                gone.sendall(request(body))
                time.sleep(0.3)
        started = time.monotonic()
        assert http.post("/run_code", json=PLAIN).json()["status"] == "Success"
        assert time.monotonic() - started < 15  # of 90 s that the three would take


def test_bodies_and_heads_that_do_not_arrive_are_cut_off(pool, monkeypatch):
    for name in ("HEADER_S", "BODY_S", "CHUNK_S"):
        monkeypatch.setattr(bounds, name, 0.5)
    with serve(pool) as port, connect(port) as silent, connect(port) as half, connect(port) as body:
        half.sendall(b"POST /run_code HTTP/1.1\r\nHost: local")
        body.sendall(request(b"{", length=1000))
        assert b"408" in body.recv(4096)
        assert half.recv(4096) == b""
        assert silent.recv(4096) == b""


def test_dripping_a_head_does_not_help(pool, monkeypatch):
    monkeypatch.setattr(bounds, "HEADER_S", 0.5)
    with serve(pool) as port, connect(port) as slow, pytest.raises(OSError):
        for _ in range(100):
            slow.sendall(b"G")
            time.sleep(0.05)


@pytest.mark.parametrize(
    "head",
    [
        b"X-A: " + b"a" * 100_000 + b"\r\n",
        b"A: b\r\n" * 20_000,
        b"\x00\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
    ],
)
def test_heads_out_of_bounds_are_refused(port, head):
    with connect(port) as raw:
        try:
            raw.sendall(b"POST /run_code HTTP/1.1\r\nHost: localhost\r\n" + head + b"\r\n")
            answer = raw.recv(4096)
        except ConnectionError:
            answer = b""
    assert answer == b"" or b" 4" in answer.split(b"\r\n")[0]


def test_too_large_a_body_is_refused_before_it_is_read(port):
    with connect(port) as raw:
        raw.sendall(request(b"{", length=10**12))
        assert b" 413 " in raw.recv(4096)


def test_all_bodies_together_are_bounded(pool, monkeypatch):
    monkeypatch.setattr(bounds, "MAX_BODIES_BYTES", 1 << 20)
    with serve(pool) as port, client(port) as http, connect(port) as large:
        large.sendall(request(b" " * 1_000_000, length=2_000_000))
        time.sleep(0.5)
        refused = http.post("/run_code", json=PLAIN | {"stdin": " " * 500_000})
        assert refused.status_code == 503
        assert http.post("/run_code", json=PLAIN).json()["status"] == "Success"


def test_more_connections_than_there_may_be(pool, monkeypatch):
    monkeypatch.setattr(bounds, "MAX_CONNECTIONS", 20)
    with serve(pool) as port, client(port) as http:
        silent = [connect(port) for _ in range(60)]
        assert http.post("/run_code", json=PLAIN).json()["status"] == "Success"
        for one in silent:
            one.close()


def test_requests_take_turns(port):
    """A request with many programs does not hold up one with a single program."""
    many = {"submissions": [submission(program="import time; time.sleep(0.3)")] * 40}
    with client(port) as http, client(port) as other:
        thread = threading.Thread(target=lambda: http.post("/judge", json=many))
        thread.start()
        time.sleep(0.5)
        started = time.monotonic()
        assert other.post("/run_code", json=PLAIN).json()["status"] == "Success"
        assert (
            time.monotonic() - started < 3
        )  # 40 programs of 0.3 s and more on two workers take 6 s at least
        thread.join()


@pytest.mark.slow
def test_300_slow_and_50_busy_clients_beside_a_polite_one(cache):
    """Before each program of the polite client comes one of every other client at most, shared among the
    workers.
    """
    program = {"code": "import time; time.sleep(0.2)", "language": "python"}
    stop = threading.Event()

    def busy(port: int) -> None:
        with client(port, timeout_s=300) as http:
            while not stop.is_set():
                http.post("/run_code", json=program)

    def wait_s(http: httpx.Client, given: dict[str, str]) -> float:
        started = time.monotonic()
        assert http.post("/run_code", json=given).json()["status"] == "Success"
        return time.monotonic() - started

    with Pool(2, cache=cache) as pool, serve(pool) as port, client(port, timeout_s=300) as polite:
        alone_s = max(wait_s(polite, program) for _ in range(5))
        slow = [connect(port) for _ in range(300)]
        for number, one in enumerate(slow):
            one.sendall(request(b"{", length=1000) if number % 2 else b"POST /run_code HTTP/1.1\r\nHost: l")
        threads = [threading.Thread(target=busy, args=(port,), daemon=True) for _ in range(50)]
        for thread in threads:
            thread.start()
        time.sleep(1)
        waits_s = [wait_s(polite, PLAIN) for _ in range(3)]
        stop.set()
        for one in slow:
            one.close()
        for thread in threads:
            thread.join(60)
    # Twice the turns of the others, and as much for the processors that they take from each other.
    assert max(waits_s) < 2 * 50 * alone_s / 2 + 5, (alone_s, waits_s)
