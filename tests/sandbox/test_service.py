"""The judge over HTTP: a real server on loopback, SandboxFusion's fields, and who is let in."""

from __future__ import annotations

import asyncio
import threading
import time

import httpx
import pytest
import uvicorn

from sandbox import judge_version
from sandbox.service import application, is_loopback

FIELDS = {"status", "message", "compile_result", "run_result", "executor_pod_name", "files"}
COMMAND_FIELDS = {"status", "execution_time", "return_code", "stdout", "stderr"}
C = "#include <stdio.h>\n#include <stdlib.h>\nint main(void) { %s }"


@pytest.fixture(scope="module")
def serve(pool):
    """serve(token, everywhere) -> an HTTP client of a service of its own."""
    servers, clients = [], []

    def serve(token=None, everywhere=False):
        config = uvicorn.Config(application(pool, token, everywhere), port=0, log_level="warning")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=lambda: asyncio.run(server.serve()), daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        servers.append((server, thread))
        clients.append(httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60))
        return clients[-1]

    yield serve
    for client in clients:
        client.close()
    for server, thread in servers:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def client(serve):
    return serve()


def run(client, code, language="python", **fields):
    answer = client.post("/run_code", json={"code": code, "language": language, **fields})
    assert answer.status_code == 200 and set(answer.json()) == FIELDS, answer.text
    return answer.json()


def test_a_run_that_ends_well(client):
    # The fields that verl's client sends.
    found = run(
        client, "print(int(input()) * 2)", stdin="21\n", compile_timeout=10, run_timeout=10, memory_limit_MB=1024, files={},
        fetch_files=[],
    )  # fmt: skip
    assert (found["status"], found["message"], found["compile_result"]) == ("Success", "", None)
    assert set(found["run_result"]) == COMMAND_FIELDS and found["run_result"]["execution_time"] > 0
    assert found["run_result"] | {"execution_time": None} == {
        "status": "Finished", "execution_time": None, "return_code": 0, "stdout": "42\n", "stderr": "",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("language", "code", "status", "compiled", "ran"),
    [
        ("python", "1/0", "Failed", None, ("Finished", 1)),
        ("python", "print(", "Failed", None, ("Finished", 1)),
        ("python", "while True: pass", "Failed", None, ("TimeLimitExceeded", None)),
        ("python", "import time; time.sleep(60)", "Failed", None, ("TimeLimitExceeded", None)),
        ("python", "b = bytearray(300 << 20)", "Failed", None, ("Finished", -9)),
        ("c", C % 'puts("x"); abort();', "Failed", ("Finished", 0), ("Finished", -6)),
        ("c", C % "return x;", "Failed", ("Finished", 1), None),
        ("c", C % 'puts("x");', "Success", ("Finished", 0), ("Finished", 0)),
        ("lean", "", "SandboxError", None, None),
    ],
)
def test_runs_that_fail(client, language, code, status, compiled, ran):
    found = run(client, code, language, run_timeout=0.5, memory_limit_MB=128)
    results = [
        result and (result["status"], result["return_code"])
        for result in (found["compile_result"], found["run_result"])
    ]
    assert (found["status"], *results) == (status, compiled, ran), found


def test_whole_outputs_come_back(client):
    found = run(client, "import sys\nprint('y' * 300_000)\nsys.stderr.write('z' * 5000)")
    assert (
        found["run_result"]["stdout"] == "y" * 300_000 + "\n" and found["run_result"]["stderr"] == "z" * 5000
    )


def test_files_are_said_not_to_be_served(client):
    assert "files" in run(client, "", files={"a": "eA=="})["message"]
    assert run(client, "", fetch_files=["a"])["status"] == "SandboxError"


def test_many_at_once_in_order(client):
    tests = [{"test_id": "1", "mode": "stdin", "input": "21", "expected_output": "42"}]
    programs = ["print(int(input()) * 2)", "print(0)", "1/0"] * 5
    work = [
        {"program": program, "language": "python3", "tests": tests, "key": str(i)}
        for i, program in enumerate(programs)
    ]
    found = client.post("/judge", json={"submissions": work}).json()["judgements"]
    assert [judgement["verdict"] for judgement in found] == ["accepted", "wrong_answer", "runtime_error"] * 5
    assert [judgement["key"] for judgement in found] == [str(i) for i in range(15)]
    assert found[0]["judge_version"] == judge_version() and found[0]["tests"][0]["exit_code"] == 0
    checked = work[0] | {
        "program": "print(41.9)",
        "checker": {"kind": "float", "float_tol": 0.1},
        "limits": {"time_s": 1},
    }
    assert (
        client.post("/judge", json={"submissions": [checked]}).json()["judgements"][0]["verdict"]
        == "accepted"
    )


@pytest.mark.parametrize(
    ("path", "body", "detail"),
    [
        ("/run_code", {"language": "python"}, "code: a string is required"),
        ("/run_code", {"code": "", "language": "python", "run_timeout": "soon"}, "run_timeout: not 'soon'"),
        ("/run_code", [], "the body must be an object"),
        ("/judge", {}, 'the body must be {"submissions": [...]}'),
        ("/judge", {"submissions": [{"program": ""}]}, "submissions.0.language: Field required"),
        (
            "/judge",
            {"submissions": [{"program": "", "language": "c", "tests": [], "limits": {"time_s": 0}}]},
            "Limits.time_s",
        ),
    ],
)
def test_what_is_wrong_with_a_request(client, path, body, detail):
    answer = client.post(path, json=body)
    assert answer.status_code == 422 and detail in answer.json()["detail"]


def test_only_json_and_only_to_this_machines_names(client):
    """A web page can send plain forms to loopback, or make a name of its own point there."""
    request = '{"code": "", "language": "python"}'
    assert (
        client.post("/run_code", content=request, headers={"content-type": "text/plain"}).status_code == 415
    )
    assert client.post("/run_code", json={}, headers={"host": "evil.example"}).status_code == 400
    assert (
        client.post("/run_code", content="{", headers={"content-type": "application/json"}).status_code == 422
    )
    assert client.get("/v1/ping").text == "pong" and client.get("/health").json()["workers"] == 2


def test_a_token(serve, pool):
    closed = serve(token="s3cret", everywhere=True)
    request = {"code": "print(1)", "language": "python"}
    assert closed.post("/run_code", json=request).status_code == 401
    assert (
        closed.post("/run_code", json=request, headers={"authorization": "Bearer s3cre"}).status_code == 401
    )
    assert (
        closed.post("/run_code", json=request, headers={"authorization": "Bearer s3cret"}).json()["status"]
        == "Success"
    )
    with pytest.raises(ValueError, match="token"):
        application(pool, everywhere=True)
    assert [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "10.0.0.1", "example.org")] == [
        True, True, True, False, False, False,
    ]  # fmt: skip


def test_more_requests_than_places_wait(client):
    with httpx.Client(base_url=client.base_url, timeout=60) as other:
        answers = []
        threads = [
            threading.Thread(target=lambda: answers.append(run(other, "print(1)")["status"]))
            for _ in range(24)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert answers == ["Success"] * 24
